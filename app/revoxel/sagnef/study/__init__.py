"""A study on disk: find its volumes, check them, write its manifest, fill in the experts."""

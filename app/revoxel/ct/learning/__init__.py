"""How the CT networks learn: patches of prepared volumes, configurations, and the calls of their bundles."""

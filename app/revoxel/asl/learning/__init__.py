"""How the networks learn: slices, first steps, tuning, and the configuration of it all."""

"""How the networks learn: slices, schedules, first steps, tuning, and the configuration of it all."""

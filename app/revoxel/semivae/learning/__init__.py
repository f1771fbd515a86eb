"""How SemiVAE learns: cubes and targets of a study, the weighted objective, diagnostics of every epoch."""

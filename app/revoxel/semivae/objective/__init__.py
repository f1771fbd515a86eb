"""What a tumour latent is trained for: likelihood, prior, semantics, independence, and their schedules."""

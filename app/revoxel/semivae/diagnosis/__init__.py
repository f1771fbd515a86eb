"""Whether a latent works: what it predicts, whether it is alive, what is mixed, and which gates it passes."""

"""Walk through a latent from one scan: what its image becomes when one thing about its tumour changes."""

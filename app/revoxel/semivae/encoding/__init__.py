"""Scans in, latents out: what the encoder says of every visit, its predictions and how far to trust them."""

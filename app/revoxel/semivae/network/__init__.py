"""The network: a four-pulse image in, a partitioned latent and an image out."""

"""A latent whose answers are known by construction, and a network without weights that speaks it."""

import torch
from torch import nn

from revoxel.semivae.network.partition import RESIDUAL, LatentPartition, Part

SIDE = 4
_PLACES = ("wt.centroid_r_mm", "wt.centroid_a_mm", "wt.centroid_s_mm")
#: Volume 2, location 3, residual 3.
TINY = LatentPartition((Part("vol", 2, ("wt.log_volume",)), Part("loc", 3, _PLACES), Part(RESIDUAL, 3)))


class LinearNetwork(nn.Module):
    """The first voxels of the image are the latent; heads read the first numbers of their part.

    Args:
        partition: Of the latent.
        ignores: Parts that the decoder leaves out.
    """

    priors = None

    def __init__(self, partition, ignores=()):
        super().__init__()
        self.partition, self.ignores = partition, ignores
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, image, available=None):
        mu = image.flatten(1)[:, : self.partition.z_dim] + self.nothing
        return mu, torch.full_like(mu, -2.0)

    def decode(self, z):
        z = z.clone()
        for name in self.ignores:
            z[:, self.partition.slices[name]] = 0.0
        image = torch.zeros(len(z), 4 * SIDE**3, dtype=z.dtype, device=z.device)
        image[:, : z.shape[1]] = z
        return image.reshape(-1, 4, SIDE, SIDE, SIDE)

    def predict(self, mu):
        parts = self.partition.split(mu)
        return {part.name: parts[part.name][:, : len(part.features)] for part in self.partition.supervised}


def draw(partition, n_scans=40, seed=0):
    """Batches whose images hold independent normal latents, and targets that heads read without error."""
    generator = torch.Generator().manual_seed(seed)
    network = LinearNetwork(partition)
    batches = []
    for start in range(0, n_scans, 10):
        z = torch.randn(min(10, n_scans - start), partition.z_dim, generator=generator)
        targets = torch.cat([network.predict(z)[part.name] for part in partition.supervised], dim=1)
        batches.append(
            {
                "image": network.decode(z).detach(),
                "available": torch.ones(len(z), 4, dtype=torch.bool),
                "targets": targets.detach(),
                "target_mask": torch.ones_like(targets, dtype=torch.bool),
                "tumour": torch.zeros(len(z), 1, SIDE, SIDE, SIDE),
                "patient_id": [f"p{seed}-{start + row}" for row in range(len(z))],
            }
        )
    return batches

"""The network of a SemiVAE's bundle: an image in, the mean of its posterior out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from revoxel.core.adoption import share_names
from revoxel.semivae.network.models import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class SemiVaeBundleNet(nn.Module):
    """A SemiVAE's encoder: one tensor in, one out, as MONAI's verifier wants.

    Its state dict is the whole network's: training checkpoints and bundles hold the same names.

    Args:
        arguments: Of `SemiVAE`.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.core = build_network(arguments)
        share_names(self, "core")

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        Args:
            image: `(B, 4, S, S, S)`, z-scores; a pulse of zeros alone counts as missing.

        Returns:
            `(B, z_dim)`.

        Raises:
            ValueError: If the shape is another one, or a voxel is not finite.
        """
        available = (image != 0).flatten(2).any(dim=2)
        mu, _ = self.core.encode(image, available)
        return mu

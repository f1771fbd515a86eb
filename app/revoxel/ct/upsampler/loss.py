r"""The loss of upsampling: up to six parts, each kept by its name, in normalised HU.

L1 and squared differences, $1 - SSIM$, features of a trained network, Sobel edges, and the differences at
half and quarter resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from monai.transforms import SobelGradients

from revoxel.core.ssim import mean_ssim
from revoxel.ct.consistency import block_mean, upsample_trilinear
from revoxel.ct.learning.named_loss import LossWeights, NamedLoss, psnr_db

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

Preset = Literal["default", "seed"]
PRESETS: dict[str, dict[str, float]] = {
    "default": {"l1": 1.0, "ssim": 0.2, "perceptual": 0.0, "edge": 0.05, "multiscale": 0.5},
    "seed": {"l1": 1.0, "ssim": 2.0, "perceptual": 0.1, "edge": 0.1, "multiscale": 0.5},
}
_QUARTER = 4


@dataclass(frozen=True)
class UpsamplerLossWeights(LossWeights):
    """Weights of the parts; a part of weight 0 is not computed.

    Args:
        l1: mean absolute difference.
        l2: mean squared difference, which a low RMSE asks for.
        ssim: one minus the structural similarity.
        edge: difference of Sobel gradients.
        multiscale: differences at half and at quarter resolution.
    """

    l1: float = 0.0
    l2: float = 0.0
    ssim: float = 0.0
    edge: float = 0.0
    multiscale: float = 0.0


class UpsamplerLoss(NamedLoss):
    """Loss of upsampled volumes; its parts, and the PSNR before and after, are kept in `last`.

    Args:
        weights: weights by name that differ from the preset's; None is the preset's.
        preset: `default`, or `seed` with the source's weights.
        features: trained network whose features `perceptual` compares, frozen here.

    Raises:
        ValueError: If a name is unknown, a weight negative, or `perceptual` has no network.
    """

    def __init__(
        self,
        weights: Mapping[str, float | None] | None = None,
        *,
        preset: Preset = "default",
        features: nn.Module | None = None,
    ) -> None:
        features = None if features is None else features.eval()
        super().__init__(UpsamplerLossWeights.from_preset(PRESETS, preset, weights), features)
        self.sobel = SobelGradients(kernel_size=3)

    def forward(self, output: Mapping[str, Tensor], label: Tensor) -> Tensor:
        """Compare an upsampled volume with the truth.

        Args:
            output: what `ResidualUpsampler3D` gives: `pred` and perhaps `x2`, normalised HU.
            label: `(B, 1, X, Y, Z)` with sides divisible by 4, normalised HU.

        Returns:
            Weighted sum of the parts, a scalar in float32.

        Raises:
            ValueError: If the shapes differ.
            FloatingPointError: If a part is not finite; it is named.
        """
        pred = output["pred"]
        if pred.shape != label.shape:
            msg = f"pred and label must have one shape, got {tuple(pred.shape)} and {tuple(label.shape)}; "
            msg += "make the coarse volume by the network's factor."
            raise ValueError(msg)
        with torch.autocast(pred.device.type, enabled=False):
            pred, label = pred.float(), label.float()
            return self.weighted(self._parts(pred, output.get("x2"), label), _psnrs(pred, label))

    def _parts(self, pred: Tensor, between: Tensor | None, label: Tensor) -> dict[str, Callable[[], Tensor]]:
        return {
            "l1": lambda: (pred - label).abs().mean(),
            "l2": lambda: (pred - label).square().mean(),
            "ssim": lambda: 1 - mean_ssim(pred, label),
            "perceptual": lambda: self._feature_difference(pred, label),
            "edge": lambda: (self.sobel(pred[:, 0]) - self.sobel(label[:, 0])).abs().mean(),
            "multiscale": lambda: _multiscale(pred, between, label),
        }

    def _feature_difference(self, pred: Tensor, label: Tensor) -> Tensor:
        ours, wanted = (self.features(volume) for volume in (pred, label))  # type: ignore[misc]
        pairs = zip(ours, wanted, strict=True) if isinstance(ours, list | tuple) else [(ours, wanted)]
        return torch.stack([(first - second).abs().mean() for first, second in pairs]).mean()


def _multiscale(pred: Tensor, between: Tensor | None, label: Tensor) -> Tensor:
    """Differences at half and quarter resolution; the network's own half where it has one."""
    half = block_mean(pred, 2) if between is None else between.float()
    half_error = (half - block_mean(label, 2)).abs().mean()
    return (half_error + (block_mean(pred, _QUARTER) - block_mean(label, _QUARTER)).abs().mean()) / 2


def _psnrs(pred: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Of the upsampled block means and of the prediction, over the width of the window, which is 1."""
    trilinear = upsample_trilinear(block_mean(label, _QUARTER), _QUARTER)
    return {"coarse_psnr_db": psnr_db(trilinear, label), "refined_psnr_db": psnr_db(pred, label)}

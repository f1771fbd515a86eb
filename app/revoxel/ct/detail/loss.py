r"""The loss of detail refinement: five parts, each kept by its name.

Frequency: mean of $|W (\hat F - F)|$ over the complex spectra, so a shifted copy is not the same volume.
Consistency asks for the coarse volume at low resolution only: what is added in between is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from monai.networks.layers import apply_filter

from revoxel.core.one_line import one_line_errors
from revoxel.ct.consistency import block_mean
from revoxel.ct.detail.gate import radial_frequency
from revoxel.ct.learning.named_loss import LossWeights, NamedLoss, psnr_db

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

Preset = Literal["seed"]
#: The source weighs local means and standard deviations under the name perceptual.
PRESETS: dict[str, dict[str, float]] = {
    "seed": {"l1": 1.0, "frequency": 0.5, "gradient": 0.3, "local_statistics": 0.2, "consistency": 0.1}
}
_SCALES = (3, 5, 9)
_LOW_PASS = 4
_VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True)
class DetailLossWeights(LossWeights):
    """Weights of the parts; a part of weight 0 is not computed.

    Args:
        l1: Mean absolute difference.
        frequency: Complex difference of the spectra, high frequencies first.
        gradient: Difference of the Laplacians.
        local_statistics: Difference of local means and standard deviations; the source called it perceptual.
        consistency: Difference from the coarse volume after a mean over 4^3 voxels.
    """

    l1: float = 0.0
    frequency: float = 0.0
    gradient: float = 0.0
    local_statistics: float = 0.0
    consistency: float = 0.0


class DetailLoss(NamedLoss):
    """Loss of refined volumes; its parts, and the PSNR before and after, are kept in `last`.

    Args:
        weights: Weights by name that differ from the preset's.
        preset: Where weights that are not given come from.
        features: Trained network whose features `perceptual` compares, frozen here.

    Raises:
        ValueError: If a name is unknown, a weight negative, or `perceptual` has no network.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        *,
        preset: Preset = "seed",
        features: nn.Module | None = None,
    ) -> None:
        super().__init__(DetailLossWeights.from_preset(PRESETS, preset, weights), features)

    def forward(self, pred: Tensor, label: Tensor) -> Tensor:
        """Compare a refined volume with the truth.

        Args:
            pred: `(B, 1, X, Y, Z)`, normalised, any number format.
            label: `(B, 2, X, Y, Z)`: the truth and the coarse volume.

        Returns:
            Weighted sum of the parts, a scalar in float32.

        Raises:
            ValueError: If the shapes do not fit.
            FloatingPointError: If a part is not finite; it is named.
        """
        if label.ndim != 5 or label.shape[1] != 2 or pred.shape != label[:, :1].shape:
            msg = (
                f"label must hold truth and coarse as (B, 2, X, Y, Z) and pred be (B, 1, X, Y, Z), got "
                f"{tuple(label.shape)} and {tuple(pred.shape)}; stack the two volumes."
            )
            raise ValueError(msg)
        with torch.autocast(pred.device.type, enabled=False):
            pred, (truth, coarse) = pred.float(), label.float().split(1, dim=1)
            shown = {"refined_psnr_db": psnr_db(pred, truth), "coarse_psnr_db": psnr_db(coarse, truth)}
            return self.weighted(self._parts(pred, truth, coarse), shown)

    def _parts(self, pred: Tensor, truth: Tensor, coarse: Tensor) -> dict[str, Callable[[], Tensor]]:
        return {
            "l1": lambda: (pred - truth).abs().mean(),
            "frequency": lambda: frequency_loss(pred, truth),
            "gradient": lambda: (laplacian(pred) - laplacian(truth)).abs().mean(),
            "local_statistics": lambda: local_statistics_loss(pred, truth),
            "consistency": lambda: (block_mean(pred, _LOW_PASS) - block_mean(coarse, _LOW_PASS)).abs().mean(),
            "perceptual": lambda: (self._features(pred) - self._features(truth)).abs().mean(),
        }

    def _features(self, volume: Tensor) -> Tensor:
        features: Tensor = self.features(volume)  # type: ignore[misc]
        return features


def laplacian(volume: Tensor) -> Tensor:
    """Six-neighbour Laplacian: 0 for a constant volume, at its faces as well.

    Args:
        volume: `(B, 1, X, Y, Z)`.

    Returns:
        The same shape.
    """
    kernel = volume.new_zeros((3, 3, 3))
    kernel[1, 1, :] = kernel[1, :, 1] = kernel[:, 1, 1] = 1
    kernel[1, 1, 1] = -6
    return apply_filter(F.pad(volume, (1,) * 6, mode="replicate"), kernel, padding=0)


def frequency_loss(pred: Tensor, truth: Tensor) -> Tensor:
    r"""Mean of $|W (\hat F - F)|$ with $W = \sigma(10 (|f| - 0.1))$, f in cycles per voxel.

    Args:
        pred: `(B, 1, X, Y, Z)`.
        truth: The same.

    Returns:
        A scalar, of the size of a difference of voxels whatever their number.
    """
    spectrum = torch.fft.rfftn(pred - truth, dim=(-3, -2, -1), norm="ortho")
    weight = torch.sigmoid(10 * (radial_frequency(pred.shape[-3:], pred.device) - 0.1))
    return (weight * spectrum).abs().mean()


def local_statistics_loss(pred: Tensor, truth: Tensor) -> Tensor:
    """Mean difference of local means and standard deviations in windows of 3, 5 and 9 voxels.

    Args:
        pred: `(B, 1, X, Y, Z)`, sides of 9 and more.
        truth: The same.
    """
    differences = [
        (ours - wanted).abs().mean()
        for side in _SCALES
        for ours, wanted in zip(_statistics(pred, side), _statistics(truth, side), strict=True)
    ]
    return torch.stack(differences).mean()


def _statistics(volume: Tensor, side: int) -> tuple[Tensor, Tensor]:
    mean = F.avg_pool3d(volume, side, stride=side // 2)
    variance = F.avg_pool3d(volume**2, side, stride=side // 2) - mean**2
    # The slope of a square root at 0 is infinite, and air has no variance.
    return mean, variance.clamp_min(_VARIANCE_FLOOR).sqrt()


def configured_loss(
    weights: Mapping[str, float], *, preset: Preset = "seed", perceptual_weights_path: str | None = None
) -> DetailLoss:
    """The loss as a configuration states it.

    Args:
        weights: By name, over those of the preset.
        preset: Where weights that are not given come from.
        perceptual_weights_path: Feature network for `perceptual`, as `torch.export.save` writes one.

    Raises:
        SystemExit: With one line, if a weight is impossible, or `perceptual` has no file.
    """
    with one_line_errors():
        path = perceptual_weights_path
        return DetailLoss(weights, preset=preset, features=None if path is None else load_features(path))


def load_features(path: str) -> nn.Module:
    """A trained feature network: `(B, 1, X, Y, Z)` normalised in, one tensor out.

    Args:
        path: File that `torch.export.save` wrote.

    Raises:
        FileNotFoundError: If there is none: a random network would be no measure of anything.
    """
    if not Path(path).is_file():
        msg = f"perceptual_weights_path must be a file of torch.export.save, got {path!r}; give one."
        raise FileNotFoundError(msg)
    return torch.export.load(path).module()

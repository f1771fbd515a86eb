r"""The loss of detail refinement: five parts, each kept by its name.

Frequency: mean of $|W (\hat F - F)|$ over the complex spectra, so a shifted copy is not the same volume.
Consistency asks for the coarse volume at low resolution only: what is added in between is wanted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from monai.networks.layers import apply_filter
from torch import nn

from revoxel.core.one_line import one_line_errors
from revoxel.ct.consistency import block_mean
from revoxel.ct.detail.gate import radial_frequency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

Preset = Literal["seed"]
#: The source weighs local means and standard deviations under the name perceptual.
PRESETS: dict[str, dict[str, float]] = {
    "seed": {"l1": 1.0, "frequency": 0.5, "gradient": 0.3, "local_statistics": 0.2, "consistency": 0.1}
}
_SCALES = (3, 5, 9)
_LOW_PASS = 4
_VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True)
class DetailLossWeights:
    """Weights of the parts; a part of weight 0 is not computed.

    Args:
        l1: Mean absolute difference.
        frequency: Complex difference of the spectra, high frequencies first.
        gradient: Difference of the Laplacians.
        local_statistics: Difference of local means and standard deviations; the source called it perceptual.
        consistency: Difference from the coarse volume after a mean over 4^3 voxels.
        perceptual: Difference of a trained network's features.

    Raises:
        ValueError: If a weight is negative.
    """

    l1: float = 0.0
    frequency: float = 0.0
    gradient: float = 0.0
    local_statistics: float = 0.0
    consistency: float = 0.0
    perceptual: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would reward errors."""
        negative = {name: value for name, value in asdict(self).items() if not value >= 0}
        if negative:
            msg = f"weights of the loss must be >= 0, got {negative}; correct the configuration."
            raise ValueError(msg)

    @classmethod
    def from_mapping(cls, values: Mapping[str, float]) -> DetailLossWeights:
        """Read a configuration.

        Args:
            values: By the names of the arguments.

        Raises:
            ValueError: If a name is unknown or a weight negative.
        """
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            msg = f"loss must have weights among {', '.join(known)}, got unknown {unknown}; correct it."
            raise ValueError(msg)
        return cls(**values)


class DetailLoss(nn.Module):
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
        super().__init__()
        if preset not in PRESETS:
            msg = f"preset must be one of {', '.join(PRESETS)}, got {preset!r}; correct the configuration."
            raise ValueError(msg)
        self.weights = DetailLossWeights.from_mapping(PRESETS[preset] | dict(weights or {}))
        if self.weights.perceptual and features is None:
            msg = (
                f"perceptual must be 0 without a trained network, got {self.weights.perceptual:g}; "
                "give the file of its weights, or use local_statistics."
            )
            raise ValueError(msg)
        self.features = None if features is None else features.requires_grad_(False)
        self.last: dict[str, Tensor] = {}

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
            truth, coarse = label.float().split(1, dim=1)
            parts = self._parts(pred.float(), truth, coarse)
            weights = asdict(self.weights)
            total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
            shown = {"refined_psnr_db": _psnr(pred, truth), "coarse_psnr_db": _psnr(coarse, truth)}
        self.last = {name: part.detach() for name, part in {**parts, **shown, "total": total}.items()}
        return total

    def _parts(self, pred: Tensor, truth: Tensor, coarse: Tensor) -> dict[str, Tensor]:
        parts: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: (pred - truth).abs().mean(),
            "frequency": lambda: frequency_loss(pred, truth),
            "gradient": lambda: (laplacian(pred) - laplacian(truth)).abs().mean(),
            "local_statistics": lambda: local_statistics_loss(pred, truth),
            "consistency": lambda: (block_mean(pred, _LOW_PASS) - block_mean(coarse, _LOW_PASS)).abs().mean(),
            "perceptual": lambda: (self._features(pred) - self._features(truth)).abs().mean(),
        }
        computed = {name: parts[name]() for name, weight in asdict(self.weights).items() if weight}
        wrong = [name for name, part in computed.items() if not torch.isfinite(part)]
        if wrong:
            msg = f"parts of the loss must be finite, got wrong {', '.join(wrong)}; lower the learning rate."
            raise FloatingPointError(msg)
        return computed

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


def _psnr(volume: Tensor, truth: Tensor) -> Tensor:
    """Over the width of the HU window, which is 1 here."""
    return -10 * (volume.float() - truth).square().mean().clamp_min(1e-12).log10()


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

"""A loss of weighted parts, each kept by its name: what every CT loss does beside computing its parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    """Weights by name, at least `perceptual`; a part of weight 0 is not computed.

    Args:
        perceptual: Difference of a trained network's features.

    Raises:
        ValueError: If a weight is negative.
    """

    perceptual: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would reward errors."""
        negative = {name: value for name, value in asdict(self).items() if not value >= 0}
        if negative:
            msg = f"weights of the loss must be >= 0, got {negative}; correct the configuration."
            raise ValueError(msg)

    @classmethod
    def from_preset(
        cls,
        presets: Mapping[str, Mapping[str, float]],
        preset: str,
        weights: Mapping[str, float | None] | None = None,
    ) -> Self:
        """Read a configuration.

        Args:
            presets: Weights by the name of a preset.
            preset: Where weights that are not given come from.
            weights: By the names of the arguments; None is the preset's.

        Raises:
            ValueError: If a name is unknown or a weight negative.
        """
        if preset not in presets:
            msg = f"preset must be one of {', '.join(presets)}, got {preset!r}; correct the configuration."
            raise ValueError(msg)
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            msg = f"loss must have weights among {', '.join(known)}, got unknown {unknown}; correct it."
            raise ValueError(msg)
        return cls(**{**presets[preset], **given})


class NamedLoss(nn.Module):
    """Weighted sum of parts; they, and what is shown beside them, are kept in `last`.

    Args:
        weights: Of the parts.
        features: Trained network whose features `perceptual` compares, frozen here.

    Raises:
        ValueError: If `perceptual` has no network.
    """

    def __init__(self, weights: LossWeights, features: nn.Module | None) -> None:
        super().__init__()
        if weights.perceptual and features is None:
            msg = (
                f"perceptual must be 0 without a trained network, got {weights.perceptual:g}; "
                "give perceptual_weights_path, or set perceptual to 0."
            )
            raise ValueError(msg)
        self.weights = weights
        self.features = None if features is None else features.requires_grad_(False)
        self.last: dict[str, Tensor] = {}

    def weighted(self, parts: Mapping[str, Callable[[], Tensor]], shown: Mapping[str, Tensor]) -> Tensor:
        """Compute the parts that have a weight, and add them up.

        Args:
            parts: How each is computed, in the order in which they are added.
            shown: Figures to keep beside them.

        Returns:
            A scalar.

        Raises:
            FloatingPointError: If a part is not finite; it is named.
        """
        weights = asdict(self.weights)
        computed = {name: part() for name, part in parts.items() if weights[name]}
        wrong = [name for name, part in computed.items() if not torch.isfinite(part)]
        if wrong:
            msg = f"parts of the loss must be finite, got wrong {', '.join(wrong)}; lower the learning rate."
            raise FloatingPointError(msg)
        total = torch.stack([weights[name] * part for name, part in computed.items()]).sum()
        self.last = {name: part.detach() for name, part in {**computed, **shown, "total": total}.items()}
        return total


def psnr_db(volume: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio over the width of the HU window, which is 1 in normalised volumes.

    Args:
        volume: Any shape, normalised.
        truth: The same.

    Returns:
        A scalar without gradient, 120 dB at the most.
    """
    return -10 * (volume.detach() - truth).square().mean().clamp_min(1e-12).log10()

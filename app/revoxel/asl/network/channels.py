"""What stands in which channel of a network's input, and the tensors that a loss compares with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Plane(StrEnum):
    """Maps beside the difference signals in a network's input; zero outside the mask where they are maps."""

    sigma = "sigma"
    scale = "scale"
    fit_cbf = "fit_cbf"
    fit_att = "fit_att"
    fit_cbf_sd = "fit_cbf_sd"
    fit_att_sd = "fit_att_sd"
    t1_blood_ms = "t1_blood_ms"
    alpha_pcasl = "alpha_pcasl"
    alpha_vsasl = "alpha_vsasl"
    alpha_bs = "alpha_bs"


class LabelMap(StrEnum):
    """Channels of a label, before the signals."""

    cbf = "cbf"
    att = "att"
    mask = "mask"
    sigma = "sigma"


FIT_PLANES = (
    Plane.sigma,
    Plane.scale,
    Plane.fit_cbf,
    Plane.fit_att,
    Plane.fit_cbf_sd,
    Plane.fit_att_sd,
)
PHYSICS_PLANES = (Plane.t1_blood_ms, Plane.alpha_pcasl, Plane.alpha_vsasl, Plane.alpha_bs)
PLANES = FIT_PLANES + PHYSICS_PLANES


@dataclass(frozen=True)
class AslChannels:
    """Order of a network's input: the difference signals, then one plane for every name in `Plane`.

    Units: signals, `sigma` and `scale` in units of M0, CBF in ml/100g/min, ATT and T1 in ms.

    Args:
        n_signal: Difference signals, in the order of the protocol.
    """

    n_signal: int

    @property
    def n_channels(self) -> int:
        """Channels of the input."""
        return self.n_signal + len(PLANES)

    def stack(self, signals: Tensor, planes: Mapping[Plane, Tensor]) -> Tensor:
        """Build a network's input.

        Args:
            signals: `(..., n_signal, H, W)`.
            planes: one for every `Plane`: `(..., 1, H, W)`, or what broadcasts with that of the fitted CBF.

        Returns:
            `(..., n_channels, H, W)`.

        Raises:
            ValueError: If the number of signals is another, or a plane is missing.
        """
        missing = [str(name) for name in PLANES if name not in planes]
        if signals.shape[-3] != self.n_signal or missing:
            msg = (
                f"input must have {self.n_signal} signals and every plane, got {signals.shape[-3]} signals "
                f"and no {missing}; check the protocol."
            )
            raise ValueError(msg)
        like = planes[Plane.fit_cbf]
        beside = [planes[name].to(like).expand_as(like) for name in PLANES]
        return torch.cat([signals, *beside], dim=-3)

    def split(self, image: Tensor) -> tuple[Tensor, dict[Plane, Tensor]]:
        """Undo `stack`.

        Args:
            image: `(batch, n_channels, H, W)`.

        Returns:
            Signals `(batch, n_signal, H, W)` and planes `(batch, 1, H, W)` by name.

        Raises:
            ValueError: If the number of channels is another.
        """
        if image.ndim != 4 or image.shape[1] != self.n_channels:
            msg = (
                f"image must be (batch, {self.n_channels}, H, W), got {tuple(image.shape)}: {self.n_signal} "
                f"signals, then {', '.join(PLANES)}; use a network made for this protocol."
            )
            raise ValueError(msg)
        planes = image[:, self.n_signal :].split(1, dim=1)
        return image[:, : self.n_signal], dict(zip(PLANES, planes, strict=True))


def stack_targets(targets: Mapping[LabelMap, Tensor], signals: Tensor) -> Tensor:
    """Build a label.

    Args:
        targets: `(..., 1, H, W)` for every `LabelMap`.
        signals: measured signals `(..., n_signal, H, W)`, for data consistency.

    Returns:
        `(..., 4 + n_signal, H, W)`.
    """
    maps = [targets[name].to(signals).expand_as(targets[LabelMap.cbf]) for name in LabelMap]
    return torch.cat([*maps, signals], dim=-3)


def split_targets(label: Tensor) -> tuple[dict[LabelMap, Tensor], Tensor]:
    """Undo `stack_targets`.

    Args:
        label: `(batch, 4 + n_signal, H, W)`.

    Returns:
        Maps `(batch, 1, H, W)` by name, and the measured signals `(batch, n_signal, H, W)`.
    """
    maps = label[:, : len(LabelMap)].split(1, dim=1)
    return dict(zip(LabelMap, maps, strict=True)), label[:, len(LabelMap) :]

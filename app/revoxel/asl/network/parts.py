"""What the ASL networks share: scales, normalisation, the padded trunk, calibrated standard deviations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional

from revoxel.asl.network.channels import Plane
from revoxel.asl.network.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from revoxel.asl.network.unet import FilmSite

Normalization = Literal["none", "global_scale", "per_curve"]

#: Centre and spread of the z-scores: ml/100g/min and ms.
CBF_CENTRE, CBF_SPREAD = 45.0, 25.0
ATT_CENTRE, ATT_SPREAD = 1400.0, 500.0
#: RMS of DM/M0 over a typical brain: CBF is predicted as if the image had this one.
TYPICAL_SCALE = 0.004
#: Centre and spread of the constants as channels.
PHYSICS_SCALES = {
    Plane.t1_blood_ms: (1650.0, 200.0),
    Plane.alpha_pcasl: (0.85, 0.1),
    Plane.alpha_vsasl: (0.56, 0.1),
    Plane.alpha_bs: (1.0, 0.1),
}
N_CONDITION = 64
_MIN_SIDE = 16
_TINY = 1e-12
# A standard deviation is at most e^3 times what it is measured in.
_MAX_LOG_SD = 3.0


def normalised(signals: Tensor, kind: Normalization, scale: float) -> Tensor:
    """Bring the signals to about unit size.

    Args:
        signals: `(batch, n_signal, H, W)`.
        kind: `none`; `global_scale`: times one factor; `per_curve`: mean 0 and standard deviation 1 in every
            voxel, which removes CBF with the amplitude.
        scale: factor of `global_scale`.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "none" or not signals.shape[1]:
        return signals
    if kind == "global_scale":
        return signals * scale
    if kind == "per_curve":
        spread, mean = torch.std_mean(signals, dim=1, keepdim=True)
        return (signals - mean) / (spread + _TINY)
    msg = f"normalization must be none, global_scale or per_curve, got {kind!r}; correct the config."
    raise ValueError(msg)


class SdFactors(nn.Module):
    """One factor per standard deviation, fitted on validation slices after the training; 1 before."""

    factors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.ones(2))

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps with calibrated standard deviations."""
        cbf, att = self.factors
        return maps | {"cbf_sd": maps["cbf_sd"] * cbf, "att_sd": maps["att_sd"] * att}


class Trunk(nn.Module):
    """U-Net with padding and, for `multiscale`, a second one at half resolution."""

    def __init__(
        self,
        in_channels: int,
        features: Sequence[int],
        multiscale: bool,
        *,
        n_decoders: int,
        n_condition: int = 0,
        film_at: Collection[FilmSite] = (),
        **options: object,
    ) -> None:
        super().__init__()
        shared = {"n_decoders": n_decoders, "film_at": film_at, "n_condition": n_condition, **options}
        self.full = UNet(in_channels, features, **shared)  # type: ignore[arg-type]
        self.coarse = UNet(in_channels, features, **shared) if multiscale else None  # type: ignore[arg-type]
        self.n_features = features[0] * (2 if multiscale else 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Features per decoder.

        Args:
            x: `(batch, in_channels, H, W)`, sides of 16 and more; while tracing multiples of the stride.
            condition: `(batch, n_condition)` where FiLM is on.

        Raises:
            ValueError: If a side is too short.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._features(x, condition)
        height, width = x.shape[-2:]
        if min(height, width) < _MIN_SIDE:
            msg = f"sides of an image must be >= {_MIN_SIDE} pixels, got {height} x {width}; pad the slice."
            raise ValueError(msg)
        stride = self.full.stride * (1 if self.coarse is None else 2)
        padded = functional.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")
        return [part[..., :height, :width] for part in self._features(padded, condition)]

    def _features(self, x: Tensor, condition: Tensor | None) -> list[Tensor]:
        full = self.full(x, condition)
        if self.coarse is None:
            return full
        half = self.coarse(functional.avg_pool2d(x, 2), condition)
        larger = [functional.interpolate(part, scale_factor=2.0, mode="bilinear") for part in half]
        return [torch.cat(parts, dim=1) for parts in zip(full, larger, strict=True)]


class Embedding(nn.Module):
    """Small perceptron on image-wide numbers; with `n_out` its result is 0 before training."""

    def __init__(self, n_in: int, n_out: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_in)
        self.first = nn.Linear(2 * n_in, N_CONDITION)
        self.last = None if n_out is None else nn.Linear(N_CONDITION, n_out)
        if self.last is not None:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, statistics: Tensor) -> Tensor:
        """Embed image-wide numbers.

        Args:
            statistics: `(batch, n_in)`.
        """
        # LayerNorm alone would remove the amplitude that the vector is there for.
        signed_log = statistics.sign() * statistics.abs().log1p()
        hidden = functional.silu(self.first(torch.cat([self.norm(statistics), signed_log], dim=1)))
        return hidden if self.last is None else self.last(hidden)


def standard_maps(raw: Tensor, clip: bool, scale: Tensor | float = 1.0) -> dict[str, Tensor]:
    """Maps from z-scores; CBF in proportion to the scale of the image."""
    cbf, att, cbf_log_sd, att_log_sd = raw.split(1, dim=1)
    blood = (CBF_CENTRE + CBF_SPREAD * cbf) * scale
    return {
        "cbf": blood.clamp_min(0) if clip else blood,
        "att": ATT_CENTRE + ATT_SPREAD * att,
        "cbf_sd": CBF_SPREAD * sd_of(cbf_log_sd) * scale,
        "att_sd": ATT_SPREAD * sd_of(att_log_sd),
    }


def sd_of(log_sd: Tensor) -> Tensor:
    """Standard deviation from its logarithm, within e^-6 and e^3.

    Args:
        log_sd: any shape.
    """
    return log_sd.clamp(-2 * _MAX_LOG_SD, _MAX_LOG_SD).exp()

r"""Networks from the difference signals of a slice to CBF and ATT, each with a standard deviation.

Every network takes `image` (batch, channel, H, W) with the channels of `AslChannels` and returns a dict of
(batch, 1, H, W): `cbf` and `cbf_sd` in ml/100g/min, `att` and `att_sd` in ms. Sides of 16 and more.

The default, `AmplitudeAwareSpatialASLNet`, divides the image by its RMS $s$, corrects the least-squares fit
of every voxel and multiplies CBF by $s$ again: an image twice as bright has exactly twice the CBF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional

from revoxel.asl.network.channels import PHYSICS_PLANES, AslChannels, Plane
from revoxel.asl.network.heads import (
    FitPooling,
    Heads,
    MapHeads,
    amplitude_statistics,
    n_statistics,
    n_timing_features,
    timing_features,
)
from revoxel.asl.network.parts import (
    ATT_CENTRE,
    ATT_SPREAD,
    CBF_CENTRE,
    CBF_SPREAD,
    N_CONDITION,
    PHYSICS_SCALES,
    TYPICAL_SCALE,
    Embedding,
    Normalization,
    SdFactors,
    Trunk,
    normalised,
    sd_of,
    standard_maps,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from revoxel.asl.network.unet import FilmSite, Norm

Amplitude = Literal["equivariant", "film", "modulation", "film+modulation", "none"]
AMPLITUDES = ("equivariant", "film", "modulation", "film+modulation", "none")

_TINY = 1e-12
_MAX_DETAIL = 4.0


class SpatialASLNet(nn.Module):
    """U-Net on the signals alone: the source's baseline.

    Args:
        in_channels: Difference signals.
        features: Features per level.
        norm: `group` or None.
        dropout: Share of the features that are dropped; kept on at inference for MC dropout.
        heads: See `MapHeads`.
        normalization: See `normalised`.
        signal_scale: Factor of `global_scale`.
        multiscale: Add a branch at half resolution.
    """

    def __init__(  # noqa: PLR0913 - one switch of the published form each
        self,
        in_channels: int,
        features: Sequence[int] = (32, 64, 128, 256),
        *,
        norm: Norm | None = None,
        dropout: float = 0.0,
        heads: Heads = "shared",
        normalization: Normalization = "global_scale",
        signal_scale: float = 1000.0,
        multiscale: bool = False,
    ) -> None:
        super().__init__()
        self.channels = AslChannels(in_channels)
        self.normalization = normalization
        self.signal_scale = signal_scale
        n_decoders = 2 if heads == "split_decoder" else 1
        self.trunk = Trunk(
            in_channels, features, multiscale, norm=norm, dropout=dropout, n_decoders=n_decoders
        )
        self.heads = MapHeads(self.trunk.n_features, heads)
        self.sd_factors = SdFactors()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Estimate the maps.

        Args:
            image: `(batch, channel, H, W)`, channels of `AslChannels`.

        Returns:
            `cbf`, `att`, `cbf_sd`, `att_sd`.

        Raises:
            ValueError: If channels or sides do not fit.
        """
        signals, _ = self.channels.split(image)
        raw = self.heads(self.trunk(normalised(signals, self.normalization, self.signal_scale)))
        return self.sd_factors(standard_maps(raw.float(), clip=not self.training))


class AmplitudeAwareSpatialASLNet(nn.Module):
    """U-Net that keeps the amplitude of the image, by default as a correction of the voxel-wise fit.

    Args:
        in_channels: Difference signals; 0 for the form that sees the fit alone and fits any protocol.
        features: Features per level.
        norm: `group` or None.
        dropout: Share of the features that are dropped; kept on at inference for MC dropout.
        heads: See `MapHeads`.
        amplitude: `equivariant`: divide by the image's RMS; `film`: image-wide statistics modulate the
            features; `modulation`: they scale CBF; `film+modulation`; `none`.
        film_at: Where FiLM acts.
        film_att: Statistics of timing, free of amplitude, modulate the features of ATT.
        residual_on_fit: Correct the fit in units of its standard deviation, instead of starting afresh.
        pooling: Side of the neighbourhood over which the fit is averaged first, with weights that the network
            gives every voxel; 0 for none.
        predict_logvar: Predict standard deviations; off, those of the fit are returned.
        condition_on_physics: Take T1 of blood and the efficiencies as further channels.
        normalization: See `normalised`.
        signal_scale: Factor of `global_scale`.
        multiscale: Add a branch at half resolution.

    Raises:
        ValueError: If a switch is unknown, or there is nothing to see.
    """

    def __init__(  # noqa: PLR0913 - one switch of the published form each
        self,
        in_channels: int,
        features: Sequence[int] = (32, 64, 128, 256),
        *,
        norm: Norm | None = None,
        dropout: float = 0.0,
        heads: Heads = "shared",
        amplitude: Amplitude = "equivariant",
        film_at: Collection[FilmSite] = ("bottleneck", "decoder"),
        film_att: bool = False,
        residual_on_fit: bool = True,
        pooling: int = 5,
        predict_logvar: bool = True,
        condition_on_physics: bool = False,
        normalization: Normalization = "global_scale",
        signal_scale: float = 200.0,
        multiscale: bool = False,
    ) -> None:
        super().__init__()
        _check_switches(in_channels, amplitude, residual_on_fit, predict_logvar)
        self.channels = AslChannels(in_channels)
        self.equivariant = amplitude == "equivariant"
        self.residual_on_fit = residual_on_fit
        self.predict_logvar = predict_logvar
        self.condition_on_physics = condition_on_physics
        self.normalization = normalization
        self.signal_scale = signal_scale
        n_planes = 7 if residual_on_fit else 1
        n_inputs = in_channels + n_planes + (len(PHYSICS_PLANES) if condition_on_physics else 0)
        film = "film" in amplitude
        self.statistics = Embedding(n_statistics(in_channels)) if film else None
        self.timing = Embedding(n_timing_features(in_channels)) if film_att else None
        self.modulation = Embedding(n_statistics(in_channels), 1) if "modulation" in amplitude else None
        self.trunk = Trunk(
            n_inputs,
            features,
            multiscale,
            norm=norm,
            dropout=dropout,
            n_decoders=2 if heads == "split_decoder" else 1,
            film_at=film_at if film else (),
            n_condition=N_CONDITION if film else 0,
        )
        self.heads = MapHeads(self.trunk.n_features, heads, N_CONDITION if film_att else 0)
        pooled = pooling > 0 and residual_on_fit
        self.pooling = FitPooling(self.trunk.n_features, pooling) if pooled else None
        self.sd_factors = SdFactors()
        # Tells the weights from those of SpatialASLNet, whatever the switches.
        self.register_buffer("amplitude_aware", torch.ones(()))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Estimate the maps.

        Args:
            image: `(batch, channel, H, W)`, channels of `AslChannels`.

        Returns:
            `cbf`, `att`, `cbf_sd`, `att_sd`.

        Raises:
            ValueError: If channels or sides do not fit.
        """
        signals, planes = self.channels.split(image)
        scale = planes[Plane.scale].clamp_min(_TINY) / TYPICAL_SCALE
        scale = scale if self.equivariant else torch.ones_like(scale)
        shown = normalised(signals / scale, self.normalization, self.signal_scale)
        condition = None if self.statistics is None else self.statistics(amplitude_statistics(shown))
        timing = None if self.timing is None else self.timing(timing_features(shown))
        features = self.trunk(torch.cat([shown, *self._beside(planes, scale)], dim=1), condition)
        raw = self.heads(features, timing).float()
        if self.modulation is not None:
            factor = 1 + self.modulation(amplitude_statistics(shown))[..., None, None]
            raw = torch.cat([raw[:, :1] * factor, raw[:, 1:]], dim=1)
        clip = not self.training
        if self.residual_on_fit:
            fits = (planes[Plane.fit_cbf], planes[Plane.fit_att])
            inside = planes[Plane.fit_att_sd] > 0
            bases = fits if self.pooling is None else self.pooling(features, fits, inside)
            maps = self._corrected(raw, bases, planes, clip)
        else:
            maps = standard_maps(raw, clip, scale)
        if not self.predict_logvar:
            maps |= {"cbf_sd": planes[Plane.fit_cbf_sd], "att_sd": planes[Plane.fit_att_sd]}
        return self.sd_factors(maps)

    def _beside(self, planes: dict[Plane, Tensor], scale: Tensor) -> list[Tensor]:
        """Channels beside the signals, of about unit size."""
        inside = (planes[Plane.fit_att_sd] > 0).to(scale)
        beside = [(planes[Plane.sigma] / scale / TYPICAL_SCALE + 0.01).log()]
        if self.residual_on_fit:
            cbf, cbf_sd = (planes[name] / scale for name in (Plane.fit_cbf, Plane.fit_cbf_sd))
            beside += [
                (cbf - CBF_CENTRE * inside) / CBF_SPREAD,
                (planes[Plane.fit_att] - ATT_CENTRE * inside) / ATT_SPREAD,
                (cbf_sd / CBF_SPREAD + 0.01).log() * inside,
                (planes[Plane.fit_att_sd] / ATT_SPREAD + 0.01).log() * inside,
                _detail(planes[Plane.fit_cbf], planes[Plane.fit_cbf_sd], inside),
                _detail(planes[Plane.fit_att], planes[Plane.fit_att_sd], inside),
            ]
        if self.condition_on_physics:
            centres = ((name, *PHYSICS_SCALES[name]) for name in PHYSICS_PLANES)
            beside += [(planes[name] - centre) / spread for name, centre, spread in centres]
        return beside

    @staticmethod
    def _corrected(
        raw: Tensor, bases: tuple[Tensor, Tensor], planes: dict[Plane, Tensor], clip: bool
    ) -> dict[str, Tensor]:
        cbf, att, cbf_log_sd, att_log_sd = raw.split(1, dim=1)
        cbf_unit, att_unit = planes[Plane.fit_cbf_sd], planes[Plane.fit_att_sd]
        corrected_cbf = bases[0] + cbf_unit * cbf
        return {
            "cbf": corrected_cbf.clamp_min(0) if clip else corrected_cbf,
            "att": bases[1] + att_unit * att,
            "cbf_sd": cbf_unit * sd_of(cbf_log_sd),
            "att_sd": att_unit * sd_of(att_log_sd),
        }


def _detail(fit: Tensor, sd: Tensor, inside: Tensor) -> Tensor:
    """What a voxel has beyond its neighbours, in units of its noise: mostly noise where tissue is even.

    Without it the first layers would have to amplify the noise, a small part of the maps, by a factor of 10.
    """
    around = _smoothed(fit * inside) / _smoothed(inside).clamp_min(_TINY)
    return torch.tanh((fit - around) * inside / (sd + 1 - inside) / _MAX_DETAIL) * _MAX_DETAIL


def _smoothed(values: Tensor) -> Tensor:
    for _ in range(2):
        values = functional.avg_pool2d(values, 3, stride=1, padding=1)
    return values


def _check_switches(in_channels: int, amplitude: str, residual_on_fit: bool, predict_logvar: bool) -> None:
    if amplitude not in AMPLITUDES:
        msg = f"amplitude must be one of {', '.join(AMPLITUDES)}, got {amplitude!r}; correct the config."
        raise ValueError(msg)
    if in_channels < 1 and not (residual_on_fit and amplitude in {"equivariant", "none"}):
        msg = f"in_channels must be >= 1 without the fit or with FiLM, got {in_channels}; count the signals."
        raise ValueError(msg)
    if not (predict_logvar or residual_on_fit):
        msg = "predict_logvar must be on without residual_on_fit, got both off; nothing else gives an sd."
        raise ValueError(msg)

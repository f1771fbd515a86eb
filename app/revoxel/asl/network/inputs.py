"""From difference images to a network's input: the fit of every voxel, its posterior, noise and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.asl.fitting.fit import fit_dictionary
from revoxel.asl.network.channels import PHYSICS_PLANES, AslChannels, Plane
from revoxel.asl.network.parts import CBF_CENTRE, TYPICAL_SCALE
from revoxel.asl.physics import AslPhysics

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.asl.fitting.fit import AslFit
    from revoxel.asl.protocol import AslProtocol


@dataclass(frozen=True, eq=False)
class SliceData:
    """Slices as they were measured.

    Attributes:
        dm: `(batch, channel, H, W)`, difference images in units of M0.
        mask: `(batch, H, W)`, true inside the brain.
        sigma: Noise of `dm` in units of M0, one value per slice; estimated from what the fit leaves if None.
    """

    dm: Tensor
    mask: Tensor
    sigma: Tensor | None = None


def network_input(
    data: SliceData,
    protocol: AslProtocol,
    physics: AslPhysics | None = None,
    *,
    channels: AslChannels | None = None,
) -> Tensor:
    """Fit every voxel and stack what a network sees.

    The scale is the root mean square of the image over the whole mask: compute inputs of whole slices, and
    cut windows afterwards.

    Args:
        data: The slices.
        protocol: Delays of their channels.
        physics: Constants, each a number or one per slice; the standard ones if not given.
        channels: Of the network; without signals the scale is that of the fitted CBF.

    Returns:
        `(batch, channels.n_channels, H, W)`, 0 outside the mask.

    Raises:
        ValueError: If the mask is empty, shapes do not fit, or data in the mask are not finite.
    """
    physics = physics or AslPhysics()
    sigma = _noise(data, protocol, physics)
    fit = fit_dictionary(
        data.dm.movedim(1, -1), protocol, physics, sigma=sigma[:, None, None, None], mask=data.mask
    )
    known = SliceData(data.dm, data.mask, sigma)
    return stack_input(known, fit, physics, channels or AslChannels(protocol.n_channels))


def stack_input(data: SliceData, fit: AslFit[Tensor], physics: AslPhysics, channels: AslChannels) -> Tensor:
    """Stack what a network sees of slices that are fitted already.

    Args:
        data: The slices, with their noise.
        fit: Maps of the fit, `(batch, H, W)`, with its posterior.
        physics: Constants, each a number or one per slice.
        channels: Of the network.

    Returns:
        `(batch, channels.n_channels, H, W)`, 0 outside the mask.

    Raises:
        ValueError: If the noise is not known.
    """
    if data.sigma is None or fit.cbf_sd is None:
        msg = "the noise must be known, got no sigma; average repeats, or give three delays or more."
        raise ValueError(msg)
    inside = (data.mask & ~fit.dropped)[:, None]
    mask = inside.to(data.dm.dtype)
    signals = torch.where(inside, data.dm, torch.zeros_like(data.dm))
    maps = _fit_planes(fit)
    shown = signals[:, : channels.n_signal]
    in_cbf = _rms(maps[Plane.fit_cbf], mask) / CBF_CENTRE * TYPICAL_SCALE
    numbers = {
        Plane.sigma: data.sigma,
        Plane.scale: _rms(shown, mask) if channels.n_signal else in_cbf,
        **{name: _per_slice(getattr(physics, name), data.sigma) for name in PHYSICS_PLANES},
    }
    planes = maps | {name: value[:, None, None, None] for name, value in numbers.items()}
    return channels.stack(shown, planes)


def _fit_planes(fit: AslFit[Tensor]) -> dict[Plane, Tensor]:
    # The mean of the posterior, not its peak: where nothing tells ATT, the peak is noise over its range.
    found = {
        Plane.fit_cbf: fit.cbf_mean,
        Plane.fit_att: fit.att_mean,
        Plane.fit_cbf_sd: fit.cbf_sd,
        Plane.fit_att_sd: fit.att_sd,
    }
    return {name: values[:, None] for name, values in found.items() if values is not None}


def _noise(data: SliceData, protocol: AslProtocol, physics: AslPhysics) -> Tensor:
    if data.sigma is not None:
        return torch.as_tensor(data.sigma).to(data.dm).expand(len(data.dm))
    return estimated_sigma(data, protocol, physics)


def estimated_sigma(data: SliceData, protocol: AslProtocol, physics: AslPhysics | None = None) -> Tensor:
    """Noise of every slice from what a fit of two parameters leaves.

    Args:
        data: The slices.
        protocol: Delays of their channels, three or more.
        physics: Constants; the standard ones if not given.

    Returns:
        `(batch,)`, units of M0.

    Raises:
        ValueError: If there are fewer than three channels.
    """
    n_free = protocol.n_channels - 2
    if n_free < 1:
        msg = f"sigma must be given with {protocol.n_channels} delays, got None; three delays tell the noise."
        raise ValueError(msg)
    residual = fit_dictionary(data.dm.movedim(1, -1), protocol, physics, mask=data.mask).residual
    n_voxels = data.mask.flatten(1).sum(1).clamp_min(1)
    squares = (residual.square() * data.mask).flatten(1).sum(1) / n_voxels
    return (squares * protocol.n_channels / n_free).sqrt().clamp_min(1e-9).to(data.dm)


def _rms(values: Tensor, mask: Tensor) -> Tensor:
    """Root mean square inside the mask of every slice, `(batch,)`."""
    n = mask.flatten(1).sum(1).clamp_min(1) * values.shape[1]
    return ((values * mask).square().flatten(1).sum(1) / n).sqrt()


def _per_slice(value: object, like: Tensor) -> Tensor:
    return (
        torch.as_tensor(np.asarray(value) if not isinstance(value, torch.Tensor) else value)
        .to(like)
        .expand_as(like)
    )

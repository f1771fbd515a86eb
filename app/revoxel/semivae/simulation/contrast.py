"""Four pulses of a head with a tumour: tissue contrasts, the tumour inserted, coil and thermal noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from revoxel.core.pulses import Pulse
from revoxel.semivae.features.extract import bounding_box
from revoxel.semivae.simulation.fields import sample, smooth_lattice, unit_lattice
from revoxel.semivae.simulation.lesion import ED, ET, NCR, Kind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_UNITS = 1000.0
_BIAS, _BIAS_SIGMA_MM = 0.06, 60.0
_NOISE = 0.03
_LABEL_GAIN = (0.85, 1.15)
_TEXTURE, _TEXTURE_SIGMA_MM = 0.10, 3.0
#: Share of oedema in a voxel of it: the tissue shines through.
_OPACITY = {NCR: 1.0, ED: 0.75, ET: 1.0}
#: Of core and necrosis, and of oedema, whose border is vague.
_EDGE_MM = {NCR: 0.8, ED: 1.8, ET: 0.8}
_DARKEST = 0.01
#: Signal of WM, GM and CSF where it is not that of the template's T1; white matter on T1 is about 0.9.
_TISSUE = {Pulse.t2f: (0.50, 0.62, 0.20), Pulse.t2w: (0.36, 0.50, 1.00)}
#: Signal of necrosis, oedema and enhancing core.
_TUMOUR = {
    Kind.GLIOMA: {
        Pulse.t1c: (0.42, 0.55, 1.25),
        Pulse.t1n: (0.40, 0.54, 0.58),
        Pulse.t2f: (0.72, 0.98, 0.76),
        Pulse.t2w: (0.92, 0.74, 0.62),
    },
    Kind.MENINGIOMA: {
        Pulse.t1c: (0.50, 0.58, 1.35),
        Pulse.t1n: (0.42, 0.55, 0.62),
        Pulse.t2f: (0.60, 0.98, 0.72),
        Pulse.t2w: (0.85, 0.75, 0.55),
    },
}


def acquire(
    tissues: torch.Tensor,
    labels: NDArray[np.uint8],
    brain: NDArray[np.bool_],
    kind: Kind,
    rng: np.random.Generator,
    voxel_mm: float,
) -> NDArray[np.float32]:
    """Scan a head.

    Args:
        tissues: `(4, i, j, k)` T1, WM, GM and CSF, already pushed aside.
        labels: `(i, j, k)`.
        brain: `(i, j, k)` inside the skull.
        kind: What the tumour resembles.
        rng: Decides gains, coil and noise.
        voxel_mm: Size of the voxels.

    Returns:
        `(4, i, j, k)` whole numbers, about 1000 for the brightest tissue; 0 outside the brain and only there.
    """
    signal = np.stack([_healthy(pulse, tissues) for pulse in Pulse])
    _insert(signal, labels, kind, rng, voxel_mm)
    extent_mm = [voxel_mm * size for size in labels.shape]
    coil = sample(smooth_lattice(len(Pulse), extent_mm, _BIAS_SIGMA_MM, rng), unit_lattice(labels.shape))
    signal *= np.exp(_BIAS * coil.numpy())
    signal += np.float32(_NOISE) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.rint(_UNITS * signal.clip(_DARKEST)) * brain


def _healthy(pulse: Pulse, tissues: torch.Tensor) -> NDArray[np.float32]:
    t1, wm, gm, csf = tissues.numpy()
    if pulse not in _TISSUE:
        return t1.copy()
    white, grey, fluid = _TISSUE[pulse]
    return white * wm + grey * gm + fluid * csf


def _insert(
    signal: NDArray[np.float32],
    labels: NDArray[np.uint8],
    kind: Kind,
    rng: np.random.Generator,
    voxel_mm: float,
) -> None:
    """Put the tumour's own signal in place of the tissue's, with soft edges, on the crop around it."""
    gains = rng.uniform(*_LABEL_GAIN, (len(Pulse), 3))
    box = bounding_box(labels != 0)
    if box is None:
        return
    wider = tuple(slice(max(one.start - 2, 0), one.stop + 2) for one in box)
    crop, part = labels[wider], signal[(slice(None), *wider)]
    extent_mm = [voxel_mm * size for size in crop.shape]
    texture = (
        1
        + _TEXTURE
        * sample(smooth_lattice(1, extent_mm, _TEXTURE_SIGMA_MM, rng), unit_lattice(crop.shape))[0].numpy()
    )
    kept = np.ones(crop.shape, dtype=np.float32)
    added = np.zeros_like(part)
    for at, label in enumerate((NCR, ED, ET)):
        mask = (crop == label).astype(np.float32)
        share = _OPACITY[label] * ndimage.gaussian_filter(mask, _EDGE_MM[label] / voxel_mm)
        kept -= share
        for channel, pulse in enumerate(Pulse):
            added[channel] += np.float32(gains[channel, at] * _TUMOUR[kind][pulse][at]) * share
    part *= kept
    part += added * texture

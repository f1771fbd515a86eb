"""The truth that maps are held against, and the regions of a brain over which that is done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.simulation.shapes import Tissue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from revoxel.asl.quantification.estimation import PerfusionMaps

    Stack = NDArray[Any]

WELL_PERFUSED_CBF_ML_100G_MIN = 15.0


class Target(StrEnum):
    """What is estimated."""

    CBF = "cbf"
    ATT = "att"


class Region(StrEnum):
    """Voxels over which scores are taken."""

    BRAIN = "brain"
    GREY_MATTER = "grey matter"
    WHITE_MATTER = "white matter"
    CSF = "csf"
    LESION = "lesion"
    #: Voxels with a neighbour of another tissue or lesion.
    BOUNDARY = "boundary"
    #: CBF above 15 ml/100g/min, where the data tell ATT.
    PERFUSED = "cbf > 15"


@dataclass(frozen=True, eq=False)
class Truth:
    """What the maps are held against, each `(phantom, row, column)`.

    Attributes:
        cbf: ml/100g/min.
        att: ms.
        mask: Voxels that count: the same for every method.
        tissue: `Tissue`.
        lesion: 0 outside lesions.
        cbf_bound: Cramer-Rao bound of CBF for one voxel, ml/100g/min.
        att_bound: The same of ATT, ms; infinite where the data cannot tell.
    """

    cbf: Stack
    att: Stack
    mask: Stack
    tissue: Stack
    lesion: Stack
    cbf_bound: Stack | None = None
    att_bound: Stack | None = None

    def regions(self) -> dict[Region, Stack]:
        """Masks of the regions."""
        return {
            Region.BRAIN: self.mask,
            Region.GREY_MATTER: self.mask & (self.tissue == Tissue.GREY_MATTER),
            Region.WHITE_MATTER: self.mask & (self.tissue == Tissue.WHITE_MATTER),
            Region.CSF: self.mask & (self.tissue == Tissue.CSF),
            Region.LESION: self.mask & (self.lesion > 0),
            Region.BOUNDARY: boundary(self.tissue.astype(int) + 8 * self.lesion, self.mask),
            Region.PERFUSED: self.mask & (self.cbf > WELL_PERFUSED_CBF_ML_100G_MIN),
        }


def boundary(labels: Stack, mask: Stack) -> Stack:
    """Voxels that touch a voxel with another label.

    Args:
        labels: `(phantom, row, column)` whole numbers.
        mask: Voxels that count; the outside is no label.

    Returns:
        Same shape, bool.
    """
    edge = np.zeros(mask.shape, bool)
    for axis in (1, 2):
        low = tuple(slice(None, -1) if at == axis else slice(None) for at in range(3))
        high = tuple(slice(1, None) if at == axis else slice(None) for at in range(3))
        differ = (labels[low] != labels[high]) & mask[low] & mask[high]
        edge[low] |= differ
        edge[high] |= differ
    return edge


def named_maps(maps: PerfusionMaps) -> dict[str, Stack]:
    """The maps that a method gives, by name.

    Args:
        maps: Of the method.
    """
    return {name: values for name, values in vars(maps).items() if values is not None}


def check_same_voxels(estimates: Mapping[str, PerfusionMaps], truth: Truth) -> None:
    """Refuse maps that are not one value per voxel of the truth.

    Args:
        estimates: Maps by the name of the method.
        truth: What they are held against.

    Raises:
        ValueError: If a shape differs, a method gives no ATT, or the mask is empty.
    """
    shape = truth.mask.shape
    if len(shape) != 3 or not truth.mask.any():
        msg = f"the mask must be (phantom, row, column) with voxels in it, got {shape}; give a brain mask."
        raise ValueError(msg)
    named = {f"truth {name}": values for name, values in vars(truth).items() if values is not None}
    for method, maps in estimates.items():
        if maps.att is None:
            msg = f"{method} must give an ATT map, got none; compare methods for several delays."
            raise ValueError(msg)
        named |= {f"{method} {name}": values for name, values in named_maps(maps).items()}
    for name, values in named.items():
        if values.shape != shape:
            msg = (
                f"{name} must have one value per voxel of the truth {shape}, got shape {values.shape}; give "
                "whole maps: a list of voxels can be paired with the wrong ones."
            )
            raise ValueError(msg)

"""X-ray views beside a coarse CT: whether they belong to it, and how well a result explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from revoxel.ct.refinement.steps import as_tensor
from revoxel.ct.xray.agreement import reprojection_error
from revoxel.ct.xray.views import ViewOptions, load_views, settle_views

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.ct.xray.geometry import XrayGeometry


@dataclass(frozen=True)
class ViewFiles:
    """Two views of the patient.

    Args:
        frontal: Image file.
        lateral: Image file.
        options: What they are.
    """

    frontal: Path
    lateral: Path
    options: ViewOptions = field(default_factory=ViewOptions)


@dataclass(frozen=True, eq=False)
class SettledViews:
    """Views that fit the coarse volume.

    Args:
        nepers: `(1, 2, 1, row, column)`, frontal first.
        geometry: Of both.
        facts: How well they fit.
        notes: What a user should know.
    """

    nepers: torch.Tensor
    geometry: XrayGeometry
    facts: dict[str, Any]
    notes: tuple[str, ...]


def read_views(files: ViewFiles, coarse_hu: NDArray[np.float32], grid: Grid) -> SettledViews:
    """Read two views and check them against the coarse volume, whose centre is the isocentre.

    Args:
        files: The views.
        coarse_hu: `(x, y, z)` in HU, RAS.
        grid: Its grid.

    Returns:
        The views in nepers.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no view, or the views are swapped, upside down, mirrored or inverted.
    """
    views = load_views(files.frontal, files.lateral, files.options)
    nepers, facts = settle_views(views, as_tensor(coarse_hu), grid.spacing_mm)
    return SettledViews(nepers, views.geometry, facts, views.notes)


def explained(views: SettledViews, hu: NDArray[Any], grid: Grid) -> dict[str, float]:
    """How far X-rays of a volume are from the views.

    Args:
        views: Of the patient.
        hu: `(x, y, z)` in HU, RAS.
        grid: Its grid.
    """
    return reprojection_error(as_tensor(hu), views.nepers, grid.spacing_mm, views.geometry)

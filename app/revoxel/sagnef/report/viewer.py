"""The interactive viewer: nilearn's, with our controls, as a page of its own for a frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from math import ceil, isclose, prod, sqrt
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from markupsafe import Markup
from matplotlib.colors import ListedColormap

from revoxel.core.geometry import Grid, resample
from revoxel.core.html_page import render_page
from revoxel.core.report import OKABE_ITO
from revoxel.sagnef.report.pictures import dominant_map, encode, error_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.sagnef.report.display import View
    from revoxel.sagnef.report.material import Material
    from revoxel.sagnef.report.pictures import Window

_QUALITY = 75
_ERROR_QUALITY = 50
_MAX_VOXELS = 5e6
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Viewer:
    """A page for a frame.

    Args:
        html: The whole page.
        scripts: Its inline scripts, for the content policy.
        height_share: Height of the slices over the width of the frame.
    """

    html: str
    scripts: tuple[str, ...]
    height_share: float


def slice_viewer(name: str, material: Material, view: View, window: Window) -> Viewer:
    """Make the viewer of one run.

    Args:
        name: Of the run, for its title.
        material: Volumes.
        view: What is shown.
        window: Black and white.

    Returns:
        The viewer.
    """
    solid = _Solid.of(view)
    page = _nilearn_page(material, solid)
    volumes = {"fused": material.fused, "thick slices": material.low, **material.experts}
    drawn = {**volumes, "truth": material.truth}
    sprites = {
        title: encode(_tiles(window.grey(solid.cut(data))), _QUALITY)
        for title, data in drawn.items()
        if data is not None
    }
    if material.truth is not None:
        error = solid.cut(error_of(material))
        sprites["error of fused"] = encode(_tiles(window.colour_error(error)), _ERROR_QUALITY)
    fill = partial(render_page, "revoxel.sagnef.report", title=f"Slices of {name}")
    experts = dict(zip(material.weights, OKABE_ITO, strict=False))
    # nilearn's head names an icon on the network.
    body, _, last = page.partition("<body>")[2].rpartition("<script>")
    initialise = f"<script>{last.partition('</script>')[0]}</script>"
    html = fill(
        "viewer.html.jinja",
        viewer=Markup(body),  # noqa: S704 - nilearn's, of numbers and pictures alone
        initialise=Markup(initialise),  # noqa: S704
        sprites=sprites,
        experts=experts,
        shape=solid.shape,
        voxel_mm=solid.voxel_mm,
    )
    n_x, n_y, n_z = solid.shape
    return Viewer(html, tuple(_SCRIPT.findall(html)), max(n_y, n_z) / (2 * n_x + n_y))


def _nilearn_page(material: Material, solid: _Solid) -> str:
    """The ruling experts in colour over a black volume, which our sprites replace."""
    from nilearn.plotting import view_img

    blank = np.zeros(solid.shape, np.float32)
    ruling = solid.cut(dominant_map(material), order=0) if material.weights else blank
    n_colours = max(len(material.weights), 2)  # nilearn makes no scale of one colour
    return view_img(
        nibabel.Nifti1Image(ruling, solid.affine),
        bg_img=False,
        cut_coords=solid.centre_mm,
        threshold=0.5 if material.weights else None,
        black_bg=True,
        cmap=ListedColormap(OKABE_ITO[:n_colours]),
        symmetric_cmap=False,
        vmin=0.5,
        vmax=n_colours + 0.5,
        resampling_interpolation="nearest",
        annotate=False,
    ).html


@dataclass(frozen=True, eq=False)
class _Solid:
    """The box of a view in cubic voxels, few enough for a browser."""

    view: View
    voxel_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, view: View) -> _Solid:
        sides_mm = [n * side for n, side in zip(view.shape, view.spacing_mm, strict=True)]
        voxel_mm = max(min(view.spacing_mm), (prod(sides_mm) / _MAX_VOXELS) ** (1 / 3))
        x, y, z = (max(round(side / voxel_mm), 1) for side in sides_mm)
        return cls(view, voxel_mm, (x, y, z))

    @property
    def affine(self) -> NDArray[np.float64]:
        affine = np.diag([self.voxel_mm] * 3 + [1.0])
        affine[:3, 3] = self.voxel_mm / 2
        return affine

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        places = zip(self.view.centre, self.view.spacing_mm, strict=True)
        x, y, z = ((place + 0.5) * side for place, side in places)
        return x, y, z

    def cut(self, data: NDArray[np.float32], order: int = 1) -> NDArray[np.float32]:
        upright = self.view.cut(data)
        if all(isclose(side, self.voxel_mm, rel_tol=0.01) for side in self.view.spacing_mm):
            return upright
        affine = np.diag([*self.view.spacing_mm, 1.0])
        affine[:3, 3] = np.array(self.view.spacing_mm) / 2
        return resample(upright, Grid(upright.shape, affine), Grid(self.shape, self.affine), order)


def _tiles(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sagittal slices beside each other as nilearn lays them: `(x, y, z, rgb)` to `(row, column, rgb)`."""
    n_x, n_y, n_z, n_colours = pixels.shape
    n_rows = ceil(sqrt(n_x))
    n_columns = ceil(n_x / n_rows)
    tiles = np.zeros((n_rows * n_columns, n_z, n_y, n_colours), dtype=np.uint8)
    tiles[:n_x] = np.swapaxes(pixels[:, :, ::-1], 1, 2)
    rows = tiles.reshape(n_rows, n_columns, n_z, n_y, n_colours).swapaxes(1, 2)
    return rows.reshape(n_rows * n_z, n_columns * n_y, n_colours)

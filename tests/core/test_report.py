"""Figures are drawn on one grid and in world orientation; tables keep their rows."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from revoxel.core.geometry import Grid
from revoxel.core.report import (
    Panel,
    PanelKind,
    SliceFigure,
    bright_centre,
    draw,
    fact_table,
    number_table,
    save_figure,
)

SHAPE = (12, 10, 8)


def _ramp(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _figure(grid: Grid | None = None) -> SliceFigure:
    shares = np.zeros((4, *SHAPE), dtype=np.float32)
    shares[1] = 1.0
    panels = (
        Panel("LR", _ramp()),
        Panel("error", _ramp() - _ramp().mean(), PanelKind.ERROR),
        Panel("weights", shares, PanelKind.WEIGHTS, ("A", "B", "C", "D")),
    )
    return SliceFigure(panels, grid or Grid(SHAPE, np.eye(4)), title="title", caption="caption")


def test_figure_is_a_png_and_is_kept_unless_overwritten(tmp_path: Path) -> None:
    path = save_figure(_figure(), tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileExistsError):
        save_figure(_figure(), path)
    save_figure(_figure(), path, overwrite=True)


def test_planes_look_the_same_however_the_voxels_are_stored() -> None:
    """A volume with its axes permuted and flipped, and its affine with them, gives the same pictures."""
    image = nib.Nifti1Image(_ramp(), np.diag([1.0, 1.0, 2.0, 1.0]))
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    pictures = []
    for one in (image, turned):
        grid = Grid(one.shape, one.affine)
        centre = tuple(int(v) for v in np.argwhere(one.get_fdata() == _ramp()[6, 5, 4])[0])
        figure = draw(SliceFigure((Panel("one", np.asarray(one.dataobj)),), grid, centre=centre))
        pictures.append([np.asarray(axis.images[0].get_array()) for axis in figure.axes])
    for first, second in zip(*pictures, strict=True):
        np.testing.assert_array_equal(first, second)


def test_panel_on_another_grid_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="panel 'LR' must have the figure's grid"):
        draw(SliceFigure((Panel("LR", _ramp()),), Grid((3, 3, 3), np.eye(4))))


def test_centre_of_a_bright_block_is_found() -> None:
    data = np.zeros(SHAPE, dtype=np.float32)
    data[6:9, 2:5, 4:7] = 1.0
    assert bright_centre(data) == (7, 3, 5)
    assert bright_centre(np.zeros(SHAPE, dtype=np.float32)) == (6, 5, 4)


def test_tables_show_every_row() -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(number_table("scores", {"bspline": {"psnr_db": 27.6412, "ssim": "-"}}, digits=2))
        console.print(fact_table("facts", {"profile": "gauss:5"}))
    text = capture.get()
    assert "27.64" in text
    assert "gauss:5" in text


def test_stated_limits_hold_for_every_panel() -> None:
    panels = (Panel("dark", _ramp()), Panel("bright", 9 * _ramp()), Panel("error", _ramp(), PanelKind.ERROR))
    figure = draw(SliceFigure(panels, Grid(SHAPE, np.eye(4)), greys=(-1000.0, 500.0), error_limit=300.0))
    limits = [axis.images[0].get_clim() for axis in figure.axes]
    assert limits == 3 * [(-1000.0, 500.0), (-1000.0, 500.0), (-300.0, 300.0)]

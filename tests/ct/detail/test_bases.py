"""Bases: what they promise, and how good they are on shapes whose truth is known."""

import pytest
import torch

from revoxel.ct.detail.bases import BackprojectionBase, FrozenBase, OracleBase, Scene
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

WINDOW = HounsfieldWindow()
SHAPE, SPACING_MM = (16, 16, 16), (12.0, 12.0, 12.0)


def body(shape=SHAPE) -> torch.Tensor:
    """Elliptic water cylinder with two lungs and a spine in air, HU."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = torch.full(shape, -1000.0)
    hu[(x / 0.9) ** 2 + (y / 0.65) ** 2 < 1] = 40.0
    for side in (-1, 1):
        hu[((x - 0.42 * side) / 0.3) ** 2 + (y / 0.4) ** 2 + (z / 0.8) ** 2 < 1] = -850.0
    hu[x**2 + ((y + 0.45) / 0.12) ** 2 < 0.02] = 700.0
    return hu[None, None]


def scene(kind: str) -> Scene:
    return Scene(SHAPE, SPACING_MM, XrayGeometry(kind, size=32))


def rmse(first, second) -> float:
    return float((first - second).square().mean().sqrt())


@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_backprojection_beats_the_best_constant(kind):
    truth = WINDOW.normalise(body())
    views = project_views(body(), SPACING_MM, scene(kind).geometry)
    coarse = BackprojectionBase(scene(kind), WINDOW).coarse(views)
    assert coarse.shape == truth.shape
    assert rmse(coarse, truth) < 0.8 * rmse(truth.mean(), truth)


def test_backprojection_explains_its_views_and_is_calibrated():
    """A uniform volume comes back as itself, in HU."""
    water = torch.full((1, 1, *SHAPE), 0.0)
    parallel = Scene(SHAPE, SPACING_MM, XrayGeometry("parallel", size=16))
    coarse = BackprojectionBase(parallel, WINDOW).coarse(project_views(water, SPACING_MM, parallel.geometry))
    torch.testing.assert_close(WINDOW.restore(coarse), water, rtol=0, atol=0.1)


def test_oracle_error_is_as_stated_and_belongs_to_the_truth():
    truth = WINDOW.normalise(torch.zeros(2, 1, *SHAPE))
    truth[1] += 0.01
    coarse = OracleBase(WINDOW, error_hu=50.0).coarse(torch.empty(0), truth)
    errors_hu = (coarse - truth) * WINDOW.width_hu
    assert errors_hu.square().mean(dim=(1, 2, 3, 4)).sqrt().tolist() == pytest.approx([50.0, 50.0], rel=1e-3)
    again = OracleBase(WINDOW, error_hu=50.0).coarse(torch.empty(0), truth[:1])
    torch.testing.assert_close(again, coarse[:1])
    assert rmse(errors_hu[0], errors_hu[1]) > 20


def test_oracle_without_truth_is_refused():
    with pytest.raises(ValueError, match="truth must be given"):
        OracleBase().coarse(torch.zeros(1, 2, 1, 8, 8))


def test_bad_oracle_is_refused():
    with pytest.raises(ValueError, match="blur must be positive"):
        OracleBase(blur_voxels=0.0)


def test_views_of_another_size_are_refused():
    with pytest.raises(ValueError, match="one frontal and one lateral"):
        BackprojectionBase(scene("cone")).coarse(torch.zeros(1, 2, 1, 31, 32))


@pytest.mark.parametrize("base", [OracleBase(), BackprojectionBase(scene("cone"))], ids=["oracle", "smear"])
def test_bases_keep_the_protocol_and_give_no_gradient(base):
    assert isinstance(base, FrozenBase)
    truth = WINDOW.normalise(body()).requires_grad_()
    views = project_views(body(), SPACING_MM, scene("cone").geometry).requires_grad_()
    assert not base.coarse(views, truth).requires_grad

"""A trained detail network comes back as it was, refines in HU, and says how it fits its X-rays."""

from pathlib import Path

import pytest
import torch

from revoxel.core.checkpoints import save_weights
from revoxel.core.iterations import Precision
from revoxel.ct.consistency import block_mean
from revoxel.ct.detail.inference import refine_detail
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.models import load_refiner, refiner_protocol
from revoxel.ct.detail.network import DetailRefiner3D, architecture, build_refiner
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

SCENE = XrayScene((3.0, 3.0, 3.0), XrayGeometry(size=8))
EXACT = Precision("float32")


def network(consistency: str) -> DetailRefiner3D:
    torch.manual_seed(0)
    changes = {"hidden": 4, "blocks": 1, "lift_channels": 2}
    made = build_refiner(architecture("small", changes, consistency), SCENE).eval()
    torch.nn.init.normal_(made.tail.weight, std=0.3)
    return made


@pytest.fixture
def coarse_hu() -> torch.Tensor:
    return 300 * torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1)) - 500


def test_weights_come_back_with_class_switches_and_scene(tmp_path: Path, coarse_hu):
    before = network("none")
    arguments = architecture("small", {"hidden": 4, "blocks": 1, "lift_channels": 2}, "none")
    path = save_weights(tmp_path / "model.pt", before.state_dict(), refiner_protocol(arguments, SCENE))
    refiner = load_refiner(path)
    assert refiner.scene == SCENE
    assert refiner.record["model"] == "DetailRefiner3D"
    x = SCENE.window.normalise(coarse_hu)
    torch.testing.assert_close(refiner.network(x), before(x))
    assert not refiner.network.training


def test_weights_of_another_class_are_refused_with_both_names(tmp_path: Path):
    path = save_weights(tmp_path / "model.pt", {}, {"system": "ct", "model": "ResidualUpsampler3D"})
    with pytest.raises(ValueError, match="wanted 'DetailRefiner3D', got 'ResidualUpsampler3D'"):
        load_refiner(path)
    with pytest.raises(FileNotFoundError):
        load_refiner(tmp_path / "none.pt")


def test_refined_volume_is_in_hu_inside_the_window_with_its_checks(coarse_hu):
    views = project_views(coarse_hu, SCENE.spacing_mm, SCENE.geometry)
    result = refine_detail(network("none"), coarse_hu, views, precision=EXACT)
    assert result.volume_hu.min() >= SCENE.window.low_hu
    assert 0 < result.clipped_share < 1
    torch.testing.assert_close(result.added_detail_hu, result.volume_hu - coarse_hu)
    assert result.reprojection_coarse["relative"] < 1e-5 < result.reprojection_refined["relative"]
    assert refine_detail(network("none"), coarse_hu, precision=EXACT).reprojection_refined == {}


def test_lowpass4_holds_in_hu_after_clipping(coarse_hu):
    result = refine_detail(network("lowpass4"), coarse_hu, precision=EXACT)
    assert (block_mean(result.volume_hu) - block_mean(coarse_hu)).abs().max() < 0.5
    assert result.volume_hu.min() >= SCENE.window.low_hu

import numpy as np
import pytest
from nibabel import Nifti1Image, as_closest_canonical

import ct_studies
from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.volumes import read_volume
from revoxel.ct.refinement.methods import FACTOR, Method, MethodChoice, choose
from revoxel.ct.refinement.planning import RefineSettings, plan_refinement
from revoxel.ct.refinement.run import refine
from revoxel.ct.refinement.views import ViewFiles
from revoxel.ct.xray.drr import DrrPlan, ViewFormat, make_drr, write_drr
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.view_files import ViewsUnit
from revoxel.ct.xray.views import ViewOptions


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return ct_studies.write_pair(tmp_path_factory.mktemp("set"), "chest")


@pytest.fixture(scope="module")
def drr(pair, tmp_path_factory):
    """X-rays of the fine chest: frontal, lateral, geometry."""
    import torch

    out = tmp_path_factory.mktemp("views")
    plan = DrrPlan(pair[0], out, XrayGeometry("parallel", size=64), ViewFormat("tiff"), False, False)
    written = write_drr(plan, make_drr(plan, torch.device("cpu")))
    frontal = next(path for path in written if path.name.endswith("pa_drr.tiff"))
    lateral = next(path for path in written if path.name.endswith("lat_drr.tiff"))
    return (
        frontal,
        lateral,
        next(path for path in written if path.suffix == ".json" and "geometry" in path.name),
    )


def run(scan, out, settings):
    return refine(plan_refinement(scan, out, settings), settings)


def test_an_upsampler_is_made_consistent_and_named_in_the_record(pair, tmp_path):
    weights = ct_studies.write_upsampler(tmp_path / "model.pt")
    settings = RefineSettings(MethodChoice(Method.NETWORK, checkpoint=weights, device="cpu"))
    refined = run(pair[1], tmp_path / "out", settings)
    assert refined.record["consistency"]["max_hu"] <= 0.5
    assert refined.record["method"] == "upsampler network"
    assert refined.record["model"]["model"] == "ResidualUpsampler3D"
    assert refined.record["coarse"]["trained_on_mm"] == FACTOR * ct_studies.SPACING_MM
    assert not any("was not validated" in text for text in refined.record["warnings"])


def test_model_spread_and_dicom_series_are_written_on_demand(pair, tmp_path):
    weights = ct_studies.write_upsampler(tmp_path / "model.pt")
    choice = MethodChoice(Method.NETWORK, checkpoint=weights, device="cpu")
    refined = run(pair[1], tmp_path / "out", RefineSettings(choice, spread=True, dicom_out=True))
    spread = read_volume(refined.paths.model_spread)
    assert spread.data.shape == refined.grid.shape
    assert spread.data.min() >= 0
    assert spread.data.max() > 5
    series = read_volume(refined.paths.dicom)
    found = as_closest_canonical(Nifti1Image(series.data, series.grid.affine))
    np.testing.assert_array_equal(found.get_fdata(), refined.result.refined)
    np.testing.assert_allclose(found.affine, refined.grid.affine, atol=1e-3)
    again = run(pair[1], tmp_path / "out", RefineSettings(choice, overwrite=True))
    assert not again.paths.dicom.exists()
    assert not again.paths.model_spread.exists()


def test_interpolation_has_no_model_spread(pair, tmp_path):
    with pytest.raises(ValueError, match="must come from a network"):
        run(pair[1], tmp_path / "out", RefineSettings(MethodChoice(Method.PROJECTION), spread=True))


def test_a_detail_network_keeps_the_grid_and_uses_the_views(pair, drr, tmp_path):
    weights = ct_studies.write_refiner(tmp_path / "model.pt", 64)
    frontal, lateral, geometry = drr
    options = ViewOptions(ViewsUnit.NEPERS, geometry=geometry)
    choice = MethodChoice(Method.NETWORK, checkpoint=weights, device="cpu")
    fine = pair[0]
    seen = run(fine, tmp_path / "seen", RefineSettings(choice, ViewFiles(frontal, lateral, options)))
    blind = run(fine, tmp_path / "blind", RefineSettings(choice))
    assert seen.grid.shape == blind.grid.shape == ct_studies.grid().shape
    assert not np.array_equal(seen.result.refined, blind.result.refined)
    # The chest explains its own X-rays, what the random network adds does not.
    views = seen.record["views"]
    assert views["reprojection_coarse"]["relative"] < 1e-3 < views["reprojection_refined"]["relative"]
    assert "views" not in blind.record


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("swapped", "exchange --frontal and --lateral"),
        ("upside down", "--flip-frontal"),
    ],
)
def test_views_that_lie_wrong_are_refused_with_the_remedy(pair, drr, tmp_path, change, remedy):
    frontal, lateral, geometry = drr
    options = ViewOptions(ViewsUnit.NEPERS, geometry=geometry)
    if change == "swapped":
        frontal, lateral = lateral, frontal
    else:
        options = ViewOptions(ViewsUnit.NEPERS, flip=(View.FRONTAL,), geometry=geometry)
    settings = RefineSettings(MethodChoice(Method.PROJECTION), ViewFiles(frontal, lateral, options))
    with pytest.raises(ValueError, match=remedy):
        run(pair[1], tmp_path / "out", settings)


def test_weights_of_another_network_are_refused_with_both_names(tmp_path):
    path = save_checkpoint(tmp_path / "model.pt", {"model": {}}, {"model": "UNet"})
    with pytest.raises(ValueError, match="ResidualUpsampler3D or DetailRefiner3D, got UNet"):
        choose(MethodChoice(Method.NETWORK, checkpoint=path))

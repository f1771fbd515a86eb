import json

import nibabel
import numpy as np
import pytest

import ct_studies
from revoxel.core.geometry import Grid
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import read_volume
from revoxel.ct.refinement.methods import Method, MethodChoice
from revoxel.ct.refinement.planning import RefineSettings, plan_refinement
from revoxel.ct.refinement.run import refine
from revoxel.ct.scans.grids import coarsened
from revoxel.ct.scans.results import write_hu

PROJECTION = MethodChoice(Method.PROJECTION)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Fine and coarse file of a synthetic chest."""
    return ct_studies.write_pair(tmp_path_factory.mktemp("set"), "chest")


@pytest.fixture(scope="module")
def refined(pair, tmp_path_factory):
    """A chest that was refined and compared with its truth."""
    fine, coarse = pair
    settings = RefineSettings(PROJECTION, truth=fine)
    return refine(plan_refinement(coarse, tmp_path_factory.mktemp("out"), settings), settings)


def test_every_result_is_there_and_says_what_it_is(refined):
    names = {path.name for path in refined.paths.folder.iterdir()}
    assert names == {
        "chest_refined.nii.gz",
        "chest_added_detail.nii.gz",
        "chest_ct.json",
        "chest_ct.png",
        "chest_ct.html",
    }
    image = nibabel.load(refined.paths.refined)
    assert image.get_data_dtype() == np.int16
    assert "derived, not for diagnosis" in image.header["descrip"].item().decode()


def test_block_means_of_the_written_file_are_the_scan(refined, pair):
    written = np.asarray(nibabel.load(refined.paths.refined).dataobj)
    coarse = read_volume(pair[1]).data
    assert np.abs(ct_studies.coarse_of(written) - coarse).max() <= 0.5
    assert refined.record["consistency"]["max_hu"] <= 0.5


def test_added_detail_is_refined_less_interpolated(refined):
    detail = np.asarray(nibabel.load(refined.paths.added_detail).dataobj, dtype=np.float64)
    # What block means cannot see and interpolation lacks: its own block means are small, its values are not.
    assert detail.std() > 10
    assert np.sqrt(np.mean(detail**2)) == pytest.approx(refined.record["added_detail"]["rms_hu"], rel=1e-3)


def test_truth_is_scored_where_it_was_measured(refined):
    truth = refined.record["truth"]
    assert 10 < truth["scores"]["rmse_hu"] < 150
    assert truth["scores"]["consistency_max_hu"] <= 0.5
    nyquist = truth["ring_correlation"]["coarse_nyquist_cycles_per_mm"]
    assert nyquist == pytest.approx(1 / 40)
    assert min(truth["ring_correlation"]["frequencies_cycles_per_mm"]) > nyquist


def test_page_and_record_tell_the_same(refined):
    page = refined.paths.page.read_text()
    assert "Against the truth" in page
    assert f"{refined.record['truth']['scores']['rmse_hu']:.1f}" in page
    assert read_sidecar(refined.paths.record)["method"] == "trilinear+projection"


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_sphere_stays_where_it_is_to_a_tenth_of_a_fine_voxel(tmp_path, flips):
    """Its centre, in mm, from the refined file against where it was painted, however the file is stored."""
    centre, step = np.array([33.7, 30.2, 29.1]), 2.0
    affine = np.diag([*(step * np.array(flips)), 1.0])
    affine[:3, 3] = (12.0, -7.0, 101.0)
    grid = Grid((64, 64, 64), affine)
    distance = np.sqrt(((np.indices(grid.shape).T - centre).T ** 2).sum(axis=0))
    sphere = 1000 * np.clip(12.5 - distance, 0, 1) - 1000
    scan = write_hu(tmp_path / "sphere.nii.gz", ct_studies.coarse_of(sphere), coarsened(grid, 4))
    settings = RefineSettings(PROJECTION)
    found = refine(plan_refinement(scan, tmp_path / "out", settings), settings)
    weights = np.clip(found.result.refined.astype(float) + 1000, 0, None)
    points = np.moveaxis(np.indices(weights.shape), 0, -1).reshape(-1, 3)
    mean = np.average(found.grid.world(points), axis=0, weights=weights.ravel())
    assert np.abs(mean - grid.world(centre)).max() < 0.1 * step


def test_results_of_the_same_request_are_kept_and_others_refused(refined, pair, tmp_path):
    same = plan_refinement(pair[1], refined.paths.folder, RefineSettings(PROJECTION, truth=pair[0]))
    assert same.why == ""
    with pytest.raises(FileExistsError, match="settings changed: allow_no_air"):
        plan_refinement(
            pair[1], refined.paths.folder, RefineSettings(PROJECTION, truth=pair[0], allow_no_air=True)
        )
    with pytest.raises(FileExistsError, match="input changed: truth"):
        plan_refinement(pair[1], refined.paths.folder, RefineSettings(PROJECTION))


def test_nothing_is_left_of_a_refinement_that_fails(pair, tmp_path, monkeypatch):
    settings = RefineSettings(PROJECTION)
    plan = plan_refinement(pair[1], tmp_path / "out", settings)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("revoxel.ct.refinement.run.write_page", full)
    with pytest.raises(OSError, match="No space"):
        refine(plan, settings)
    assert list((tmp_path / "out").iterdir()) == []


def test_voxels_beyond_ct_numbers_are_listed(tmp_path):
    hu = np.full((16, 16, 16), -1000.0)
    hu[8, 8, 8] = 20000.0
    scan = write_hu(tmp_path / "metal.nii.gz", hu, ct_studies.grid(16))
    settings = RefineSettings(PROJECTION)
    record = refine(plan_refinement(scan, tmp_path / "out", settings), settings).record
    assert record["coarse"]["unreachable_voxels_mm"] == [[-10.0, -10.0, -10.0]]
    assert any("1 coarse voxels lie outside" in text for text in record["warnings"])


def test_a_scan_that_is_no_ct_is_refused(tmp_path):
    scan = write_hu(tmp_path / "mr.nii.gz", ct_studies.chest(size=16) + 1024, ct_studies.grid(16))
    settings = RefineSettings(PROJECTION)
    with pytest.raises(ValueError, match="must hold air"):
        refine(plan_refinement(scan, tmp_path / "out", settings), settings)


def test_a_truth_that_lies_elsewhere_is_refused(pair, tmp_path):
    far = write_hu(tmp_path / "far.nii.gz", ct_studies.chest(size=16), ct_studies.grid(16, corner_mm=5000.0))
    settings = RefineSettings(PROJECTION, truth=far)
    with pytest.raises(ValueError, match="must lie where the scan lies"):
        refine(plan_refinement(pair[1], tmp_path / "out", settings), settings)


def test_weights_for_a_method_without_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be named once"):
        MethodChoice(Method.PROJECTION, checkpoint=tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="weights of a network"):
        MethodChoice(Method.NETWORK, checkpoint=tmp_path / "model.pt").weights()


def test_a_damaged_record_does_not_vouch_for_results(refined, pair, tmp_path):
    copy = tmp_path / "chest_ct.json"
    copy.write_text(json.dumps({"request": {}}))
    with pytest.raises(FileExistsError, match="record is damaged"):
        plan_refinement(pair[1], tmp_path, RefineSettings(PROJECTION))

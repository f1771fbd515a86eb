"""The whole job: planning, results that appear together or not at all, what is said about them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from asl_scans import PLDS_MS, TinyScan, head, truth, write_image, write_joint
from revoxel.asl.fitting.levenberg import LmSettings
from revoxel.asl.quantification.methods import Method, MethodChoice
from revoxel.asl.quantification.planning import QuantifySettings, find_groups, plan_scan
from revoxel.asl.quantification.quantify import quantify_scan
from revoxel.asl.scans.series import Labelling
from revoxel.asl.scans.stated import Stated

NAMES = {
    "sub-01_cbf.nii.gz",
    "sub-01_att.nii.gz",
    "sub-01_desc-sd_cbf.nii.gz",
    "sub-01_desc-sd_att.nii.gz",
    "sub-01_desc-fit_cbf.nii.gz",
    "sub-01_desc-fit_att.nii.gz",
    "sub-01_desc-bound_mask.nii.gz",
    "sub-01_asl.json",
    "sub-01_asl.png",
    "sub-01_asl.html",
}


def run(inputs, out, **options):
    settings = QuantifySettings(**options)
    (group,) = find_groups([inputs] if not isinstance(inputs, list) else inputs, settings.stated)
    return quantify_scan(plan_scan(group, out, settings), settings)


def test_every_result_is_written_and_named_in_the_record(tmp_path):
    scan = TinyScan(repeats=3, sigma=1e-4).write(tmp_path / "bids")
    result = run(tmp_path / "bids", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == NAMES
    cbf = nibabel.load(result.paths.file("cbf")).get_fdata()
    np.testing.assert_allclose(cbf[head()], truth()[0][head()], rtol=0.1)
    record = json.loads(result.paths.record.read_text())
    assert {*record["files"].values()} < NAMES
    assert record["repeats"] == [3] * 6
    assert record["noise"]["source"] == "repeats"
    assert record["protocol"]["pcasl_plds_ms"] == list(PLDS_MS)
    assert record["inputs"]["PCASL"] == str(scan)
    assert set(record["request"]["sha256"]) == {"PCASL", "M0 of PCASL"}
    assert record["warnings"] == []
    assert "data:image/png;base64," in result.paths.page.read_text()


@pytest.mark.parametrize("labelling", ["CASL", "PASL", "VSASL"])
def test_every_kind_of_labelling_gives_its_maps(tmp_path, labelling):
    TinyScan(labelling=labelling).write(tmp_path / "bids")
    item = run(tmp_path / "bids", tmp_path / "out").item
    for name, expected in zip(("cbf", "att"), truth(), strict=True):
        np.testing.assert_allclose(item[name].numpy()[0][head()], expected[head()], rtol=0.02)


def test_a_joint_scan_is_one_result(tmp_path):
    write_joint(tmp_path / "bids")
    record = run(tmp_path / "bids", tmp_path / "out").record
    assert {file.name for file in (tmp_path / "out").iterdir()} == NAMES
    assert len(record["channels"]) == 12
    assert record["noise"]["source"] == "residual"


def test_a_single_delay_gives_cbf_alone_and_says_so(tmp_path):
    TinyScan(plds_ms=(2500.0,), repeats=2, sigma=1e-4).write(tmp_path / "bids")
    result = run(tmp_path / "bids", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").glob("*.nii.gz")} == {
        "sub-01_cbf.nii.gz",
        "sub-01_desc-sd_cbf.nii.gz",
        "sub-01_desc-fit_cbf.nii.gz",
    }
    assert result.record["method"] == "white paper, single delay"
    assert any("a single delay cannot tell ATT" in text for text in result.record["warnings"])


def test_two_delays_without_repeats_have_no_standard_deviation(tmp_path):
    TinyScan(plds_ms=(1000.0, 2500.0)).write(tmp_path / "bids")
    record = run(tmp_path / "bids", tmp_path / "out").record
    assert not list((tmp_path / "out").glob("*desc-sd*"))
    assert any("the noise could not be told" in text for text in record["warnings"])


def test_the_same_job_is_done_once_and_another_needs_overwrite(tmp_path):
    TinyScan().write(tmp_path / "bids")
    out = tmp_path / "out"
    run(tmp_path / "bids", out)
    (group,) = find_groups([tmp_path / "bids"])
    assert plan_scan(group, out, QuantifySettings()).why == ""
    other = Stated(alpha=0.7)
    with pytest.raises(
        FileExistsError,
        match=r"asked for \(settings changed: stated; see sub-01_asl.json\); pass",
    ):
        plan_scan(group, out, QuantifySettings(stated=other))
    before = nibabel.load(out / "sub-01_cbf.nii.gz").get_fdata()
    run(tmp_path / "bids", out, stated=other, overwrite=True)
    after = nibabel.load(out / "sub-01_cbf.nii.gz").get_fdata()
    np.testing.assert_allclose(after[head()], before[head()] * 0.85 / 0.7, rtol=1e-3)


def test_arterial_blood_is_fitted_beside_tissue(tmp_path):
    TinyScan(repeats=2, sigma=1e-4).write(tmp_path / "bids")
    result = run(tmp_path / "bids", tmp_path / "out", fit=LmSettings(arterial=True))
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == NAMES | {"sub-01_abv.nii.gz", "sub-01_abat.nii.gz"}
    assert result.record["method"] == "fit with arterial blood"
    assert result.record["files"]["abv"] == "sub-01_abv.nii.gz"
    volumes = nibabel.load(result.paths.file("abv")).get_fdata()[head()]
    assert 0 <= np.median(volumes) < 5e-3
    cbf = nibabel.load(result.paths.file("cbf")).get_fdata()[head()]
    np.testing.assert_allclose(np.median(cbf), np.median(truth()[0][head()]), rtol=0.1)


def test_arterial_blood_needs_delays_and_the_fit(tmp_path):
    arterial = LmSettings(arterial=True)
    with pytest.raises(ValueError, match="--arterial must go with --method fit"):
        QuantifySettings(fit=arterial, method=MethodChoice(Method.AUTO))
    for plds_ms, words in (((1800.0,), "four delays or more"), ((800.0, 1800.0), "must have 4 channels")):
        TinyScan(plds_ms=plds_ms).write(tmp_path / "bids")
        with pytest.raises(ValueError, match=words):
            run(tmp_path / "bids", tmp_path / "out", fit=arterial)


def test_maps_of_an_earlier_job_do_not_stay_beside_new_ones(tmp_path):
    TinyScan().write(tmp_path / "bids")
    run(tmp_path / "bids", tmp_path / "out")
    TinyScan(plds_ms=(1800.0,)).write(tmp_path / "bids")
    run(tmp_path / "bids", tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "sub-01_att.nii.gz").exists()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    TinyScan().write(tmp_path / "bids")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("revoxel.asl.quantification.quantify.save_picture", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "bids", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_results_never_lie_beside_the_scan(tmp_path):
    scan = TinyScan().write(tmp_path / "bids")
    with pytest.raises(ValueError, match="output folder must not be that of the scan"):
        run(scan, scan.parent, overwrite=True)


@pytest.mark.parametrize("changed", ["mask", "grey"])
def test_a_missing_companion_is_named_before_anything_is_read(tmp_path, changed):
    TinyScan().write(tmp_path / "bids")
    with pytest.raises(FileNotFoundError, match=r"nowhere.nii .* must be an existing file"):
        run(tmp_path / "bids", tmp_path / "out", **{changed: tmp_path / "nowhere.nii"})


def test_a_missing_scan_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"none_asl.nii.gz must be an existing BIDS folder or ASL file"
    ):
        find_groups([tmp_path / "none_asl.nii.gz"])


def test_facts_about_one_scan_are_not_stated_for_two(tmp_path):
    write_joint(tmp_path)
    with pytest.raises(ValueError, match="delays, durations and labelling can be stated for one scan, got 2"):
        find_groups([tmp_path], Stated(labelling=Labelling.PCASL))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_cut_file_is_named(tmp_path, share):
    scan = TinyScan().write(tmp_path / "bids")
    content = scan.read_bytes()
    scan.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"sub-01_asl.nii.gz must be a readable image"):
        run(tmp_path / "bids", tmp_path / "out")


def test_tissue_maps_give_values_by_tissue(tmp_path):
    TinyScan().write(tmp_path / "bids")
    half = np.zeros(head().shape)
    half[5:] = 1
    grey = write_image(tmp_path / "gm.nii.gz", half)
    white = write_image(tmp_path / "wm.nii.gz", 1 - half)
    record = run(tmp_path / "bids", tmp_path / "out", grey=grey, white=white).record
    regions = record["regions"]
    assert regions["GM"]["n_voxels"] + regions["WM"]["n_voxels"] == regions["brain"]["n_voxels"]
    expected = np.median(truth()[0][5:][head()[5:]])
    assert regions["GM"]["median_cbf_ml_100g_min"] == pytest.approx(expected, rel=0.01)
    assert record["gm_wm_ratio"] > 1


def test_tissue_maps_of_derivatives_are_found(tmp_path):
    TinyScan().write(tmp_path / "bids")
    anat = tmp_path / "bids" / "derivatives" / "prep" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    write_image(anat / "sub-01_label-GM_probseg.nii.gz", head())
    assert "GM" in run(tmp_path / "bids", tmp_path / "out").record["regions"]


@pytest.mark.parametrize(
    ("tiny", "stated", "words"),
    [
        (TinyScan(), Stated(alpha=0.05), "median CBF of the brain mask is .* outside 15 to 120"),
        (TinyScan(types=("label", "control") * 6), Stated(), "control and label are probably swapped"),
        (TinyScan(types=("label", "control") * 6), Stated(), "100 % of the voxels ended at a bound"),
    ],
)
def test_implausible_maps_are_doubted(tmp_path, tiny, stated, words):
    import re

    tiny.write(tmp_path / "bids")
    warnings = run(tmp_path / "bids", tmp_path / "out", stated=stated).record["warnings"]
    assert any(re.search(words, text) for text in warnings), warnings


def test_m0_too_low_to_divide_by_is_counted(tmp_path):
    scan = TinyScan().write(tmp_path / "bids")
    m0 = 1000.0 * head()
    m0[8, 7] = 1
    write_image(scan.with_name("sub-01_m0scan.nii.gz"), m0)
    mask = write_image(tmp_path / "mask.nii.gz", head())
    record = run(tmp_path / "bids", tmp_path / "out", mask=mask).record
    assert record["m0"][0]["n_floored"] == 4
    assert any("M0 was below 5 % of its median in 4 voxels" in text for text in record["warnings"])


def test_motion_is_corrected_and_told(tmp_path, monkeypatch):
    from revoxel.asl.scans.motion import Realigned

    seen = []

    def still(volumes, grid, reference, progress):
        seen.append(len(volumes))
        progress(1.0)
        return Realigned(volumes, (0.5,) * len(volumes))

    monkeypatch.setattr("revoxel.asl.scans.transforms.realign", still)
    TinyScan().write(tmp_path / "bids")
    result = run(tmp_path / "bids", tmp_path / "out", realign=True)
    assert seen == [13]  # six pairs and M0
    assert result.record["motion_mm"] == {"pcasl": (0.5,) * 13}
    assert "largest 0.50 mm" in result.paths.page.read_text()


LD_MS = (100.0, 100.0, 150.0, 150.0, 400.0, 800.0, 1800.0)
PLD_MS = (170.0, 270.0, 370.0, 520.0, 670.0, 1070.0, 1870.0)


def test_a_real_scan_gives_sane_values(data_path, tmp_path):
    """Multi-delay PCASL with several echo times; ranges hold for any healthy adult."""
    stated = Stated(
        plds_ms=PLD_MS,
        labelling_durations_ms=LD_MS,
        already_subtracted=True,
        echo=0,
        m0=data_path("asl/asltk_m0.nii.gz"),
    )
    item = run(data_path("asl/asltk_pcasl_mte.nii.gz"), tmp_path, stated=stated).item
    m0 = item["pcasl_m0"].data
    tissue = m0 > 0.3 * np.percentile(m0, 95)
    assert 35 < np.median(item["cbf"].numpy()[0][tissue]) < 90
    assert 700 < np.median(item["att"].numpy()[0][tissue]) < 1500
    assert item["protocol"].durations_ms == LD_MS

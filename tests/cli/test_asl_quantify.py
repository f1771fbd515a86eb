"""`revoxel asl quantify`: options, several scans, dry run, errors in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from asl_scans import PLDS_MS, TinyScan, head, truth, write_image
from revoxel.cli.main import app


def call(*arguments: object):
    return CliRunner().invoke(app, ["asl", "quantify", *map(str, arguments)], env={"COLUMNS": "160"})


def test_bids_in_maps_out(tmp_path):
    TinyScan(repeats=2, sigma=1e-4).write(tmp_path / "bids")
    answer = call(tmp_path / "bids", "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    for text in ("brain", "CBF, ml/100g/min", "T1 of blood", "sub-01_asl.png", "sub-01_asl.html"):
        assert text in answer.output
    again = call(tmp_path / "bids", "-o", tmp_path / "out")
    assert "sub-01: done before, kept" in again.output


def test_plain_files_with_every_fact_stated(tmp_path):
    dm = write_image(tmp_path / "dm.nii.gz", 1000 * TinyScan().differences())
    m0 = write_image(tmp_path / "m0.nii.gz", 1000 * head())
    delays = ",".join(f"{pld:g}" for pld in PLDS_MS)
    facts = ["--plds-ms", delays, "--labelling-durations-ms", 1800, "--m0", m0, "--m0-tr-ms", 10000]
    answer = call(dm, "--already-subtracted", *facts, "--t1-blood-ms", 1650, "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "out" / "dm_cbf.nii.gz").is_file()


def test_plain_pcasl_and_vsasl_are_fitted_together(tmp_path):
    delays = ",".join(f"{pld:g}" for pld in PLDS_MS)
    pcasl = write_image(tmp_path / "pcasl.nii.gz", 1000 * TinyScan().differences())
    vsasl = write_image(
        tmp_path / "vsasl.nii.gz", 1000 * TinyScan(labelling="VSASL", plds_ms=PLDS_MS[:4]).differences()
    )
    facts = ["--already-subtracted", "--plds-ms", delays, "--labelling-durations-ms", 1800, "--m0", 1000]
    joint = ["--vsasl", vsasl, "--vsasl-plds-ms", delays.rpartition(",2500")[0]]
    answer = call(pcasl, *facts, *joint, "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    record = json.loads((tmp_path / "out" / "pcasl_asl.json").read_text())
    assert len(record["channels"]) == 10
    assert record["regions"]["brain"]["median_cbf_ml_100g_min"] == pytest.approx(
        np.median(truth()[0][head()]), rel=0.02
    )
    both = call(pcasl, vsasl, *facts, "-o", tmp_path / "out")
    assert "pass the VSASL scan of a pair by --vsasl" in both.stderr
    alone = call(pcasl, *facts, "--vsasl-plds-ms", 500, "-o", tmp_path / "out")
    assert "--vsasl-plds-ms must come with --vsasl FILE" in alone.stderr
    twice = call(vsasl, *facts, *joint, "--labelling", "vsasl", "-o", tmp_path / "out")
    assert "--vsasl must go with one PCASL, CASL or PASL scan, got VSASL" in twice.stderr
    gone = call(pcasl, *facts, "--vsasl", "gone.nii", "--vsasl-plds-ms", 500, "-o", tmp_path / "out")
    assert gone.exit_code == 2
    assert "gone.nii" in gone.stderr


def test_dry_run_checks_and_writes_nothing(tmp_path):
    TinyScan(labelling="VSASL").write(tmp_path / "bids")
    answer = call(tmp_path / "bids", "-o", tmp_path / "out", "--dry-run")
    assert answer.exit_code == 0, answer.output
    assert "500, 1000, 1500" in answer.output
    assert "is an extension" in answer.output
    assert not (tmp_path / "out").exists()


def test_a_scan_that_fails_does_not_stop_the_others(tmp_path):
    TinyScan().write(tmp_path)
    TinyScan(name="sub-02_asl", fields={"RepetitionTimePreparation": 0}).write(tmp_path, "sub-02/perf")
    answer = call(tmp_path, "-o", tmp_path / "out")
    assert answer.exit_code == 1
    assert "sub-02: sub-02_asl.nii.gz: RepetitionTimePreparation must be > 0 s" in answer.output
    assert "1 of 2 scans are done, 1 failed" in answer.output
    assert (tmp_path / "out" / "sub-01_asl.json").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plds-ms", "a,b"], "--plds-ms must be numbers separated by commas"),
        (["--plds-ms", "500,1000"], "PostLabelingDelay must be one number or one per volume, got 2 for 12"),
        (["--plds-ms", "20000"], "PostLabelingDelay must be in seconds"),
        (["--m0", "nowhere.nii"], "nowhere.nii"),
        (["--m0", "0"], "M0 (a given number) must be > 0"),
        (["--alpha", "85"], "alpha_pcasl must be > 0 and <= 1, got 85"),
        (["--alpha", "0"], "alpha_pcasl must be > 0 and <= 1, got 0"),
        (["--alpha-bs", "0"], "alpha_bs must be > 0 and <= 1, got 0"),
        (["--model", "net.pt"], "--model must come with --method network or auto"),
        (["--model", "net.pt", "--method", "auto"], "net.pt must be a trained network, got nothing"),
        (["--motion", "rigid", "--mask", "nowhere.nii"], "nowhere.nii (mask) must be an existing file"),
    ],
)
def test_wrong_options_are_explained_in_one_line(tmp_path, options, words):
    TinyScan().write(tmp_path)
    answer = call(tmp_path, "-o", tmp_path / "out", *options)
    assert answer.exit_code == 2
    assert words in answer.stderr
    assert answer.stderr.count("error:") == 1
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_several_echoes_need_a_choice(tmp_path):
    import nibabel
    import numpy as np

    images = np.stack([TinyScan().differences()] * 2, axis=-1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(images, np.eye(4)), tmp_path / "dm.nii.gz")
    facts = ["--already-subtracted", "--plds-ms", ",".join(map(str, PLDS_MS)), "--m0", 1]
    answer = call(tmp_path / "dm.nii.gz", *facts, "--labelling-durations-ms", 1800, "-o", tmp_path / "out")
    assert answer.exit_code == 2
    assert "--echo must be 0 to 1, got None; pass --echo 0" in answer.stderr

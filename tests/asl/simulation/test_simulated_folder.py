import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from revoxel.asl.protocol import AslProtocol
from revoxel.asl.quantification.planning import QuantifySettings, find_groups, plan_scan
from revoxel.asl.quantification.quantify import quantify_scan
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PhysicsRange
from revoxel.asl.simulation.simulated_folder import FolderRecipe, write_folder

VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
    "bids-validator-deno"
)
RECIPE = FolderRecipe(PhantomConfig(size=40), AslNoise(snr=20), n_subjects=2, n_slices=3)


def image(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "bids"
    assert len(write_folder(RECIPE, out)) == 4
    return out


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_official_validator_finds_no_error(folder):
    command = [str(VALIDATOR), str(folder), "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_metadata_have_one_value_per_volume(folder):
    perf = folder / "sub-01" / "perf"
    for kind, n_repeats in (("pcasl", 2), ("vsasl", 2)):
        fields = json.loads((perf / f"sub-01_acq-{kind}_asl.json").read_text())
        context = (perf / f"sub-01_acq-{kind}_aslcontext.tsv").read_text().split()
        n_volumes = image(perf / f"sub-01_acq-{kind}_asl.nii.gz").shape[3]
        assert n_volumes == len(fields["PostLabelingDelay"]) == len(context) - 1 == 6 * n_repeats * 2
        assert fields["TotalAcquiredPairs"] == 6 * n_repeats
        assert context[:3] == ["volume_type", "control", "label"]
        assert fields["PostLabelingDelay"][:4] == [0.5, 0.5, 1.0, 1.0]
    assert "LabelingDuration" not in fields


def test_quantified_folder_gives_the_truth_back(folder, tmp_path):
    settings = QuantifySettings()
    group = find_groups([folder])[0]
    assert list(group.files) == ["PCASL", "VSASL"]
    quantify_scan(plan_scan(group, tmp_path, settings), settings)
    truth = folder / "derivatives" / "truth" / "sub-01" / "perf"
    mask = image(truth / "sub-01_desc-brain_mask.nii.gz") > 0
    error = image(tmp_path / "sub-01_cbf.nii.gz") - image(truth / "sub-01_cbf.nii.gz")
    # SNR60 20 gives an error of 0.78; averaging unequal M0 noise and 0.05 % of unrecovered M0 add little.
    assert np.abs(error[mask]).mean() == pytest.approx(0.78, abs=0.1)
    assert abs(error[mask].mean()) < 0.15
    record = json.loads((tmp_path / "sub-01_asl.json").read_text())
    assert record["mask"]["n_voxels"] == pytest.approx(mask.sum(), rel=0.02)
    stated = json.loads((truth / "sub-01_truth.json").read_text())["sigma_over_m0"]
    assert np.mean(record["noise"]["sigma_over_m0"]) == pytest.approx(stated, rel=0.1)
    assert [row for row in record["regions"] if "GM" in str(row)]


def test_subjects_differ_and_a_seed_repeats_them(folder, tmp_path):
    truth = folder / "derivatives" / "truth"
    first, second = (image(truth / f"sub-0{n}" / "perf" / f"sub-0{n}_cbf.nii.gz") for n in (1, 2))
    assert not np.array_equal(first, second)
    write_folder(RECIPE, tmp_path / "again")
    for path in sorted(folder.rglob("*.nii.gz")):
        np.testing.assert_array_equal(image(path), image(tmp_path / "again" / path.relative_to(folder)))


def test_constants_of_each_subject_are_told_with_the_truth(tmp_path):
    recipe = FolderRecipe(
        PhantomConfig("uniform", 16), physics=PhysicsRange.named("default"), n_subjects=2, n_slices=1
    )
    write_folder(recipe, tmp_path / "out")
    facts = [
        json.loads(path.read_text())
        for path in sorted((tmp_path / "out" / "derivatives").rglob("*_truth.json"))
    ]
    assert facts[0]["constants"]["t1_blood_ms"] != facts[1]["constants"]["t1_blood_ms"]
    assert facts[0]["stated_constants"]["t1_blood_ms"] == 1650
    sidecars = {path.read_text() for path in (tmp_path / "out").rglob("*pcasl_asl.json")}
    assert len(sidecars) == 1


def test_pcasl_alone_needs_no_exception_from_bids(tmp_path):
    recipe = FolderRecipe(PhantomConfig("seed", 16), protocol=AslProtocol((1800.0,)), n_slices=1)
    (written,) = write_folder(recipe, tmp_path / "out")
    assert written.name == "sub-01_acq-pcasl_asl.nii.gz"
    assert (
        json.loads(written.with_name("sub-01_acq-pcasl_asl.json").read_text())["LabelingDuration"]
        == [1.8] * 4
    )


def test_filled_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match="new or empty"):
        write_folder(RECIPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("revoxel.asl.simulation.simulated_folder.write_sidecar", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="No space left on device"):
        write_folder(FolderRecipe(PhantomConfig("uniform", 16), n_slices=1), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "bad", [{"n_slices": 0}, {"protocol": AslProtocol(pasl_tis_ms=(900.0,), pasl_bolus_ms=700.0)}]
)
def test_impossible_recipe_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        FolderRecipe(**bad)

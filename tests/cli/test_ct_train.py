"""`revoxel ct train`: a tiny run, its continuation, its log, the plan, and what is refused."""

import pytest
import torch
from typer.testing import CliRunner

from ct_study import write_ct_study
from revoxel.cli.main import app
from revoxel.core.checkpoints import best_checkpoint
from revoxel.core.configuration import flat_values, read_mapping
from revoxel.core.handlers import LAST, read_epoch_log
from revoxel.core.training import read_sections, source_folder
from revoxel.ct.learning.configuration import CtModel
from revoxel.ct.upsampler.models import load_upsampler

TINY = (
    "arguments={'head':'coarse','channels':[8],'blocks':[1],'attention':False}",
    "patch_size=16",
    "patches_per_epoch=4",
    "validation_patches=2",
    "val_interval=1",
    "batch_size=2",
    "budget_s=0",
    "amp_dtype=float32",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_ct_study(tmp_path_factory.mktemp("study"))


def run(*arguments):
    return CliRunner().invoke(app, ["ct", "train", *map(str, arguments)], catch_exceptions=True)


def tiny(study, out, *more):
    sets = [part for value in TINY for part in ("--set", value)]
    return run("--data", study, "--fold", "without-p1", "-o", out, "--threads", 1, *sets, *more)


@pytest.mark.slow
def test_a_run_learns_logs_and_goes_on(study, tmp_path):
    out = tmp_path / "run"
    result = tiny(study, out, "--set", "epochs=2")
    assert result.exit_code == 0, result.output
    log = read_epoch_log(out / "training_log.csv")
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert all(float(row[f"{part}_{which}_psnr_db"]) > 0 for row in log for part in ("train", "val")
               for which in ("coarse", "refined"))  # fmt: skip
    model = load_upsampler(out)
    assert model.record["training"]["patients"] == ["p0"]
    before = torch.load(out / LAST, weights_only=True)["epoch"]
    assert (before, best_checkpoint(out).is_file()) == (2, True)
    # Another length is another schedule of rates, so it is another run.
    refused = tiny(study, out, "--set", "epochs=3")
    assert refused.exit_code != 0
    assert "epochs" in str(refused.output) + str(refused.exception)
    again = tiny(study, out, "--set", "epochs=3", "--overwrite")
    assert again.exit_code == 0, again.output
    assert len(read_epoch_log(out / "training_log.csv")) == 3


def test_dry_run_says_what_would_be_done_and_writes_nothing(study, tmp_path):
    result = run("--data", study, "--fold", "without-p0", "-o", tmp_path / "run", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "582 k weights" in result.output
    assert "1 scans to learn from: p1" in result.output
    assert not (tmp_path / "run").exists()


def test_source_configuration_is_read_to_the_last_key(study, tmp_path, repository):
    path = repository / "configs" / "ct" / "upsampler.yaml"
    known = read_mapping(source_folder(CtModel.UPSAMPLER.bundle) / "model_configuration_keys.yaml")
    assert set(flat_values(path)) <= set(known)
    sections = read_sections(path, CtModel.UPSAMPLER.bundle)
    assert (sections["loss"]["preset"], sections["loss"]["ssim"]) == ("seed", 2.0)
    result = run("--data", study, "--cfg", path, "-o", tmp_path / "run", "--dry-run")
    assert "2080 k weights" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "resnet"), "--model must be one of upsampler, detail, two-view"),
        (("--fold", "without-p9", "--dry-run"), "fold must be one of"),
        (("--budget", "soon"), "--budget must be a time"),
    ],
)
def test_what_cannot_be_is_refused(study, tmp_path, arguments, message):
    result = run("--data", study, "-o", tmp_path / "run", *arguments)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)


def test_a_perceptual_weight_without_weights_is_refused(study, tmp_path):
    result = tiny(study, tmp_path / "run", "--set", "epochs=1", "--set", "perceptual_weight=0.1")
    assert result.exit_code != 0
    chain, messages = result.exception, [result.output]
    while chain is not None:
        messages.append(str(chain))
        chain = chain.__cause__ or chain.__context__
    assert any("perceptual must be 0 without a trained network" in text for text in messages)

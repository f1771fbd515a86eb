import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app

SMALL = ["--size", "16", "--slices", "1", "--repeats", "1"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["asl", "simulate", *map(str, arguments)])


def test_simulation_writes_scans_and_their_truth(tmp_path):
    answer = run("-o", tmp_path / "sim", *SMALL, "--vsasl-plds-ms", "", "--plds-ms", "1000,2000")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "sim" / "sub-01" / "perf" / "sub-01_acq-pcasl_asl.nii.gz").is_file()
    assert (tmp_path / "sim" / "derivatives" / "truth" / "sub-01" / "perf" / "sub-01_att.nii.gz").is_file()
    assert not list((tmp_path / "sim").rglob("*vsasl*"))
    assert run("-o", tmp_path / "sim", *SMALL).exit_code == 2


def test_dry_run_writes_nothing(tmp_path):
    answer = run("-o", tmp_path / "sim", "--dry-run")
    assert answer.exit_code == 0
    assert "nothing (dry run)" in answer.output
    assert not (tmp_path / "sim").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--snr", "0"),
        ("--plds-ms", "2000,1000"),
        ("--plds-ms", "", "--vsasl-plds-ms", ""),
        ("--plds-ms", "x"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(tmp_path, arguments):
    answer = run("-o", tmp_path / "sim", *SMALL, *arguments)
    assert answer.exit_code == 2
    assert "must" in answer.output
    assert not (tmp_path / "sim").exists()

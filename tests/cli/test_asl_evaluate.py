import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revoxel.asl.network.models import build_network, model_protocol
from revoxel.asl.protocol import AslProtocol
from revoxel.cli.asl_parsing import parse_named_paths, parse_numbers
from revoxel.cli.main import app
from revoxel.core.checkpoints import save_checkpoint

SMALL = ["--phantoms", "2", "--size", "32", "--snr", "30", "--mismatch-snr", "0"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["asl", "evaluate", *map(str, arguments)])


def test_evaluation_writes_metrics_scores_record_and_picture(tmp_path):
    answer = run("-o", tmp_path / "out", *SMALL)
    assert answer.exit_code == 0, answer.output
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["30"]) == {"fit", "blurred fit"}
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(record["comparisons"][0]["scans_sha256"]) == 64
    assert record["amplitude_linearity"]["fit"]["levels"]["slope"] == pytest.approx(1, abs=0.01)
    assert (tmp_path / "out" / "evaluation.png").stat().st_size > 10_000
    lines = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert any(line.startswith("30,matched,fit,att,lesion,mae,") for line in lines)
    assert "shuffled" in answer.output

    again = run("-o", tmp_path / "out", *SMALL)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert run("-o", tmp_path / "out", *SMALL, "--overwrite").exit_code == 0


NETWORK, ARGUMENTS = "AmplitudeAwareSpatialASLNet", {"features": [4, 8]}


def checkpoint(path: Path, plds_ms: tuple[float, ...]) -> Path:
    """An untrained network, for PCASL and VSASL with the same delays."""
    delays = AslProtocol(plds_ms, vsasl_plds_ms=plds_ms)
    arguments = ARGUMENTS | {"in_channels": delays.n_channels}
    states = {"model": build_network(NETWORK, arguments).state_dict()}
    return save_checkpoint(path, states, model_protocol(NETWORK, arguments, delays))


def test_networks_are_scored_on_scans_with_their_own_delays(tmp_path):
    three = checkpoint(tmp_path / "three.pt", (700.0, 1500.0, 2300.0))
    answer = run("-o", tmp_path / "out", *SMALL, "--device", "cpu", "--model", f"net={three}")
    assert answer.exit_code == 0, answer.output
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["plan"]["recipe"]["protocol"]["vsasl_plds_ms"] == [700, 1500, 2300]
    assert record["models"] == {"net": [str(three)]}
    assert set(json.loads((tmp_path / "out" / "metrics.json").read_text())["30"]) == {
        "fit",
        "blurred fit",
        "net",
    }

    two = checkpoint(tmp_path / "two.pt", (900.0, 1800.0))
    answer = run("-o", tmp_path / "other", *SMALL, "--model", f"a={three}", "--model", f"b={two}")
    assert answer.exit_code == 2
    assert "same delays" in " ".join(answer.output.split())


def test_dry_run_writes_nothing(tmp_path):
    answer = run("-o", tmp_path / "out", "--dry-run", "--model", "mine=a.pt", "--model", "mine=b.pt")
    assert answer.exit_code == 0
    assert "mine" in answer.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--snr", "ten"),
        ("--snr", "10,10"),
        ("--snr", "-3"),
        ("--model", "a.pt"),
        ("--model", "mine=nowhere.pt"),
        ("--model", "fit=nowhere.pt"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(tmp_path, arguments):
    answer = run("-o", tmp_path / "out", *SMALL, *arguments)
    assert answer.exit_code == 2
    assert "Traceback" not in answer.output
    assert not (tmp_path / "out").exists()


def test_numbers_and_named_files_are_read():
    assert parse_numbers("5, 10,30", "--snr") == (5, 10, 30)
    named = parse_named_paths(["a=x.pt", "b=y.pt", "a=z.pt"], "--model")
    assert {name: [path.name for path in paths] for name, paths in named.items()} == {
        "a": ["x.pt", "z.pt"],
        "b": ["y.pt"],
    }

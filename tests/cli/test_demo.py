"""`revoxel demo` prints tables and where to look."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from quick_experts import quick_experts
from revoxel.cli.main import app
from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume
from revoxel.experts.bspline import bspline
from revoxel.experts.learned import LearnedResult
from revoxel.sagnef import demo, demo_dataset


@pytest.fixture(autouse=True)
def small_brain(brain, brain_affine, monkeypatch) -> None:
    """A small brain instead of the packaged one, and experts that cost nothing."""
    truth = Volume(np.array(brain), Grid(brain.shape, brain_affine))
    monkeypatch.setattr(demo, "template_brain", lambda: truth)
    monkeypatch.setattr(demo_dataset, "template_brain", lambda: truth)
    monkeypatch.setitem(demo.run_demo.__kwdefaults__, "run", quick_experts)
    monkeypatch.setattr(
        demo_dataset,
        "super_resolve_learned",
        lambda problem, *args, **options: LearnedResult(bspline(problem), 0.0),
    )


def test_first_look_ends_with_where_to_look(tmp_path) -> None:
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path)], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "no evidence" in result.output or "no quality" in result.output
    assert "psnr_db" in result.output
    assert result.output.strip().splitlines()[-1].endswith("metrics.json")


def test_training_set_comes_with_its_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(demo_dataset.DatasetSettings.__init__.__kwdefaults__, "shape", (24, 24, 20))
    result = CliRunner().invoke(app, ["demo", "--dataset", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "monai.bundle run training" in result.output
    assert (tmp_path / "kfolds_manifest.json").is_file()

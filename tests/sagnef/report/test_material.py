"""Volumes of a run: what is missing or strange becomes a note, never the end of the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from report_folder import change_record
from revoxel.core.geometry import Grid
from revoxel.core.volumes import read_volume, write_volume
from revoxel.experts.names import Expert
from revoxel.sagnef.report.material import read_material
from revoxel.sagnef.report.runs import find_runs

FOLDER = "anna_5mm_t1c"


def read_anna(copied):
    return read_material(find_runs(copied).runs[0])


def test_everything_lies_on_the_grid_of_the_result(run, material) -> None:
    assert material.notes == ()
    assert set(material.experts) == set(material.weights) == set(Expert)
    volumes = [material.fused, material.low, material.truth, *material.experts.values()]
    assert {volume.shape for volume in (*volumes, *material.weights.values())} == {material.grid.shape}
    np.testing.assert_array_equal(material.truth[material.known], read_volume(run.truth).data)
    np.testing.assert_allclose(sum(material.weights.values()), 1, atol=1e-5)


def test_moved_inputs_are_found_beside_the_record(cohort, copied) -> None:
    change_record(copied / "cohort.json", manifest=None)
    run = find_runs(copied).runs[0]
    inputs = {
        name: file.model_copy(update={"path": cohort / "gone" / file.path.name})
        for name, file in run.record.inputs.items()
    }
    moved = replace(run, record=run.record.model_copy(update={"inputs": inputs}))
    material = read_material(moved)
    assert material.notes == ()
    assert set(material.experts) == set(Expert)


def test_what_is_missing_is_said(copied) -> None:
    record = copied / FOLDER / "anna_fused_sagnef.json"
    (copied / FOLDER / "anna_fused_weights.nii.gz").unlink()
    change_record(record, inputs={})
    material = read_anna(copied)
    assert not material.weights
    assert not material.experts
    assert material.low is None
    assert material.truth is None
    assert [note.partition(" left out")[0] for note in material.notes] == [
        "experts",
        "thick slices",
        "weights",
    ]


def test_input_that_changed_since_is_not_shown(copied) -> None:
    record = copied / FOLDER / "anna_fused_sagnef.json"
    changed = copied / FOLDER / "anna_t1c.nii.gz"
    change_record(record, inputs={"lr": {"path": str(changed), "sha256": "0" * 64}})
    material = read_anna(copied)
    assert material.low is None
    assert any("changed since the run was made" in note for note in material.notes)


def test_weights_of_another_shape_are_refused(copied) -> None:
    path = copied / FOLDER / "anna_fused_weights.nii.gz"
    write_volume(path, np.ones((4, 4, 4, 4)), Grid((4, 4, 4), np.eye(4)), overwrite=True)
    assert any("must have the shape (40, 44, 32, 4)" in note for note in read_anna(copied).notes)


@pytest.mark.parametrize("damage", [b"", b"no volume", None])
def test_damaged_weights_cost_the_weights_alone(copied, damage) -> None:
    path = copied / FOLDER / "anna_fused_weights.nii.gz"
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    material = read_anna(copied)
    assert not material.weights
    assert set(material.experts) == set(Expert)


def test_expert_on_another_grid_is_resampled_and_said(run, copied) -> None:
    kept = read_volume(run.record.inputs["SMORE"].path)
    affine = kept.grid.affine.copy()
    affine[0, 3] += 1.5
    write_volume(copied / FOLDER / "moved.nii.gz", kept.data, Grid(kept.data.shape, affine))
    outputs = run.record.outputs.model_dump() | {"experts": {"SMORE": "../elsewhere/moved.nii.gz"}}
    change_record(copied / FOLDER / "anna_fused_sagnef.json", outputs=outputs)
    material = read_anna(copied)
    assert any("expert SMORE lay on another grid" in note for note in material.notes)
    assert np.abs(material.experts["SMORE"] - kept.data).max() > 1


def test_truth_far_away_is_refused(run, tmp_path) -> None:
    truth = read_volume(run.truth)
    affine = truth.grid.affine.copy()
    affine[0, 3] += 300
    far = write_volume(tmp_path / "far.nii.gz", truth.data, Grid(truth.data.shape, affine))
    material = read_material(replace(run, truth=far))
    assert material.truth is None
    assert any(note.startswith("truth left out") for note in material.notes)


def test_lost_result_is_an_error(copied) -> None:
    (copied / FOLDER / "anna_fused.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"anna_fused\.nii\.gz"):
        read_anna(copied)

"""One inference gives what the command line gives."""

import numpy as np
import pytest

from quick_experts import quick_experts, write_expert_files, write_gate
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import read_volume
from revoxel.label.jobs import Job, shown_record, superresolve_scan
from revoxel.label.models import models_with_weights
from revoxel.label.refusals import RefusedError
from revoxel.label.training import Run
from revoxel.label.wishes import InferWishes
from revoxel.sagnef.pipeline import superresolve
from revoxel.sagnef.planning import SuperresolveSettings

MODELS = models_with_weights()


def job(scan, out, model="sagnef", **wishes):
    return Job(scan, model, InferWishes(device="cpu", **wishes), out)


def test_result_is_that_of_superresolve(cache, scan, tmp_path):
    expected = superresolve(scan, tmp_path / "cli", SuperresolveSettings(device="cpu"), run=quick_experts)
    for _ in range(2):
        out = tmp_path / f"out{_}"
        result = superresolve_scan(job(scan, out), cache, MODELS)
        np.testing.assert_array_equal(result.fused.volume, expected.fused.volume)
        assert result.record["gate"] == "sagnef_3mm_t1n" == expected.record["gate"]
    assert cache.run.n_runs == 1


def test_named_model_states_the_pulse(cache, scan, tmp_path):
    unnamed = scan.rename(scan.with_name("case7.nii.gz"))
    with pytest.raises(ValueError, match="no pulse"):
        superresolve_scan(job(unnamed, tmp_path / "a"), cache, MODELS)
    named = superresolve_scan(job(unnamed, tmp_path / "b", "sagnef_3mm_t2w"), cache, MODELS)
    wished = superresolve_scan(job(unnamed, tmp_path / "c", pulse=Pulse.t2w), cache, MODELS)
    assert named.record["gate"] == wished.record["gate"] == "sagnef_3mm_t2w"


@pytest.mark.parametrize(("model", "wishes"), [("sagnef_5mm_t1n", {}), ("sagnef_3mm_t1n", {"pulse": "t2w"})])
def test_model_that_does_not_fit_is_refused_before_anything_is_computed(cache, scan, tmp_path, model, wishes):
    with pytest.raises(RefusedError, match="must fit the scan"):
        superresolve_scan(job(scan, tmp_path / "out", model, **wishes), cache, MODELS)
    assert cache.run.n_runs == 0


def test_experts_beside_the_scan_are_fused(cache, scan, tmp_path):
    write_expert_files(read_volume(scan), scan.with_name("sub-01_T1w"))
    result = superresolve_scan(job(scan, tmp_path / "out"), cache, MODELS)
    assert cache.run.n_runs == 0
    assert "SMORE" in result.record["inputs"]
    assert next((tmp_path / "out").glob("*_weights.nii.gz")).is_file()


def test_gate_trained_here_is_used_on_request(cache, scan, tmp_path):
    with pytest.raises(RefusedError, match="got none; train it first"):
        superresolve_scan(job(scan, tmp_path / "a", trained=True), cache, MODELS)
    run = Run(cache.work / "training" / "3mm_t1n" / "one", Spacing.mm3, Pulse.t1n)
    run.checkpoints.mkdir(parents=True)
    run.note(epochs=1)
    write_gate(run.checkpoints / "model_epoch001_val0.100000.pt", pulse="t1n", spacing="3mm")
    result = superresolve_scan(job(scan, tmp_path / "b", trained=True), cache, MODELS)
    shipped = superresolve_scan(job(scan, tmp_path / "c"), cache, MODELS)
    assert result.record["gate_sha256"] != shipped.record["gate_sha256"]


def test_record_names_no_place_on_the_server(cache, scan, tmp_path):
    shown = shown_record(superresolve_scan(job(scan, tmp_path / "out"), cache, MODELS))
    assert str(tmp_path) not in str(shown)
    assert shown["mean_weight"]

"""Existing expert files are told apart by name, checked against each other, and fused like fresh ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quick_experts import write_expert_files, write_gate, write_thick_scan
from revoxel.core.geometry import Grid, slice_axis
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import read_volume, volume_sidecar, write_volume
from revoxel.experts.estimate_profile import estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.predict import PredictRequest, SourceConfiguration, parse_experts, predict
from revoxel.sagnef.profile_trust import judge_profile


@pytest.fixture(scope="module")
def folder(brain, brain_affine, tmp_path_factory) -> Path:
    """A scan, its expert files and a checkpoint."""
    folder = tmp_path_factory.mktemp("predict")
    scan = write_thick_scan(folder / "scan.nii.gz", brain, brain_affine)
    write_expert_files(read_volume(scan), folder / "scan")
    write_gate(folder / "gate.pt")
    return folder


@pytest.fixture
def request_(folder, tmp_path) -> PredictRequest:
    return PredictRequest(
        experts={expert: folder / f"scan_SR-{expert}.nii.gz" for expert in Expert},
        low=folder / "scan.nii.gz",
        out=tmp_path / "BraTS-MEN-00004-000-t1c.nii.gz",
        pulse=Pulse("t1c"),
        spacing=Spacing("5mm"),
        checkpoint=folder / "gate.pt",
        device="cpu",
    )


def test_result_gets_the_name_that_was_asked_for(request_) -> None:
    result = predict(request_)
    assert result.paths.fused == request_.out
    assert request_.out.with_name("BraTS-MEN-00004-000-t1c_weights.nii.gz").is_file()
    record = json.loads(result.paths.record.read_text())
    assert record["fusion"] == "gate"
    assert set(record["inputs"]) == {"lr", *Expert}
    assert record["outputs"]["fused"] == request_.out.name


def test_untrained_gate_gives_its_simplex_start(request_) -> None:
    result = predict(replace(request_, consistency=False))
    expected = sum(w * v for w, v in zip((0.1, 0.2, 0.6, 0.1), result.stack.experts.values(), strict=True))
    np.testing.assert_allclose(result.fused.volume, expected, atol=1.0)


@pytest.mark.parametrize(("label", "source"), [("gauss:5", "stated"), ("estimated", "estimated")])
def test_profile_that_the_experts_were_told_is_judged_as_in_the_main_job(
    request_, folder, tmp_path, label, source
) -> None:
    low = read_volume(folder / "scan.nii.gz")
    estimate = estimate_profile(low, slice_axis(low.grid))
    told = estimate.profile if source == "estimated" else SliceProfile.parse(label)
    experts = {expert: tmp_path / path.name for expert, path in request_.experts.items()}
    for expert, path in request_.experts.items():
        experts[expert].write_bytes(path.read_bytes())
        volume_sidecar(experts[expert]).write_text(json.dumps({"profile": told.label}))
    profile = predict(replace(request_, experts=experts)).record["profile"]
    stated = told if source == "stated" else None
    assert profile["source"] == source
    assert profile["confidence"] == round(judge_profile(stated, estimate).confidence, 4)


def test_reference_sets_the_grid(request_, folder) -> None:
    first = read_volume(folder / "scan_SR-BSPLINE.nii.gz")
    reference = write_volume(
        request_.out.with_name("ref.nii.gz"), first.data[..., :30], Grid((40, 44, 30), first.grid.affine)
    )
    result = predict(replace(request_, reference=reference))
    assert result.fused.volume.shape == (40, 44, 30)
    assert "resampled" in result.record["warnings"][-1]


def test_slices_that_do_not_fit_the_grid_switch_consistency_off(request_, folder) -> None:
    low = read_volume(folder / "scan.nii.gz")
    affine = low.grid.affine.copy()
    affine[2, 3] += 1.3
    moved = write_volume(request_.out.with_name("moved.nii.gz"), low.data, Grid(low.grid.shape, affine))
    result = predict(replace(request_, low=moved))
    assert result.record["consistency_mu"] is None
    assert any("no data consistency" in text for text in result.record["warnings"])


def test_model_of_another_spacing_is_refused(request_) -> None:
    with pytest.raises(ValueError, match="7mm model takes slices 6-9 mm apart, got 4 mm"):
        predict(replace(request_, spacing=Spacing("7mm")))


@pytest.mark.parametrize(
    "text",
    [
        "a/x_SR-BSPLINE.nii.gz,a/x_SR-ECLARE.nii.gz,a/x_SR-SMORE.nii.gz,a/x_SR-UNIRES.nii.gz",
        "SR_UNIRES/x.nii.gz,SR_BSPLINE/x.nii.gz,SR_SMORE/x.nii.gz,SR_ECLARE/x.nii.gz",
        "smore=s.nii.gz,UNIRES=u.nii.gz,BSPLINE=b.nii.gz,ECLARE=e.nii.gz",
    ],
)
def test_experts_are_told_by_name(text) -> None:
    files = parse_experts(text)
    assert set(files) == set(Expert)
    assert all(expert[0].lower() in str(path).lower() for expert, path in files.items())


def test_nameless_experts_are_told_by_place() -> None:
    assert parse_experts("1.nii,2.nii,3.nii,4.nii")[Expert.SMORE] == Path("3.nii")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("b.nii,e.nii,s.nii", "without UNIRES"),
        ("BSPLINE=b.nii,ECLARE=e.nii,SMORE=s.nii", "without UNIRES"),
        ("BSPLINE=b,ECLARE=e,SMORE=s,SMORE=s2", "without UNIRES"),
        ("b,e,s,u,v", "with doubles|5 files"),
        ("BEST=b,ECLARE=e,SMORE=s,UNIRES=u", "must name"),
        ("x_SR-SMORE.nii,2.nii,3.nii,4.nii", "must be in the order"),
    ],
)
def test_wrong_lists_of_experts_are_refused(text, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_experts(text)


def test_configuration_gives_order_and_tolerance(tmp_path) -> None:
    path = tmp_path / "model_configuration.yaml"
    path.write_text("data: {experts: [SMORE, BSPLINE], max_tolerance_voxels: 2}\ntrain: {epochs: 3}\n")
    configuration = SourceConfiguration.read(path)
    assert configuration.experts == (Expert.SMORE, Expert.BSPLINE)
    assert configuration.max_tolerance_voxels == 2


@pytest.mark.parametrize("text", ["data: {experts: [BEST]}", "data: [1", "- a"])
def test_wrong_configuration_is_named(text, tmp_path) -> None:
    path = tmp_path / "model_configuration.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"model_configuration\.yaml must hold"):
        SourceConfiguration.read(path)


def test_missing_configuration_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        SourceConfiguration.read(tmp_path / "none.yaml")

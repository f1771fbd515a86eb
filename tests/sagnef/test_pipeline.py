"""The main job writes all that was promised, keeps the scan's place in the world, and says what it did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from quick_experts import PROFILE, quick_experts, write_thick_scan
from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.geometry import Grid, isotropic_grid, offset_voxels
from revoxel.core.volumes import Volume, read_volume, write_volume
from revoxel.experts.estimate_profile import ProfileEstimate
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate
from revoxel.sagnef import SAGNEF
from revoxel.sagnef.gates import gate_protocol, load_gate
from revoxel.sagnef.pipeline import superresolve
from revoxel.sagnef.planning import (
    FusionChoice,
    FusionKind,
    SuperresolveSettings,
    check_spacing,
    plan_superresolve,
)
from revoxel.sagnef.profile_trust import ProfileTrust, judge_profile, judge_sharpness, profile_widths

STATED = SuperresolveSettings(profile=PROFILE, fusion=FusionKind.MEAN, device="cpu")


@pytest.fixture
def scan(brain, brain_affine, tmp_path) -> Path:
    """4 mm slices of the small brain, as a file."""
    return write_thick_scan(tmp_path / "sub-01_t1c.nii.gz", brain, brain_affine)


def test_every_promised_file_is_written(scan, tmp_path) -> None:
    result = superresolve(scan, tmp_path / "out", STATED, run=quick_experts)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "sub-01_t1c_dominant.nii.gz",
        "sub-01_t1c_entropy.nii.gz",
        "sub-01_t1c_sagnef.json",
        "sub-01_t1c_sagnef.nii.gz",
        "sub-01_t1c_sagnef.png",
        "sub-01_t1c_weights.nii.gz",
    ]
    named = json.loads(result.paths.record.read_text())["outputs"]
    assert named.pop("experts") == {}  # these experts keep nothing
    assert all((tmp_path / "out" / name).is_file() for name in named.values())
    assert named["fused"] == "sub-01_t1c_sagnef.nii.gz"
    weights = nibabel.load(result.paths.weights).get_fdata()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    entropy = nibabel.load(result.paths.entropy).get_fdata()
    np.testing.assert_allclose(entropy, np.log(4), atol=1e-5)


def test_result_lies_where_the_scan_lies(scan, tmp_path) -> None:
    result = superresolve(scan, tmp_path / "out", STATED, run=quick_experts)
    low, fused = read_volume(scan), read_volume(result.paths.fused)
    assert offset_voxels(fused.grid, isotropic_grid(low.grid, 2, 1.0)) < 1e-3
    assert fused.data.max() == pytest.approx(low.data.max(), rel=0.3)
    assert set(np.unique(fused.data[:3, :3])) == {np.float32(0)}


def test_record_says_what_was_done(scan, tmp_path) -> None:
    result = superresolve(scan, tmp_path / "out", STATED, run=quick_experts)
    record = json.loads(result.paths.record.read_text())
    assert record["pulse"] == "t1c"
    assert record["fusion"] == "mean"
    assert record["separation_mm"] == 4.0
    assert record["experts"] == list(Expert)
    assert record["profile"]["source"] == "stated"
    assert record["implementations"]["SMORE"] == "quick SMORE"
    assert len(record["inputs"]["lr"]["sha256"]) == 64
    assert record["consistency_mu"] is not None
    assert set(record["seconds"]) == {*Expert, "all"}


def test_inputs_are_never_written(scan, tmp_path) -> None:
    before = scan.read_bytes()
    superresolve(scan, tmp_path, STATED, run=quick_experts)
    assert scan.read_bytes() == before


def test_existing_results_are_refused_before_computing(scan, tmp_path) -> None:
    superresolve(scan, tmp_path, STATED, run=quick_experts)

    def never(request, progress=None):
        pytest.fail("computed although results exist")

    with pytest.raises(FileExistsError, match="--overwrite"):
        superresolve(scan, tmp_path, STATED, run=never)
    superresolve(scan, tmp_path, replace(STATED, overwrite=True), run=quick_experts)


def test_a_missing_gate_falls_back_to_global_weights_and_says_so(scan, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("revoxel.sagnef.planning.find_gate", lambda pulse, spacing: None)
    result = superresolve(scan, tmp_path, replace(STATED, fusion=FusionKind.GATE), run=quick_experts)
    assert result.record["fusion"] == "simplex"
    assert any("no gate is shipped for t1c" in text for text in result.record["warnings"])


def test_native_voxels_keep_the_plane(scan, tmp_path) -> None:
    plan = plan_superresolve(scan, tmp_path, replace(STATED, voxel_mm=None))
    assert plan.grid.spacing_mm == pytest.approx((1, 1, 1))


def test_slices_outside_every_model_need_permission(brain, brain_affine, tmp_path) -> None:
    thick = simulate(
        Volume(np.array(brain), Grid(brain.shape, brain_affine)), profile=PROFILE, separation_mm=12, axis=2
    )
    path = write_volume(tmp_path / "scan_t2w.nii.gz", thick.data, thick.grid)
    with pytest.raises(ValueError, match="--allow-extrapolation"):
        plan_superresolve(path, tmp_path, STATED)
    plan = plan_superresolve(path, tmp_path, replace(STATED, allow_extrapolation=True))
    assert "12 mm apart lie outside" in plan.warnings[0]


def test_isotropic_scan_is_nothing_to_do(brain_file, tmp_path) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        plan_superresolve(brain_file, tmp_path, STATED)


def test_model_spacing_must_suit_the_slices() -> None:
    from revoxel.core.pulses import Spacing

    check_spacing(Spacing("5mm"), 5.5, allow_extrapolation=False)
    check_spacing(Spacing("5mm"), 8.0, allow_extrapolation=True)
    with pytest.raises(ValueError, match="4-6 mm apart, got 8 mm"):
        check_spacing(Spacing("5mm"), 8.0, allow_extrapolation=False)


def _estimate(std_mm: float, *, trusted: bool = True, confidence: float = 0.9) -> ProfileEstimate:
    return ProfileEstimate(
        SliceProfile.gauss(std_mm * 2.3548),
        std_mm,
        (0.9 * std_mm, 1.1 * std_mm),
        confidence if trusted else 0.1,
        (),
        trusted,
    )


def test_estimate_is_trusted_by_its_confidence() -> None:
    assert judge_profile(None, _estimate(2.0)).confidence == 0.9


def test_profile_that_could_not_be_estimated_switches_consistency_off_and_warns() -> None:
    trust = judge_profile(None, _estimate(2.0, trusted=False))
    assert trust.confidence == 0
    assert "--profile" in trust.warnings[0]


def test_stated_profile_is_believed_unless_the_scan_contradicts() -> None:
    stated = SliceProfile.gauss(5.0)
    assert judge_profile(stated, _estimate(stated.std_mm)).confidence == 1
    assert judge_profile(stated, _estimate(9.0, trusted=False)).confidence == 1
    doubt = judge_profile(stated, _estimate(stated.std_mm / 1.5))
    assert doubt.misled
    assert doubt.profile.std_mm == pytest.approx(stated.std_mm / 1.5, rel=1e-3)
    assert "disagrees with the scan" in doubt.warnings[0]
    narrow = judge_profile(stated, _estimate(stated.std_mm * 1.5))
    assert narrow.profile.std_mm == pytest.approx(stated.std_mm * 1.5, rel=1e-3)
    assert not narrow.misled


def test_over_sharpened_experts_cost_the_profile_its_trust() -> None:
    assumed = SliceProfile.gauss(5.0)
    agreeing, narrower = _estimate(assumed.std_mm), _estimate(0.85 * assumed.std_mm)
    trust = ProfileTrust(assumed, 0.9)
    assert judge_sharpness(trust, {}, narrower, assumed) is trust
    assert judge_sharpness(trust, {Expert.ECLARE: 0.1, Expert.SMORE: 0.9}, narrower, assumed) is trust
    assert judge_sharpness(trust, {Expert.ECLARE: 0.3}, agreeing, assumed) is trust
    for excess, estimate in ((0.3, narrower), (0.4, agreeing)):
        doubt = judge_sharpness(trust, {Expert.ECLARE: excess}, estimate, assumed)
        assert doubt.misled
        assert doubt.over_sharpened
        assert doubt.confidence == 0
        assert "over-sharpened" in doubt.warnings[0]


def test_experts_that_are_not_over_sharpened_defend_a_stated_profile() -> None:
    stated, estimate = SliceProfile.gauss(5.0), _estimate(1.6)
    overruled = judge_profile(stated, estimate)
    assert overruled.misled
    assert judge_sharpness(overruled, {}, estimate, stated) is overruled
    assert judge_sharpness(overruled, {Expert.ECLARE: 0.3}, estimate, stated) is overruled
    trust = judge_sharpness(overruled, {Expert.ECLARE: 0.02}, estimate, stated)
    assert not trust.misled
    assert trust.profile is stated
    assert "it was kept" in trust.warnings[0]
    share = stated.std_mm / 5.0
    assert profile_widths(estimate, stated, 5.0, trust).planes() == pytest.approx((share, share, 0.85))


def test_experts_settle_what_an_unsure_estimate_only_doubts() -> None:
    stated, estimate = SliceProfile.gauss(5.0), _estimate(1.6, confidence=0.4)
    doubted = judge_profile(stated, estimate)
    assert doubted.profile is stated
    assert doubted.confidence < 0.85
    assert judge_sharpness(doubted, {Expert.ECLARE: 0.2}, estimate, stated) is doubted
    assert judge_sharpness(doubted, {Expert.ECLARE: 0.02}, estimate, stated).defended


def test_gate_is_told_that_over_sharpened_experts_assumed_too_much() -> None:
    estimate, assumed = _estimate(2.0), SliceProfile.gauss(2.0 * 2.3548)
    trust = judge_sharpness(judge_profile(None, estimate), {Expert.ECLARE: 0.4}, estimate, assumed)
    widths = profile_widths(estimate, assumed, 5.0, trust)
    assert widths.planes() == pytest.approx((0.65 * 0.4, 0.4, 0.7), rel=1e-3)


@pytest.mark.parametrize("modulation", [False, True])
def test_only_a_gate_that_the_profile_modulates_may_fuse_misled_experts(
    tmp_path: Path, modulation: bool
) -> None:
    architecture = {"in_ch": 8, "n_experts": 4, "wf": 8, "n_profile": 3, "modulation": modulation}
    protocol = gate_protocol(
        architecture=architecture,
        experts=list(Expert),
        spacing="5mm",
        pulse="t1c",
        train_pulses=["t1c"],
        intensity={},
    )
    path = save_checkpoint(tmp_path / "gate.pt", {"model": SAGNEF(**architecture).state_dict()}, protocol)
    choice = FusionChoice(FusionKind.GATE, load_gate(path), dict.fromkeys(Expert, 0.25))
    assert (choice.when_misled() is choice) == modulation


def test_misled_experts_are_mixed_cautiously() -> None:
    choice = FusionChoice(FusionKind.GATE, None, dict.fromkeys(Expert, 0.25)).when_misled()
    learned = choice.weights[Expert.ECLARE] + choice.weights[Expert.SMORE]
    assert sum(choice.weights.values()) == pytest.approx(1, abs=1e-3)
    assert learned < choice.weights[Expert.UNIRES] + choice.weights[Expert.BSPLINE]
    mean = FusionChoice(FusionKind.MEAN, None, dict.fromkeys(Expert, 0.25))
    assert mean.when_misled() is mean


def test_gate_is_told_estimated_and_assumed_width_relative_to_the_separation() -> None:
    estimate = _estimate(2.0)
    widths = profile_widths(estimate, SliceProfile.gauss(2.3548 * 1.5), 5.0, judge_profile(None, estimate))
    assert widths.planes() == pytest.approx((0.4, 0.3, 0.9), rel=1e-3)

"""Rows mean what they say: the same as the product gives by its own way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_study
from quick_experts import write_gate
from revoxel.core.manifest import Manifest, load_manifest
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import ExpertRequest, ExpertRun
from revoxel.sagnef.baselines import mix
from revoxel.sagnef.comparison.fold_weights import FoldWeights, case_statistics, fit_fold
from revoxel.sagnef.comparison.rows import Contest, consistent, superresolved, told_profile
from revoxel.sagnef.comparison.volumes import CaseVolumes, read_case
from revoxel.sagnef.fusion import FusionSettings, fuse
from revoxel.sagnef.gates import load_gate
from revoxel.sagnef.pipeline import carry_out
from revoxel.sagnef.planning import FusionChoice, FusionKind, SuperresolveSettings, plan_superresolve


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return load_manifest(tiny_study.write_study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def volumes(manifest: Manifest) -> CaseVolumes:
    return read_case(manifest, manifest.cases[0])


@pytest.fixture(scope="module")
def weights(manifest: Manifest) -> FoldWeights:
    return fit_fold(tuple(Expert), [case_statistics(read_case(manifest, manifest.cases[1]))], [])


@pytest.mark.parametrize("excess", [None, 0.5])
def test_superresolve_row_is_what_the_command_returns(
    manifest: Manifest, volumes: CaseVolumes, weights: FoldWeights, excess: float | None, tmp_path: Path
) -> None:
    gate = load_gate(write_gate(tmp_path / "gate.pt"))
    sidecar = volumes.paths[Expert.ECLARE].with_name("p0_SR-ECLARE.json")
    sidecar.unlink(missing_ok=True)
    if excess:
        sidecar.write_text(f'{{"excess_sharpness": {excess}}}')

    def read_files(request: ExpertRequest, progress: object) -> ExpertRun:
        profile = request.profile or SliceProfile.gauss(5)
        prepared = prepare(request.volume, profile, request.voxel_mm)
        found = {Expert.ECLARE: excess} if excess else {}
        return ExpertRun(
            dict(volumes.experts),
            prepared.high_grid,
            profile,
            None,
            prepared,
            {},
            {},
            {},
            excess_sharpness=found,
        )

    settings = SuperresolveSettings(pulse="t1c", profile=told_profile(volumes), device="cpu")
    plan = plan_superresolve(manifest.resolve(volumes.case.lr), tmp_path / "out", settings)
    plan = replace(plan, fusion=FusionChoice(FusionKind.GATE, gate, weights.simplex))
    expected = carry_out(plan, settings, run=read_files)
    contest = Contest(volumes, weights, gate)
    np.testing.assert_allclose(superresolved(contest), expected.fused.volume, atol=1e-3)
    assert contest.findings.decision.startswith("cautious" if excess else "gate")
    assert expected.record["fusion"] == ("simplex" if excess else "gate")


def test_consistency_in_units_of_the_scan_is_that_of_the_fusion(
    volumes: CaseVolumes, weights: FoldWeights
) -> None:
    contest = Contest(volumes, weights)
    shares = {Expert.SMORE: 0.5, Expert.UNIRES: 0.5, Expert.BSPLINE: 0.0, Expert.ECLARE: 0.0}
    stack = contest.stack(None)
    order = [shares[expert] for expert in stack.order]
    fused = fuse(stack, order, scan=contest.scan, settings=FusionSettings(consistency=True))
    np.testing.assert_allclose(consistent(mix(volumes.experts, shares), contest), fused.volume, atol=1e-3)


def test_distrusted_profile_leaves_a_volume_as_it_is(volumes: CaseVolumes, weights: FoldWeights) -> None:
    profile = volumes.case.profile.model_copy(update={"confidence": 0.3})
    doubtful = replace(volumes, case=volumes.case.model_copy(update={"profile": profile}))
    smore = volumes.experts[Expert.SMORE]
    assert consistent(smore, Contest(doubtful, weights)) is smore


@pytest.mark.parametrize(
    ("label", "assumed_std_mm", "std_mm"),
    [("rect:6", None, 6 / 12**0.5), ("auto", 1.5, 1.5), ("auto", None, 2.12)],
)
def test_experts_were_told_what_the_manifest_says(
    volumes: CaseVolumes, label: str, assumed_std_mm: float | None, std_mm: float
) -> None:
    update = {"label": label, "assumed_std_mm": assumed_std_mm}
    profile = volumes.case.profile.model_copy(update=update)
    told = told_profile(replace(volumes, case=volumes.case.model_copy(update={"profile": profile})))
    assert told.std_mm == pytest.approx(std_mm)

"""On a GPU experts, fusion and the whole main job give the volumes of the processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quick_experts import PROFILE, write_thick_scan
from revoxel.core.metrics import psnr
from revoxel.core.volumes import Volume, read_volume
from revoxel.experts import run as experts_run
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.run import ExpertRequest, run_experts
from revoxel.experts.unires import unires
from revoxel.sagnef.fusion import Fused, FusionSettings, ScanData, fuse
from revoxel.sagnef.network import SAGNEF
from revoxel.sagnef.pipeline import superresolve
from revoxel.sagnef.planning import SuperresolveSettings
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

pytestmark = pytest.mark.cuda
N_TUNING_STEPS = 3


@pytest.fixture(autouse=True)
def little_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = experts_run.RECIPES.items()
    short = {name: replace(recipe, n_steps_warm=N_TUNING_STEPS) for name, recipe in recipes}
    monkeypatch.setattr(experts_run, "RECIPES", short)


@pytest.fixture(scope="module")
def scan_file(brain, brain_affine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_thick_scan(tmp_path_factory.mktemp("scan") / "sub-01_t1c.nii.gz", brain, brain_affine)


@pytest.fixture(scope="module")
def scan(scan_file) -> Volume:
    return read_volume(scan_file)


def relative_error(volume: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Root mean square difference over the range of the expected volume."""
    return float(np.sqrt(np.square(volume - expected).mean()) / np.ptp(expected))


@pytest.mark.parametrize("expert", list(Expert))
def test_expert_is_that_of_the_processor(device, scan, expert) -> None:
    volumes = [
        run_experts(ExpertRequest(scan, (expert,), PROFILE, device=str(place))).volumes[expert]
        for place in ("cpu", device)
    ]
    assert relative_error(volumes[1], volumes[0]) < 2e-3


def test_total_variation_of_slices_on_the_gpu_is_that_of_the_processor(device, scan) -> None:
    problem = prepare(scan, PROFILE).problem
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        there = unires(replace(problem, low=problem.low.to(device)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    torch.testing.assert_close(there.cpu(), unires(problem), rtol=0, atol=2e-3)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "fast"])
def test_fusion_is_that_of_the_processor(device, no_tensor_float, scan, exact) -> None:
    run = run_experts(ExpertRequest(scan, profile=PROFILE, device="cpu"))
    low_on_high = run.volumes[Expert.BSPLINE]
    stack = ExpertStack(run.volumes, low_on_high, run.high_grid, 2, intensity_of(scan))
    torch.manual_seed(0)
    gate = SAGNEF(in_ch=8, n_experts=4, wf=8, n_profile=3, residual=True, modulation=True)

    def fused(place: object) -> Fused:
        settings = FusionSettings(exact=exact, window=24, device=str(place))
        data = ScanData(run.prepared.low, run.prepared.problem.operator)
        return fuse(stack, gate, widths=ProfileWidths(0.4, 0.4, 1.0), scan=data, settings=settings)

    here, there = fused("cpu"), fused(device)
    assert here.report["fallback"] is there.report["fallback"] is None
    assert np.ptp(here.weights) > 0.1
    tolerance = 1e-4 if exact else 2e-3
    assert relative_error(there.volume, here.volume) < tolerance
    np.testing.assert_allclose(there.weights, here.weights, atol=20 * tolerance)


def test_main_job_loses_nothing_on_the_gpu(device, scan_file, brain, tmp_path) -> None:
    truth = brain[..., :32]

    def quality(place: str, folder: Path) -> float:
        settings = SuperresolveSettings(profile=PROFILE, device=place)
        result = superresolve(scan_file, folder, settings)
        assert result.record["device"] == place
        assert result.record["fusion"] == "gate"
        return psnr(result.fused.volume, truth, truth > 0, data_range=float(truth.max()))

    here, there = quality("cpu", tmp_path / "here"), quality(str(device), tmp_path / "there")
    assert there == pytest.approx(here, abs=0.05)

"""Experts that cost nothing, and a gate that was never trained: for tests of what happens around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume, write_volume
from revoxel.experts.bspline import bspline
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import ExpertRequest, ExpertRun
from revoxel.experts.simulate import simulate
from revoxel.sagnef.gates import gate_protocol
from revoxel.sagnef.network import SAGNEF

PROFILE = SliceProfile.gauss(4.0)
ARCHITECTURE = {"in_ch": 8, "n_experts": 4, "wf": 8, "disagreement": False, "residual": False, "n_profile": 3}


def quick_experts(request: ExpertRequest, progress=None) -> ExpertRun:
    """B-spline, a little brighter from expert to expert."""
    profile = request.profile or PROFILE
    prepared = prepare(request.volume, profile, request.voxel_mm)
    smooth = prepared.restore(bspline(prepared.problem))
    volumes = {expert: smooth * np.float32(1 + 0.01 * place) for place, expert in enumerate(Expert)}
    seconds = dict.fromkeys(Expert, 0.5)
    names = {expert: f"quick {expert}" for expert in Expert}
    return ExpertRun(volumes, prepared.high_grid, profile, None, prepared, seconds, names, {})


def write_thick_scan(path: Path, brain: np.ndarray, affine: np.ndarray) -> Path:
    """4 mm slices of the small brain."""
    volume = Volume(np.array(brain[..., :32]), Grid((40, 44, 32), affine))
    low = simulate(volume, profile=PROFILE, separation_mm=4.0, axis=2)
    return write_volume(path, low.data, low.grid)


def write_expert_files(scan: Volume, stem: Path) -> dict[Expert, Path]:
    """One file per expert, named as the experts' verb names them."""
    run = quick_experts(ExpertRequest(scan, profile=PROFILE))
    return {
        expert: write_volume(stem.with_name(f"{stem.name}_SR-{expert}.nii.gz"), volume, run.high_grid)
        for expert, volume in run.volumes.items()
    }


def write_gate(path: Path, *, pulse: str = "t1c", spacing: str = "5mm", wf: int = 8) -> Path:
    """Checkpoint of an untrained gate; `wf` other than 8 contradicts what the checkpoint says of itself."""
    torch.manual_seed(0)
    network = SAGNEF(**{**ARCHITECTURE, "wf": wf})
    network.set_simplex_start([0.1, 0.2, 0.6, 0.1])
    protocol = gate_protocol(
        architecture=ARCHITECTURE,
        experts=list(Expert),
        spacing=spacing,
        pulse=pulse,
        train_pulses=[pulse],
        intensity={"mode": "range", "reference": "low", "percentiles": [0.5, 99.5]},
        window=(16, 16, 16),
    )
    return save_checkpoint(path, {"model": network.state_dict()}, protocol)

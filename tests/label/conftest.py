"""A study of one thick scan, and experts that cost nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quick_experts import quick_experts, write_thick_scan
from revoxel.core.provenance import write_sidecar
from revoxel.core.volumes import volume_sidecar, write_volume
from revoxel.experts.run import ExpertRequest, ExpertRun
from revoxel.label.cache import ExpertCache


class KeptExperts:
    """Quick experts that keep files as the true ones do, and count how often they are made."""

    def __init__(self) -> None:
        self.n_runs = 0
        self.outdated = False

    def __call__(self, request: ExpertRequest, progress=None) -> ExpertRun:
        run = quick_experts(request, progress)
        if request.out_dir is None:
            return run
        paths = {expert: request.path_of(expert) for expert in run.volumes}
        if all(path.exists() for path in paths.values()) and not request.overwrite:
            if self.outdated:
                raise FileExistsError
            return replace(run, paths=paths)
        self.n_runs += 1
        for expert, path in paths.items():
            write_sidecar(volume_sidecar(path), {"profile": run.profile.label}, overwrite=True)
            write_volume(path, run.volumes[expert], run.high_grid, overwrite=True)
        return replace(run, paths=paths)


@pytest.fixture
def scan(tmp_path, brain, brain_affine) -> Path:
    """Scan `sub-01_T1w` of a study, 4 mm slices."""
    return write_thick_scan(tmp_path / "study" / "sub-01_T1w.nii.gz", np.array(brain), brain_affine).resolve()


@pytest.fixture
def cache(tmp_path, scan) -> ExpertCache:
    """Cache of that study."""
    return ExpertCache(scan.parent, tmp_path / "work", run=KeptExperts())

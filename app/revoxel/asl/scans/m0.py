"""Load the equilibrium magnetisation of a scan from wherever its metadata say it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from revoxel.asl.physics import AslPhysics
from revoxel.asl.scans.bids import find_m0, inherited, read_fields
from revoxel.asl.scans.calibration import M0
from revoxel.asl.scans.images import read_series
from revoxel.asl.scans.series import AslSeries, M0Type, VolumeType
from revoxel.asl.scans.sidecar import parse_m0_sidecar
from revoxel.core.geometry import Grid, offset_voxels, resample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.asl.scans.stated import Stated

_SAME_VOXELS = 0.05


def load_m0(path: Path, volumes: NDArray[np.float32], series: AslSeries, grid: Grid, stated: Stated) -> M0:
    """M0 of tissue on the grid of a scan.

    Args:
        path: The scan.
        volumes: `(volume, i, j, k)` of it.
        series: What they are.
        grid: Of the scan.
        stated: What the user gave.

    Returns:
        M0 with its repetition time.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If M0 cannot be found or read.
    """
    if series.m0_type is M0Type.INCLUDED:
        return M0(included_m0(volumes, series), series.tr_ms, f"m0scan volumes of {path.name}")
    if series.m0_type is M0Type.ESTIMATE:
        # BIDS means M0 of blood; tissue holds less water.
        number = float(series.m0_estimate or 0.0) * float(AslPhysics().lambda_ml_g)
        return M0(np.full(grid.shape, number, np.float32), None, "M0Estimate", measured=False)
    if isinstance(stated.m0, float):
        return M0(np.full(grid.shape, stated.m0, np.float32), None, "a given number", measured=False)
    return _from_file(stated.m0 or find_m0(path), grid, stated)


def included_m0(volumes: NDArray[np.float32], series: AslSeries) -> NDArray[np.float32]:
    """Mean of the M0 volumes inside a scan.

    Args:
        volumes: `(volume, i, j, k)`.
        series: What they are.
    """
    return np.asarray(volumes[series.indices(VolumeType.M0SCAN)].mean(axis=0))


def _from_file(file: Path, grid: Grid, stated: Stated) -> M0:
    images, own = read_series(file)
    fields = parse_m0_sidecar(read_fields(inherited(file, "m0scan", ".json")), file.name)
    times_ms = [1000 * time for time in fields.trs_s]
    tr_ms = stated.m0_tr_ms or (sum(times_ms) / len(times_ms) if times_ms else None)
    mean = np.asarray(images.mean(axis=0))
    if offset_voxels(grid, own) > _SAME_VOXELS:
        mean = resample(mean, own, grid, order=1)
    return M0(mean, tr_ms, file.name)

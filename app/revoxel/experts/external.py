"""Adapters to the original tools, run as programs in their own environments and never imported.

The user names the executable: `run-smore`, `run-eclare` or `unires`. Mind that the package called `smore` on
PyPI is an unrelated program. What a tool writes is checked against the field of view that was asked for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from revoxel.core.geometry import (
    SAME_GRID_TOLERANCE_VOXELS,
    Grid,
    offset_voxels,
    resample,
    slice_axis,
)
from revoxel.core.volumes import Volume, read_volume, write_volume
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile

DEFAULT_TIMEOUT_S = 24 * 3600.0
MAX_OFFSET_VOXELS = 3.0
_LAST_LINES = 3


@dataclass(frozen=True, eq=False)
class ExternalJob:
    """What a tool is asked to do.

    Args:
        executable: The tool's program.
        low: The thick-slice volume as a file that the tool reads.
        folder: Empty folder for its results.
        grid: Grid of the thick-slice volume.
        high_grid: Grid that the caller wants.
        profile: Slice profile to hand on, as far as the tool takes one.
    """

    executable: Path
    low: Path
    folder: Path
    grid: Grid
    high_grid: Grid
    profile: SliceProfile


def run_external(
    expert: Expert,
    executable: Path,
    volume: Volume,
    high_grid: Grid,
    profile: SliceProfile,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> NDArray[np.float32]:
    """Super-resolve a volume with an original tool.

    Args:
        expert: Which tool: SMORE, ECLARE or UNIRES.
        executable: Path of `run-smore`, `run-eclare` or `unires` in its own environment.
        volume: Thick-slice volume.
        high_grid: Grid of the result.
        profile: Slice profile of the volume.
        timeout_s: Longest run time in seconds.

    Returns:
        The tool's volume on `high_grid`, resampled by affine if its own grid differs.

    Raises:
        FileNotFoundError: If there is no such executable, or it wrote no result.
        RuntimeError: If it fails or takes too long.
        ValueError: If the expert has no tool, or the result lies more than 3 voxels off.
    """
    if expert not in _COMMANDS:
        msg = f"external experts are {', '.join(_COMMANDS)}, got {expert}; drop its executable."
        raise ValueError(msg)
    with TemporaryDirectory(prefix="revoxel-external-") as name:
        folder = Path(name)
        low = write_volume(folder / "low.nii.gz", volume.data, volume.grid)
        results = folder / "results"
        results.mkdir()
        job = ExternalJob(_found(executable), low, results, volume.grid, high_grid, profile)
        _run(_COMMANDS[expert](job), timeout_s)
        return _on_grid(read_volume(_only_result(job)), high_grid, expert)


def _smore_command(job: ExternalJob) -> list[str]:
    thickness = f"{job.profile.fwhm_mm:.6g}"
    return [
        *(str(job.executable), "--in-fpath", str(job.low), "--out-dir", str(job.folder)),
        *("--slice-thickness", thickness, "--suffix", "_result"),
    ]


def _eclare_command(job: ExternalJob) -> list[str]:
    axis = slice_axis(job.grid)
    in_plane_mm = min(job.grid.spacing_mm[other] for other in range(3) if other != axis)
    return [
        *(str(job.executable), "--in-fpath", str(job.low), "--out-dir", str(job.folder)),
        *("--relative-slice-thickness", f"{job.profile.fwhm_mm / in_plane_mm:.6g}", "--suffix", "_result"),
    ]


def _unires_command(job: ExternalJob) -> list[str]:
    voxel_mm = f"{min(job.high_grid.spacing_mm):.6g}"
    return [
        *(str(job.executable), "--device", "cpu", "--vx", voxel_mm),
        *("--dir_out", str(job.folder), str(job.low)),
    ]


_COMMANDS: dict[Expert, Callable[[ExternalJob], list[str]]] = {
    Expert.SMORE: _smore_command,
    Expert.ECLARE: _eclare_command,
    Expert.UNIRES: _unires_command,
}


def _found(executable: Path) -> Path:
    path = which(str(executable.expanduser()))
    if path is None:
        msg = (
            f"external expert {executable} must be an executable file; give the path of the program inside "
            "its own environment (note that PyPI's package smore is not SMORE)."
        )
        raise FileNotFoundError(msg)
    return Path(path).absolute()


def _run(command: list[str], timeout_s: float) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the user names the program; no shell is involved
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]} must finish within {timeout_s:g} s, it did not; raise the limit or use a GPU."
        raise RuntimeError(msg) from error
    if done.returncode != 0:
        last = " | ".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        msg = f"{command[0]} failed with exit code {done.returncode}: {last or 'no message'}; run it by hand."
        raise RuntimeError(msg)


def _only_result(job: ExternalJob) -> Path:
    images = sorted(path for path in job.folder.rglob("*.nii*") if path.is_file())
    if len(images) != 1:
        names = ", ".join(path.name for path in images) or "nothing"
        msg = f"{job.executable} must write exactly one NIfTI result, got {names}; check the tool's version."
        raise FileNotFoundError(msg)
    return images[0]


def _on_grid(result: Volume, high_grid: Grid, expert: Expert) -> NDArray[np.float32]:
    """Put a tool's volume on the wanted grid, if its field of view is the wanted one."""
    offset = _field_offset_voxels(result.grid, high_grid)
    if offset > MAX_OFFSET_VOXELS:
        msg = (
            f"the external {expert.value} result must cover the same field of view within "
            f"{MAX_OFFSET_VOXELS:g} voxels, got an offset of {offset:.3g} voxels; its geometry is wrong."
        )
        raise ValueError(msg)
    if offset_voxels(high_grid, result.grid) <= SAME_GRID_TOLERANCE_VOXELS:
        return result.data
    return resample(result.data, result.grid, high_grid)


def _field_offset_voxels(result: Grid, wanted: Grid) -> float:
    """Largest distance between nearest outer corners of both fields of view, in voxels of `wanted`."""
    mine, theirs = _outer_corners_mm(wanted), _outer_corners_mm(result)
    steps = np.linalg.inv(wanted.affine[:3, :3])
    distances = np.linalg.norm((mine[:, None] - theirs[None]) @ steps.T, axis=-1)
    return float(distances.min(axis=1).max())


def _outer_corners_mm(grid: Grid) -> NDArray[np.float64]:
    sizes = np.array(grid.shape)
    ends = np.stack(np.meshgrid(*([[0, 1]] * 3), indexing="ij"), axis=-1).reshape(-1, 3)
    return grid.world(ends * sizes - 0.5)

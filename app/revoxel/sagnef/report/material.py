"""The volumes of one run, on the grid of the fused volume; what is missing is said and left out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from revoxel.core.geometry import SAME_GRID_TOLERANCE_VOXELS, offset_voxels, resample
from revoxel.core.intensity import foreground_mask
from revoxel.core.provenance import sha256_of
from revoxel.core.reasons import one_line
from revoxel.core.volumes import Volume, read_volume
from revoxel.sagnef.comparison.volumes import truth_on_grid
from revoxel.sagnef.report.truths import LOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.sagnef.report.records import InputFile
    from revoxel.sagnef.report.runs import Run

Read = TypeVar("Read")
_FAINT = 0.05
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, ImageFileError)


@dataclass(frozen=True, eq=False)
class Material:
    """Volumes of one run, `(i, j, k)` each, in the units of the scan.

    Args:
        grid: Grid of all of them.
        fused: The result.
        low: The thick slices, each voxel its nearest.
        experts: By name.
        weights: Share of every expert, by name.
        truth: The high-resolution volume; its darkest value where it is unknown.
        known: The part of the grid where the truth is known.
        notes: What is missing or was repaired, one sentence each.
    """

    grid: Grid
    fused: NDArray[np.float32]
    low: NDArray[np.float32] | None = None
    experts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    truth: NDArray[np.float32] | None = None
    known: tuple[slice, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def head(self) -> NDArray[np.bool_]:
        """Where the head or brain is, without the faint ringing of results into an empty background."""
        inside = foreground_mask(self.fused)
        bright = inside & (self.fused > _FAINT * np.percentile(self.fused[inside], 99.9))
        parts, n_parts = ndimage.label(bright)
        largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1 if n_parts else 0
        return ndimage.binary_fill_holes(parts == largest)


def read_material(run: Run) -> Material:
    """Read what there is.

    Args:
        run: Which.

    Returns:
        Its volumes.

    Raises:
        FileNotFoundError: If the fused volume is absent.
        ValueError: If the fused volume cannot be read.
    """
    fused = read_volume(_beside(run, run.record.outputs.fused))
    reader = _Reader(run, fused.grid)
    experts = {name: reader.attempt(f"expert {name}", reader.expert, name) for name in reader.experts()}
    truth = reader.attempt("truth", reader.truth) if run.truth else None
    whole, known = truth or (None, ())
    return Material(
        grid=fused.grid,
        fused=fused.data,
        low=reader.attempt("thick slices", reader.low),
        experts={name: volume for name, volume in experts.items() if volume is not None},
        weights=reader.attempt("weights", reader.weights) or {},
        truth=whole,
        known=known,
        notes=tuple(reader.notes),
    )


class _Reader:
    """Reads the files of one run; each failure becomes a note."""

    def __init__(self, run: Run, grid: Grid) -> None:
        self.run = run
        self.grid = grid
        self.notes: list[str] = []

    def attempt(self, what: str, read: Callable[..., Read], *arguments: str) -> Read | None:
        """What a function reads, or None and a note."""
        try:
            return read(*arguments)
        except _UNREADABLE as error:
            self.notes.append(f"{what} left out: {one_line(error)}")
            return None

    def low(self) -> NDArray[np.float32]:
        volume = self._input(LOW)
        return resample(volume.data, volume.grid, self.grid, order=0)

    def experts(self) -> list[str]:
        """Names of the experts whose volumes are anywhere."""
        record = self.run.record
        found = [name for name in record.experts if name in record.outputs.experts or name in record.inputs]
        if not found:
            self.notes.append("experts left out: their volumes were not kept (--keep-experts)")
        return found

    def expert(self, name: str) -> NDArray[np.float32]:
        """The volume beside the record, or the one that the run was made from."""
        kept = self.run.record.outputs.experts.get(name)
        volume = read_volume(_beside(self.run, kept)) if kept else self._input(name)
        if offset_voxels(self.grid, volume.grid) <= SAME_GRID_TOLERANCE_VOXELS:
            return volume.data
        self.notes.append(f"expert {name} lay on another grid: a copy was resampled onto that of the result")
        return resample(volume.data, volume.grid, self.grid)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        names = self.run.record.experts
        path = _beside(self.run, self.run.record.outputs.weights or "")
        data = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
        if data.shape != (*self.grid.shape, len(names)):
            msg = f"{path} must have the shape {(*self.grid.shape, len(names))}, got {data.shape}; run again."
            raise ValueError(msg)
        return {name: data[..., place] for place, name in enumerate(names)}

    def truth(self) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
        """The truth on the whole grid, and where it is known."""
        truth, known, notes = truth_on_grid(read_volume(self.run.truth or ""), self.grid)
        self.notes.extend(notes)
        whole = np.full(self.grid.shape, truth.min(), dtype=np.float32)
        whole[known] = truth
        return whole, known

    def _input(self, name: str) -> Volume:
        """A file that the run was made from, where it lay then or beside the record."""
        stated = self.run.record.inputs.get(name)
        if stated is None:
            msg = f"the record of {self.run.name} must name its input {name}; run it again with this version."
            raise ValueError(msg)
        return read_volume(self._unchanged(stated))

    def _unchanged(self, stated: InputFile) -> Path:
        beside = _beside(self.run, stated.path.name)
        existing = [path for path in (stated.path, beside) if path.exists()]
        for path in existing:
            if sha256_of(path) == stated.sha256:
                return path
        if existing:
            msg = f"{existing[0].name} changed since the run was made; run it again."
            raise ValueError(msg)
        msg = f"{stated.path} must exist, there or beside the record; copy it there."
        raise FileNotFoundError(msg)


def _beside(run: Run, name: str) -> Path:
    """A file beside the record: a name alone, so that no record points elsewhere."""
    return run.path.with_name(name.replace("\\", "/").rpartition("/")[2] or "-")

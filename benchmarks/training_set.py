"""Make the gates' training set from the public volumes: thick slices, experts, manifest. Resumable.

    python benchmarks/training_set.py --data DATA -o SET --warm WARM @benchmarks/rows.txt

A row is VOLUME:AXIS:SPACING:VARIANT; `@FILE` reads rows from a file, one per line. Variants: `right` =
Gaussian slices, experts told so; `estimated` = rectangular slices, experts use the estimated profile;
`broad` and `narrow` = SLR-like slices, experts told a Gaussian 15 % too wide or too narrow, as an estimate
may be; `wide` = rectangular slices, experts wrongly told that they are Gaussian of that width. The experts
of a patient start from warm weights that did not see that patient. About a minute per row on one core.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from public_volumes import PublicVolume, find_volume, warm_folder

from revoxel.core.compute import set_threads
from revoxel.core.folds import Fold
from revoxel.core.geometry import Grid
from revoxel.core.manifest import Case, Manifest, ProfileRecord, load_manifest, save_manifest
from revoxel.core.pulses import Spacing
from revoxel.core.volumes import Volume, read_volume, write_volume
from revoxel.experts.estimate_profile import estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import ExpertRequest, ExpertRun, run_experts
from revoxel.experts.simulate import simulate

_LOG = logging.getLogger("training_set")
_RIM = 4

# Of three patients that may train, one chooses the epoch; those whom `all` tests are in no training.
FOLDS = (
    Fold(name="all", train=["GLI", "p07"], val=["p19"], test=["MRGd", "M2208"]),
    Fold(name="without-GLI", train=["p07"], val=["p19"], test=["GLI"]),
    Fold(name="without-p07", train=["GLI"], val=["p19"], test=["p07"]),
    Fold(name="without-p19", train=["GLI"], val=["p07"], test=["p19"]),
)


class Variant(StrEnum):
    """True slice profile, and what the experts are told."""

    RIGHT = "right"
    ESTIMATED = "estimated"
    BROAD = "broad"
    NARROW = "narrow"
    WIDE = "wide"


_WIDTH_ERROR = {Variant.BROAD: 1.15, Variant.NARROW: 1 / 1.15}
_TYPICAL_CONFIDENCE = 0.85


@dataclass(frozen=True)
class Row:
    """One simulated acquisition."""

    volume: PublicVolume
    axis: int
    spacing: Spacing
    variant: Variant

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read `VOLUME:AXIS:SPACING:VARIANT`."""
        name, axis, spacing, variant = text.split(":")
        volume = find_volume(name)
        if int(axis) not in volume.axes:
            msg = f"axis of {name} must be one of {volume.axes}, along which it is sharp, got {axis}."
            raise argparse.ArgumentTypeError(msg)
        return cls(volume, int(axis), Spacing(spacing), Variant(variant))

    @property
    def stem(self) -> str:
        """File name without ending."""
        return f"{self.volume.name}_axis{self.axis}_{self.spacing.value}_{self.variant.value}"

    @property
    def true_profile(self) -> SliceProfile:
        """Profile of the simulated slices."""
        width = self.spacing.nominal_mm
        shape = {Variant.RIGHT: "gauss", Variant.BROAD: "slr", Variant.NARROW: "slr"}.get(
            self.variant, "rect"
        )
        return SliceProfile.parse(f"{shape}:{width:g}")


@dataclass(frozen=True)
class Places:
    """Folders that a row needs."""

    data: Path
    out: Path
    warm: Path


def make_case(row: Row, places: Places) -> Case:
    """Simulate one row, run its experts, and describe it."""
    truth, low = acquire(row, places)
    record = _profile_record(row, low)
    assumed = SliceProfile.parse(record.label)
    run = expert_run(row, places, low, assumed)
    for expert, seconds in run.seconds.items():
        _LOG.info("%s %s %.1f s", row.stem, expert.value, seconds)
    return Case(
        subject=row.stem,
        patient=row.volume.patient,
        pulse=row.volume.pulse,
        spacing=row.spacing,
        separation_mm=row.spacing.nominal_mm,
        axis=row.axis,
        condition=row.variant.value,
        profile=record,
        hr=_relative(truth, places),
        lr=_relative(low, places),
        experts={expert.value: path.relative_to(places.out) for expert, path in run.paths.items()},
    )


def acquire(row: Row, places: Places) -> tuple[Volume, Volume]:
    """The truth, cropped to the head, and its thick slices; both kept on disk."""
    truth_path = places.out / "hr" / f"{row.volume.name}.nii.gz"
    low_path = places.out / row.spacing.value / f"{row.stem}.nii.gz"
    if not truth_path.exists():
        truth = crop_to_head(read_volume(row.volume.path(places.data)))
        write_volume(truth_path, truth.data, truth.grid)
    truth = read_volume(truth_path)
    if not low_path.exists():
        low = simulate(truth, profile=row.true_profile, separation_mm=row.spacing.nominal_mm, axis=row.axis)
        write_volume(low_path, low.data, low.grid)
    return truth, read_volume(low_path)


def expert_run(row: Row, places: Places, low: Volume, assumed: SliceProfile) -> ExpertRun:
    """The experts of a row, from warm starts that did not see its patient."""
    return run_experts(
        ExpertRequest(
            volume=low,
            experts=tuple(Expert),
            profile=assumed,
            out_dir=places.out / row.spacing.value,
            stem=row.stem,
            warm_dir=places.warm / warm_folder(row.volume.patient),
        )
    )


def crop_to_head(volume: Volume) -> Volume:
    """Cut away the empty border, keeping a few voxels."""
    occupied = np.argwhere(volume.data > volume.data.min())
    start = np.maximum(occupied.min(0) - _RIM, 0)
    stop = np.minimum(occupied.max(0) + 1 + _RIM, volume.data.shape)
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.world(start)
    data = volume.data[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return Volume(data=np.ascontiguousarray(data), grid=Grid(data.shape, affine))


def _profile_record(row: Row, low: Volume) -> ProfileRecord:
    if row.variant is Variant.RIGHT:
        return ProfileRecord(label=row.true_profile.label, std_mm=row.true_profile.std_mm)
    if row.variant in _WIDTH_ERROR:
        std_mm = row.true_profile.std_mm * _WIDTH_ERROR[row.variant]
        told = SliceProfile.gauss(1.0).with_std(std_mm)
        return ProfileRecord(label=told.label, std_mm=std_mm, confidence=_TYPICAL_CONFIDENCE)
    estimate = estimate_profile(low)
    told = SliceProfile.gauss(row.spacing.nominal_mm) if row.variant is Variant.WIDE else estimate.profile
    return ProfileRecord(
        label=told.label,
        std_mm=estimate.std_mm,
        assumed_std_mm=told.std_mm,
        confidence=estimate.confidence,
    )


def _relative(volume: Volume, places: Places) -> Path:
    if volume.path is None:
        msg = "a training volume must come from a file, got one in memory; write it first."
        raise ValueError(msg)
    return volume.path.relative_to(places.out)


def update_manifest(path: Path, cases: Sequence[Case]) -> None:
    """Add cases to the manifest, replacing those of the same subject."""
    new = {case.subject: case for case in cases}
    known = {case.subject: case for case in load_manifest(path).cases} if path.exists() else {}
    merged = [*(known | new).values()]
    patients = {case.patient for case in merged}
    folds = [f for f in FOLDS if patients.issuperset({*f.train, *f.val, *f.test})]
    save_manifest(
        Manifest(experts=[expert.value for expert in Expert], cases=merged, folds=folds),
        path,
    )


def main() -> None:
    """Make the rows given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("rows", nargs="+", type=Row.parse)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    set_threads(options.threads)
    places = Places(options.data, options.out.resolve(), options.warm)
    for row in options.rows:
        update_manifest(places.out / "kfolds_manifest.json", [make_case(row, places)])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()

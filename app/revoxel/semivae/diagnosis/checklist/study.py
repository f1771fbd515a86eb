"""Is a study ready for a training? Label maps there, whole and aligned, tumours large enough, folds apart."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.compute import n_cores
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import read_volume
from revoxel.semivae.diagnosis.checklist.items import Item, some
from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.precompute import PrecomputeSettings, precompute_features
from revoxel.semivae.features.record import BRATS_REGIONS, Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from revoxel.core.volumes import Volume
    from revoxel.semivae.features.precompute import Precomputed
    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.features.table import FeatureTable
    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.study import TumourStudy

_SMALLEST_MM3 = 100.0
_LEAST_INSIDE = 0.99
_FEWEST_FOR_WORKERS = 8


def check_study(
    study: TumourStudy,
    grid: NetworkGrid,
    partition: LatentPartition,
    progress: Callable[[float], None],
    min_count: int = 20,
) -> list[Item]:
    """Measure every label map and go through the list; nothing is written beside the study.

    Args:
        study: Whose scans.
        grid: Cube that the network would see.
        partition: Features that it would predict.
        progress: Called with the share of the scans done.
        min_count: Training scans that must have a feature.

    Returns:
        The items.

    Raises:
        OSError: If there is no room for a temporary table.
    """
    workers = n_cores() if len(study.scans) >= _FEWEST_FOR_WORKERS else 1
    with TemporaryDirectory() as folder:
        settings = PrecomputeSettings(grid=None, n_workers=workers)
        result = precompute_features(study, Path(folder) / "features.json", settings, progress)
    return [
        _images(study),
        _measured(result),
        _in_cube(study, result.table, grid),
        *_labels(result.table),
        _volumes(result.table),
        *_folds(study, result.table, partition, min_count),
    ]


def _images(study: TumourStudy) -> Item:
    short = [scan.scan_id for scan in study.scans if set(scan.images) != set(Pulse)]
    absent = [
        f"{scan.scan_id} {pulse.value}"
        for scan in study.scans
        for pulse, path in scan.images.items()
        if not study.resolve(path).is_file()
    ]
    found = f"missing {some(absent)}" if absent else f"fewer than {len(Pulse)} in {some(short)}"
    return Item(
        "every scan has its four pulses",
        not (absent or short),
        found if absent or short else f"{len(study.scans)} scans",
        "add the files; a pulse that does not exist is blanked, which costs accuracy",
    )


def _measured(result: Precomputed) -> Item:
    reasons = [f"{name}: {reason}" for name, reason in result.failed.items()]
    n_scans = len(result.table.rows) + len(reasons)
    return Item(
        "labels are known whole numbers, aligned with the images",
        not reasons,
        f"{len(reasons)} of {n_scans} not; {reasons[0]}" if reasons else f"all {n_scans}",
        "correct or leave out these scans",
    )


def _in_cube(study: TumourStudy, table: FeatureTable, grid: NetworkGrid) -> Item:
    """Whether the network can see every tumour: inside its cube, and not smaller than one of its voxels."""
    outside = []
    for row in table.rows:
        label = read_volume(study.resolve(Path(row["label"])), allow_constant=True)
        kept = _share_inside(label, grid)
        if kept < _LEAST_INSIDE:
            outside.append(f"{row['scan_id']} ({kept:.0%} inside)")
    tiny = [row["scan_id"] for row in table.rows if row["wt.volume_mm3"] < grid.voxel_mm**3]
    found = [f"outside: {some(outside)}"] * bool(outside) + [f"too small: {some(tiny)}"] * bool(tiny)
    return Item(
        f"every tumour shows in the network's cube of {grid.size} voxels of {grid.voxel_mm:g} mm",
        not found,
        "; ".join(found) or f"all {len(table.rows)}",
        "raise data.voxel_mm if tumours leave the cube, lower it if they are smaller than a voxel",
    )


def _share_inside(label: Volume, grid: NetworkGrid) -> float:
    """Share of the tumour's voxels whose centres lie in the cube; 1 without a tumour."""
    voxels = np.argwhere(label.data != 0)
    if not len(voxels):
        return 1.0
    first_mm = grid.around(label.grid).affine[:3, 3]
    places = (label.grid.world(voxels) - first_mm) / grid.voxel_mm
    return float(((places > -0.5) & (places < grid.size - 0.5)).all(axis=1).mean())


def _labels(table: FeatureTable) -> list[Item]:
    empty = [row["scan_id"] for row in table.rows if Flag.EMPTY in row["flags"]]
    counts = {
        region: sum(bool(row[f"present.{region}"]) for row in table.rows)
        for region, labels in BRATS_REGIONS.items()
        if len(labels) == 1
    }
    never = [region for region, count in counts.items() if not count]
    return [
        Item("every label map holds a tumour", not empty, some(empty) or "all", "leave out the empty ones"),
        Item(
            "every label occurs in some scan",
            not never,
            ", ".join(f"{region} in {count}" for region, count in counts.items()),
            "take absent regions out of network.partition, or check how labels are numbered",
        ),
    ]


def _volumes(table: FeatureTable) -> Item:
    small = [
        f"{row['scan_id']} ({row['wt.volume_mm3']:.0f} mm^3)"
        for row in table.rows
        if row["wt.volume_mm3"] < _SMALLEST_MM3
    ]
    smallest = np.nanmin([row["wt.volume_mm3"] for row in table.rows]) if table.rows else np.nan
    return Item(
        f"tumours are {_SMALLEST_MM3:g} mm^3 and more",
        not small,
        some(small) or f"smallest {smallest:.0f} mm^3",
        "look at these label maps: so small a tumour is suspicious and has no shape",
    )


def _folds(study: TumourStudy, table: FeatureTable, partition: LatentPartition, min_count: int) -> list[Item]:
    question = "a fold has patients to learn from, to watch and to test on"
    if not study.folds:
        return [Item(question, passed=False, found="no fold", remedy="add folds to the study file")]
    items = []
    for fold in study.folds:
        counts = {split: len(getattr(fold, split)) for split in ("train", "val", "test")}
        words = ", ".join(f"{count} {split}" for split, count in counts.items())
        items.append(Item(f"{fold.name}: {question}", all(counts.values()), words, "move patients to it"))
        items.append(_normalised(fold.name, table, partition, fold.train, min_count))
    return items


def _normalised(
    name: str, table: FeatureTable, partition: LatentPartition, train: list[str], min_count: int
) -> Item:
    """Whether targets can be made of the training patients alone."""
    found, passed = f"{len(partition.features)} features", True
    try:
        FeatureNormalizer(partition.features, min_count=min_count).fit(table, train)
    except ValueError as error:
        found, passed = str(error), False
    question = f"{name}: every feature varies and is defined in {min_count} training scans"
    return Item(question, passed, found, "add scans, lower data.min_count, or take the feature out")

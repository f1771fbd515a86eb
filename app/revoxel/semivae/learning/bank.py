"""Items of the training: a cube, what is known of its tumour, and chance that a seed and an index repeat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from revoxel.core.one_line import one_line_errors
from revoxel.semivae.learning.cubes import cube_files, load_cube, make_cubes
from revoxel.semivae.learning.measures import mirrored_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.core.folds import Split
    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.learning.measures import MeasuredStudy
    from revoxel.semivae.network.partition import LatentPartition

_CUBE_KEYS = ("image", "tumour", "brain")
_HALF = 0.5


@dataclass(frozen=True)
class Augmentation:
    """What chance may do to a scan.

    Args:
        mirror: Exchange left and right in half of the draws; the centroid moves with the tumour.
        drop_pulse: Chance of each pulse to be blanked.
        gain: Largest relative change of a pulse's contrast.

    Raises:
        ValueError: If a value is out of its range.
    """

    mirror: bool = True
    drop_pulse: float = 0.1
    gain: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        if not (0 <= self.drop_pulse < 1 and 0 <= self.gain < 1):
            msg = (
                f"drop_pulse and gain must be in [0, 1), got {self.drop_pulse:g} and {self.gain:g}; use 0.1."
            )
            raise ValueError(msg)


class ScanBank(Dataset[dict[str, Any]]):
    """Scans of one split; an item depends on seed and index alone.

    Args:
        measured: Study, features and normaliser.
        split: Whose scans.
        grid: The network's cube.
        partition: Its features and presences are the targets.
        folder: Where cubes are kept.
        augmentation: What chance may do; None leaves scans as they are.
        seed: Of everything random.
        limit: Take at most so many scans, evenly spread; 0 takes all.
        workers: Processes that make missing cubes.

    Raises:
        SystemExit: With one line, if a scan cannot be used.
    """

    def __init__(  # noqa: PLR0913 - one line of the bundle's configuration each
        self,
        measured: MeasuredStudy,
        split: Split,
        grid: NetworkGrid,
        partition: LatentPartition,
        folder: str | Path,
        *,
        augmentation: Augmentation | Mapping[str, Any] | None = None,
        seed: int = 0,
        limit: int = 0,
        workers: int = 0,
    ) -> None:
        self.measured, self.split, self.partition = measured, split, partition
        self.seed = seed
        with one_line_errors():
            self.augmentation = _chances(augmentation)
            if self.augmentation and self.augmentation.mirror and not measured.mirrors:
                msg = (
                    "mirror must be off where centroids are in the scanner's coordinates, got mirror: true; "
                )
                msg += "measure with --origin image_center."
                raise ValueError(msg)
            scans = _spread(measured.scans(split), limit)
            self.rows = {scan.scan_id: measured.table.row(scan.scan_id) for scan in scans}
            self.files = cube_files(measured.study, scans, self.rows, grid, Path(folder))
            make_cubes(self.files, grid, workers)

    def __len__(self) -> int:
        """Scans."""
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One scan.

        Args:
            index: `epoch * len(bank) + place`; without augmentation the epoch changes nothing.

        Returns:
            `image` `(4, S, S, S)`; `tumour`, `brain` `(1, S, S, S)`; `measured`, `available` `(4,)`: pulses
            that there are, and that the network may see; `targets`, `target_mask` `(feature,)`; `presence`
            `(region,)`; `patient_id`.
        """
        file = self.files[index % len(self.files)]
        item, row = dict(load_cube(file.path)), self.rows[file.scan.scan_id]
        item["measured"] = item["available"]
        if self.augmentation:
            item, row = self._changed(item, dict(row), self.augmentation, index)
        fold = self.measured.fold
        split: Split = "train" if file.scan.patient_id in fold.train else self.split
        targets, known = self.measured.normalizer.transform(row, patient_id=file.scan.patient_id, split=split)
        presence = [row[f"present.{region}"] for part in self.partition.parts for region in part.presence]
        return item | {
            "patient_id": file.scan.patient_id,
            "targets": torch.from_numpy(targets),
            "target_mask": torch.from_numpy(known),
            "presence": torch.tensor(presence, dtype=torch.float32),
        }

    def _changed(
        self, item: dict[str, Any], row: dict[str, Any], chances: Augmentation, index: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        rng = np.random.default_rng((self.seed, index))
        n_pulses = len(item["image"])
        if chances.mirror and rng.random() < _HALF:
            item |= {key: item[key].flip(1) for key in _CUBE_KEYS}
            row = mirrored_values(row)
        gains = 1 + chances.gain * rng.uniform(-1, 1, n_pulses)
        item["image"] = item["image"] * torch.as_tensor(gains, dtype=torch.float32).reshape(-1, 1, 1, 1)
        stays = torch.from_numpy(rng.random(n_pulses) >= chances.drop_pulse) & item["measured"]
        item["available"] = stays if stays.any() else item["measured"]
        return item, row


def _chances(given: Augmentation | Mapping[str, Any] | None) -> Augmentation | None:
    return given if given is None or isinstance(given, Augmentation) else Augmentation(**given)


def _spread(scans: list[Any], limit: int) -> list[Any]:
    if not 0 < limit < len(scans):
        return scans
    return [scans[int(place)] for place in np.linspace(0, len(scans) - 1, limit)]

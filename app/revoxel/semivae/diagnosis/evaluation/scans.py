"""Scans as batches, each measured, put into the network's cube and kept for the next pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import default_collate

from revoxel.semivae.diagnosis.encoding import BATCH_SIZE
from revoxel.semivae.features.precompute import PrecomputeSettings, precompute_features
from revoxel.semivae.learning.bank import ScanBank
from revoxel.semivae.learning.measures import MeasuredStudy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from revoxel.core.folds import Split
    from revoxel.semivae.diagnosis.evaluation.planning import EvaluationPlan
    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.study import TumourScan

    Progress = Callable[[str, float], None]


class ScanBatches:
    """Batches that may be gone through several times; `patient_id` is in each.

    Args:
        banks: Scans in order.
        report: Called with the share done of every pass; set `stage` before one to have it shown.
    """

    def __init__(self, banks: list[ScanBank], report: Progress) -> None:
        self.banks, self.report, self.stage = banks, report, ""

    @property
    def scans(self) -> list[TumourScan]:
        """In the order of the batches."""
        return [file.scan for bank in self.banks for file in bank.files]

    def during(self, stage: str) -> ScanBatches:
        """Name the next passes for the progress bar.

        Args:
            stage: What is done.
        """
        self.stage = stage
        return self

    def item(self, row: int) -> dict[str, Any]:
        """One scan.

        Args:
            row: Of all scans.
        """
        for bank in self.banks:
            if row < len(bank):
                return bank[row]
            row -= len(bank)
        msg = f"row must be below {len(self.scans)}, got one that is {row} beyond; correct it."
        raise ValueError(msg)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Go through all scans."""
        n_done, n_scans = 0, len(self.scans)
        for bank in self.banks:
            for start in range(0, len(bank), BATCH_SIZE):
                rows = range(start, min(start + BATCH_SIZE, len(bank)))
                batch = default_collate([bank[row] for row in rows])
                batch["patient_id"] = [bank.files[row].scan.patient_id for row in rows]
                yield batch
                n_done += len(rows)
                if self.stage:
                    self.report(self.stage, n_done / n_scans)


def open_scans(
    plan: EvaluationPlan, model: SemiVaeModel, cubes: Path, report: Progress
) -> tuple[ScanBatches, ScanBatches | None]:
    """Measure the scans of a plan and put them into cubes.

    Args:
        plan: Whose.
        model: Its grid, partition and normaliser.
        cubes: Where cubes are kept between passes, and for another try after an interruption.
        report: Called with a stage's name and its share done.

    Returns:
        Scans to evaluate; and those to fit probes on, if there are any.

    Raises:
        ValueError: If a scan cannot be used.
        OSError: If a file cannot be read or written.
    """
    wanted = plan.study.model_copy(update={"scans": [*plan.test, *plan.probes]})
    result = precompute_features(
        wanted,
        plan.paths.work / "features.json",
        PrecomputeSettings(grid=None),
        lambda share: report("measure", share),
    )
    if result.failed:
        name, reason = next(iter(result.failed.items()))
        msg = f"all scans must be measured, got {len(result.failed)} that could not; first {name}: {reason}"
        raise ValueError(msg)
    measured = MeasuredStudy(wanted, plan.fold, result.table, model.normalizer)

    def bank(split: Split) -> ScanBank:
        return _opened(measured, split, model, cubes)

    report("cubes", 0.0)
    test = bank("test")
    splits: tuple[Split, ...] = ("train", "val")
    probes = [bank(split) for split in splits if getattr(plan.fold, split)]
    report("cubes", 1.0)
    return ScanBatches([test], report), ScanBatches(probes, report) if probes else None


def _opened(measured: MeasuredStudy, split: Split, model: SemiVaeModel, folder: Path) -> ScanBank:
    try:
        return ScanBank(measured, split, model.grid, model.partition, folder)
    except SystemExit as error:
        # The bank ends trainings that MONAI's command starts; here the caller decides.
        raise ValueError(str(error).removeprefix("error: ")) from error

"""Files of an evaluation: metrics.json, metrics.txt, and of each patient volumes, picture and frequencies."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from revoxel.core.provenance import write_sidecar
from revoxel.core.report import number_table
from revoxel.core.staging import all_or_nothing
from revoxel.ct.evaluation.frequencies import draw_frequencies
from revoxel.ct.evaluation.gains import gains_over_best
from revoxel.ct.evaluation.run import by_patient
from revoxel.ct.evaluation.scores import PEAKS
from revoxel.ct.evaluation.tables import score_row
from revoxel.ct.refinement.outputs import DERIVED
from revoxel.ct.refinement.picture import CtPicture, draw_ct, save_picture
from revoxel.ct.refinement.steps import trilinear
from revoxel.ct.scans.results import write_hu

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from revoxel.ct.evaluation.gains import Gains
    from revoxel.ct.evaluation.run import Evaluated, Scored

    Scores = Mapping[str, Mapping[str, Mapping[str, float]]]

METRICS, TEXT, RECORD = "metrics.json", "metrics.txt", "evaluation.json"
_WIDTH = 150


@dataclass(frozen=True)
class EvaluationPaths:
    """Where the results of an evaluation lie.

    Args:
        folder: Output folder.
    """

    folder: Path

    @property
    def metrics(self) -> Path:
        """Scores by patient, row and key."""
        return self.folder / METRICS

    @property
    def text(self) -> Path:
        """The same for people."""
        return self.folder / TEXT

    @property
    def record(self) -> Path:
        """What was evaluated, gains and frequencies."""
        return self.folder / RECORD

    def patient(self, index: int) -> Path:
        """Folder of a scan.

        Args:
            index: Of the evaluated scans, from 0.
        """
        return self.folder / f"patient_{index:03d}"

    def picture(self, index: int) -> Path:
        """Coarse, refined, truth and differences.

        Args:
            index: Of the evaluated scans.
        """
        return self.patient(index) / f"patient_{index:03d}_comparison.png"

    def existing(self) -> list[Path]:
        """Results that lie there already."""
        files = [path for path in (self.metrics, self.text, self.record) if path.exists()]
        return files + sorted(self.folder.glob("patient_[0-9][0-9][0-9]"))

    def refuse_existing(self) -> None:
        """Keep results that are there.

        Raises:
            FileExistsError: If there are any.
        """
        existing = self.existing()
        if existing:
            msg = (
                f"{existing[0]} must not exist yet; pass --overwrite to replace it, or choose another folder."
            )
            raise FileExistsError(msg)


def metrics_text(scores: Scores, gains: Gains | None, warnings: Iterable[str] = ()) -> str:
    """Tables of all patients, gains, and what the columns are.

    Args:
        scores: By patient, row and key.
        gains: Over the best baseline; None without a network.
        warnings: What stands above the tables.
    """
    console = Console(file=io.StringIO(), width=_WIDTH, force_terminal=False)
    for warning in warnings:
        console.print(f"WARNING: {warning}", markup=False, soft_wrap=True)
    for patient, rows in scores.items():
        table = {row: score_row(keys) for row, keys in rows.items()}
        console.print(number_table(patient, table, first_column="row"))
    if gains is not None:
        console.print(gain_line(gains), soft_wrap=True)
    console.print("Inside the original field of view. RMSE, MAE and SSIM in the window -1024..1024 HU.")
    for key, peak in PEAKS.items():
        console.print(f"{key}: {peak.meaning}", highlight=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def gain_line(gains: Gains) -> str:
    """The gain in one sentence.

    Args:
        gains: Over the best baseline.
    """
    each = ", ".join(f"{patient} {gain:+.2f}" for patient, gain in gains.by_patient_db.items())
    return (
        f"{gains.row} over {gains.baseline}, the best baseline on average: mean {gains.mean_db:+.2f} dB, "
        f"worst {gains.worst_db:+.2f} dB (peak 2048 HU; {each})"
    )


def save_evaluation(
    paths: EvaluationPaths, scans: Iterable[Evaluated], facts: Mapping[str, Any], *, volumes: bool
) -> list[Scored]:
    """Write every result of an evaluation, or none.

    Args:
        paths: Where to; results that lie there are replaced.
        scans: Evaluated one by one while they are written, so that one is in memory at a time.
        facts: Beginning of the record; with `baselines`, the names of the rows that need no training.
        volumes: Whether to write the volumes, not only the pictures.

    Returns:
        The scores.

    Raises:
        ValueError: If a scan cannot be used.
        OSError: If a file cannot be written; nothing is left behind.
    """
    scored: list[Scored] = []
    with all_or_nothing(paths.folder, RECORD, paths.existing()) as folder:
        staged = EvaluationPaths(folder)
        for index, one in enumerate(scans):
            _write_patient(staged, index, one, volumes=volumes)
            scored.append(one.scored)
        scores, gains = by_patient(scored), gains_of(scored, facts["baselines"])
        plain = {name: {row: _finite(keys) for row, keys in rows.items()} for name, rows in scores.items()}
        staged.metrics.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
        text = metrics_text(scores, gains, facts.get("warnings", ()))
        staged.text.write_text(text, encoding="utf-8")
        write_sidecar(staged.record, {**facts, **_record(scored, gains)})
    return scored


def gains_of(scans: Sequence[Scored], baselines: Collection[str]) -> Gains | None:
    """Gain of the last row over the best baseline.

    Args:
        scans: With scores.
        baselines: Names of the rows that need no training.

    Returns:
        The gains; None if the last row is a baseline.
    """
    last = list(scans[0].scores)[-1]
    return None if last in baselines else gains_over_best(by_patient(scans), last, baselines)


def _write_patient(paths: EvaluationPaths, index: int, one: Evaluated, *, volumes: bool) -> None:
    case, last, folder = one.case, one.last, paths.patient(index)
    folder.mkdir(parents=True)
    if volumes:
        for name, hu in {"refined": one.refined, "ground_truth": case.truth_hu}.items():
            write_hu(folder / f"{name}.nii.gz", hu, case.grid, description=f"{name}; {DERIVED}")
        write_hu(folder / "coarse.nii.gz", case.coarse_hu, case.coarse_grid, description=f"coarse; {DERIVED}")
    shown = CtPicture(
        {"coarse": case.coarse_hu, last: one.refined, "truth": case.truth_hu},
        {
            "added detail": one.refined - trilinear(case.coarse_hu, case.factor),
            f"{last} - truth": one.refined - case.truth_hu,
        },
        case.grid,
        f"{case.row.name}: {last}, {one.scored.scores[last]['rmse_hu']:.1f} HU RMSE",
    )
    save_picture(draw_ct(shown), paths.picture(index))
    if one.scored.rings[last]:
        figure = draw_frequencies(one.scored.rings, case.row.name)
        save_picture(figure, folder / f"{folder.name}_frequencies.png")


def _record(scans: Sequence[Scored], gains: Gains | None) -> dict[str, Any]:
    """What the metrics alone do not tell."""
    return {
        "scans": {
            scan.name: {
                "patient": scan.patient,
                "field_of_view_share": scan.field_of_view_share,
                "unsharp": vars(scan.sharpening),
                "ring_correlation": scan.rings,
            }
            for scan in scans
        },
        "definitions": {key: peak.meaning for key, peak in PEAKS.items()},
        "gain": None
        if gains is None
        else {**vars(gains), "mean_db": gains.mean_db, "worst_db": gains.worst_db},
    }


def _finite(keys: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in keys.items()}

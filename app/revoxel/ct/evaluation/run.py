"""Score a method against baselines on the patients of a study, each scan with the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from revoxel.ct.evaluation.baselines import best_unsharp, fit_unsharp
from revoxel.ct.evaluation.cases import read_case
from revoxel.ct.evaluation.ring_correlation import local_ring_correlation
from revoxel.ct.evaluation.scores import LOW_PASS_FACTOR, score_ct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.ct.evaluation.baselines import Unsharp, UnsharpFit
    from revoxel.ct.evaluation.cases import CtCase
    from revoxel.ct.scans.study import CtRow, CtStudy

    Progress = Callable[[str, float], None]
    Volume = NDArray[np.float32]
    Rows = Iterator[tuple[str, Volume]]

#: Other patients that unsharp masking is fixed on, at most.
_MOST_TRAINING_ROWS = 5


class Table(Protocol):
    """Rows of a table, made scan by scan."""

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the rows that need no training."""
        ...

    def parts(self, case: CtCase) -> list[CtCase]:
        """What of a scan is evaluated: all of it, or some parts."""
        ...

    def blurred(self, part: CtCase) -> Volume:
        """What unsharp masking sharpens."""
        ...

    def rows(self, part: CtCase, sharpening: Unsharp, progress: Callable[[float], None]) -> Rows:
        """Name and volume of every row, one at a time."""
        ...


@dataclass(frozen=True, eq=False)
class Scored:
    """What is known of a scan once its volumes are gone.

    Attributes:
        name: Of the scan.
        patient: Whose it is.
        scores: By row and key.
        rings: Local Fourier ring correlation by row; None where no patch shows anything.
        sharpening: Of unsharp masking.
        field_of_view_share: Of its voxels.
    """

    name: str
    patient: str
    scores: Mapping[str, Mapping[str, float]]
    rings: Mapping[str, Mapping[str, Any] | None]
    sharpening: Unsharp
    field_of_view_share: float


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A scan with its volumes.

    Attributes:
        case: The scan.
        refined: The last row of the table.
        last: Its name.
        scored: All that was measured.
    """

    case: CtCase
    refined: Volume
    last: str
    scored: Scored


@dataclass
class UnsharpBook:
    """Unsharp masking for a patient, fixed on the others of a study; volumes are read once.

    Attributes:
        study: Where the patients are.
        table: Says what is sharpened.
    """

    study: CtStudy
    table: Table
    _fits: dict[str, list[UnsharpFit]] = field(default_factory=dict)

    def without(self, patient: str) -> Unsharp:
        """Best sigma and amount over other patients.

        Args:
            patient: Who is left out.
        """
        rows = [row for row in self.study.rows if row.patient_id != patient][:_MOST_TRAINING_ROWS]
        return best_unsharp([fit for row in rows for fit in self._fit(row)], [row.patient_id for row in rows])

    def _fit(self, row: CtRow) -> list[UnsharpFit]:
        if row.name not in self._fits:
            self._fits[row.name] = [
                fit_unsharp(self.table.blurred(part), part.truth_hu, part.mask)
                for part in self.table.parts(read_case(self.study, row))
            ]
        return self._fits[row.name]


def evaluate_rows(
    study: CtStudy, rows: Sequence[CtRow], table: Table, progress: Progress | None = None
) -> Iterator[Evaluated]:
    """Refine and score scans one after another.

    Args:
        study: Where they stand.
        rows: Which ones.
        table: What is compared.
        progress: Called with the name of a scan and its share done.

    Yields:
        One scan at a time.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a scan cannot be used.
    """
    report = progress or (lambda _stage, _share: None)
    book = UnsharpBook(study, table)
    for row in rows:
        report(row.name, 0.0)
        sharpening = book.without(row.patient_id)
        parts, evaluated = table.parts(read_case(study, row)), []
        for index, part in enumerate(parts):
            evaluated.append(_evaluated(part, table.rows(part, sharpening, lambda _share: None), sharpening))
            report(row.name, (index + 1) / len(parts))
        yield _joined(evaluated)


def _evaluated(case: CtCase, volumes: Rows, sharpening: Unsharp) -> Evaluated:
    scores, rings = {}, {}
    name, refined = "", case.truth_hu
    for name, refined in volumes:
        scores[name] = score_ct(refined, case.truth_hu, case.coarse_hu, case.mask)
        pooled = case.factor if case.factor > 1 else LOW_PASS_FACTOR
        found = local_ring_correlation(refined, case.truth_hu, case.mask, case.row.spacing_mm, pooled)
        rings[name] = None if found is None else found.as_dict()
    share = float(case.mask.mean())
    scored = Scored(case.row.name, case.row.patient_id, scores, rings, sharpening, share)
    return Evaluated(case, refined, name, scored)


def _joined(parts: Sequence[Evaluated]) -> Evaluated:
    """A scan by its middle part, with the mean scores of all."""
    middle = parts[len(parts) // 2]
    scores = _mean([part.scored.scores for part in parts])
    return replace(middle, scored=replace(middle.scored, scores=scores))


def by_patient(scans: Sequence[Scored]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by patient, row and key; a patient with several scans has their mean.

    Args:
        scans: With scores.
    """
    patients = dict.fromkeys(scan.patient for scan in scans)
    return {
        patient: _mean([scan.scores for scan in scans if scan.patient == patient]) for patient in patients
    }


def _mean(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        row: {key: float(np.mean([table[row][key] for table in tables])) for key in keys}
        for row, keys in tables[0].items()
    }

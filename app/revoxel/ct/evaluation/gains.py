"""How much better than the best baseline, patient by patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revoxel.ct.evaluation.scores import FIGURE_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Gains:
    """A row against the best of the others.

    Attributes:
        row: What is compared.
        baseline: The baseline that is best on average.
        by_patient_db: Gain in PSNR over it, peak 2048 HU.
    """

    row: str
    baseline: str
    by_patient_db: Mapping[str, float]

    @property
    def mean_db(self) -> float:
        """Over patients."""
        return float(np.mean(list(self.by_patient_db.values())))

    @property
    def worst_db(self) -> float:
        """Of the patient with the smallest gain."""
        return min(self.by_patient_db.values())


def gains_over_best(scores: Scores, row: str, baselines: Collection[str]) -> Gains:
    """Compare a row with the baseline that is best on average over the same patients.

    Args:
        scores: By patient, row and key.
        row: What is compared.
        baselines: Names of the other rows.

    Returns:
        The gains.
    """
    means = {name: np.mean([rows[name][FIGURE_KEY] for rows in scores.values()]) for name in baselines}
    best = max(means, key=lambda name: means[name])
    gains = {patient: rows[row][FIGURE_KEY] - rows[best][FIGURE_KEY] for patient, rows in scores.items()}
    return Gains(row, best, gains)

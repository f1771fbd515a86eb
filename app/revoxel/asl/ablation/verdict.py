"""What experiments show: differences of errors with a paired bootstrap over phantoms, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import bootstrap

from revoxel.asl.evaluation.regions import Target
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from revoxel.asl.ablation.run import Trial

_N_RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """Error of an experiment minus that of its reference, with the 95 % interval over phantoms."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """-1 if it is smaller for certain, 1 if larger, 0 if the interval holds 0."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        return f"{self.value:+.3g} ({self.low:+.3g} to {self.high:+.3g})"


def mean_errors(trials: Sequence[Trial], experiment: str, snr: float) -> dict[str, np.ndarray]:
    """Errors of every phantom, mean over the seeds that are done.

    Args:
        trials: Of all experiments.
        experiment: Name.
        snr: SNR60.

    Returns:
        `(phantom,)` by map; empty without a finished trial.
    """
    done = [trial for trial in trials if trial.experiment == experiment and not trial.reason]
    if not done:
        return {}
    return {str(name): np.mean([trial.errors[f"{snr:g}"][name] for trial in done], axis=0) for name in Target}


def compare_with(
    trials: Sequence[Trial], experiment: str, reference: str, snr: float, *, seed: int = 0
) -> dict[str, Difference]:
    """Compare two experiments on the same phantoms, over the seeds that both have.

    Args:
        trials: Of all experiments.
        experiment: Name.
        reference: Name.
        snr: SNR60.
        seed: Of the bootstrap.

    Returns:
        By map; empty if one of them has no finished trial.
    """
    seeds = [
        {trial.seed for trial in trials if trial.experiment == name and not trial.reason}
        for name in (experiment, reference)
    ]
    common = [trial for trial in trials if trial.seed in seeds[0] & seeds[1]]
    own, other = (mean_errors(common, name, snr) for name in (experiment, reference))
    return {name: _difference(own[name] - other[name], seed) for name in own if name in other}


def _difference(differences: np.ndarray, seed: int) -> Difference:
    value = float(differences.mean())
    if len(differences) < 2 or not differences.any():
        return Difference(value, value, value)
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Difference(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def verdict_of(differences: dict[str, Difference]) -> str:
    """One word on an experiment.

    Args:
        differences: By map, from its reference.

    Returns:
        `improves` only where an interval excludes 0 and the other map is not worse.
    """
    signs = {difference.sign for difference in differences.values()}
    if not differences or signs == {0}:
        return "no difference" if differences else ""
    if signs <= {-1, 0}:
        return "improves"
    return "worse" if signs <= {0, 1} else "mixed"


def verdict_rows(
    trials: Sequence[Trial], references: Sequence[str], snr: float
) -> dict[str, dict[str, float | str]]:
    """The table of an ablation.

    Args:
        trials: Of all experiments.
        references: What each is compared with.
        snr: SNR60 that the verdict is on.

    Returns:
        Columns by experiment.
    """
    rows: dict[str, dict[str, float | str]] = {}
    for name in dict.fromkeys(trial.experiment for trial in trials):
        own = [trial for trial in trials if trial.experiment == name]
        done = [trial for trial in own if not trial.reason]
        row: dict[str, float | str] = {"what": own[0].title}
        if not done:
            rows[name] = {**row, "verdict": f"failed: {own[0].reason}"}
            continue
        errors = mean_errors(trials, name, snr)
        row |= {f"{target.upper()} MAE": f"{errors[target].mean():.3g}" for target in Target}
        for reference in references:
            differences = compare_with(trials, name, reference, snr)
            row |= {f"{target.upper()} - {reference}": str(differences[target]) for target in differences}
            row[f"than {reference}"] = "" if name == reference else verdict_of(differences)
        row |= {"weights": f"{done[0].n_parameters / 1000:.0f} k", "seeds": str(len(done))}
        row["wall s"] = f"{np.mean([trial.wall_s for trial in done]):.0f}"
        rows[name] = row
    return rows


def write_markdown(rows: dict[str, dict[str, float | str]], title: str, path: Path) -> Path:
    """Write the table for a page.

    Args:
        rows: From `verdict_rows`.
        title: Stands above it.
        path: Target; an older file is replaced.

    Returns:
        The target.
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [title, "", "| experiment | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(str(row.get(column, "")) for column in columns) + " |")
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

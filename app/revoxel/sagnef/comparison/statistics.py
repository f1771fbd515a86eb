"""What may be claimed: patients are the resampling unit, and few patients allow no claim at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import bootstrap, permutation_test

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fewer patients than these give neither an interval nor a p value.
MIN_PATIENTS = 6
_N_RESAMPLES = 9999
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """A paired difference over patients.

    Attributes:
        gains_db: Mean gain of every patient, over all of its cases.
        mean_db: Mean over patients.
        interval_db: 95 % bootstrap interval of the mean (BCa), None for too few patients.
        p: Two-sided sign-flip permutation test, None for too few patients.
        sentence: What it says.
    """

    gains_db: dict[str, float]
    mean_db: float
    interval_db: tuple[float, float] | None
    p: float | None
    sentence: str

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compare(gains_db: Mapping[str, list[float]], *, seed: int = 0) -> Comparison:
    """Summarise paired gains, patient by patient.

    Args:
        gains_db: Gain of every case, by patient.
        seed: Of the resampling.

    Returns:
        The mean; interval and p value from 6 patients on.

    Raises:
        ValueError: If there is no patient.
    """
    if not gains_db:
        msg = "gains must hold at least one patient, got none; score some cases first."
        raise ValueError(msg)
    by_patient = {patient: fmean(values) for patient, values in gains_db.items()}
    values = np.array(list(by_patient.values()))
    mean = float(values.mean())
    if len(values) < MIN_PATIENTS:
        singles = ", ".join(f"{patient} {gain:+.2f}" for patient, gain in by_patient.items())
        sentence = (
            f"{len(values)} patient(s), fewer than {MIN_PATIENTS}: no interval and no p value; "
            f"single values (dB): {singles}"
        )
        return Comparison(by_patient, mean, None, None, sentence)
    interval, p = _interval(values, seed), _p_value(values, seed)
    sentence = (
        f"{mean:+.3f} dB over {len(values)} patients, 95 % interval {interval[0]:+.3f} to "
        f"{interval[1]:+.3f}, p = {p:.3g} (two-sided sign-flip permutation)"
    )
    return Comparison(by_patient, mean, interval, p, sentence)


def _interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = bootstrap(
        (values,),
        np.mean,
        n_resamples=_N_RESAMPLES,
        confidence_level=_CONFIDENCE,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _p_value(values: np.ndarray, seed: int) -> float:
    result = permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=_N_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)

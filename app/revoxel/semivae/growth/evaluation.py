"""Leave one patient out: fit on the others, show all visits but the last, forecast it; and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.growth.models import FittedMixed, Model, fit_population
from revoxel.semivae.growth.scores import ForecastScores, crps, difference_interval, score_forecasts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import GrowthRecord


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Forecasts of the last visits by one model.

    Attributes:
        model: Which.
        patients: Scored, in order.
        draws: `(draw, patient)` of log volume.
        truth: `(patient,)`.
        n_fallbacks: Patients forecast by the straight line instead.
    """

    model: Model
    patients: tuple[str, ...]
    draws: NDArray[np.float64]
    truth: NDArray[np.float64]
    n_fallbacks: int

    @property
    def scores(self) -> ForecastScores:
        """Over all patients."""
        return score_forecasts(self.draws, self.truth)

    @property
    def crps_per_patient(self) -> NDArray[np.float64]:
        """`(patient,)`."""
        return crps(self.draws, self.truth)


@dataclass(frozen=True)
class Verdict:
    """Which model to use.

    Attributes:
        best: Lowest CRPS.
        recommended: The best where it beats persistence beyond chance, else persistence. The latent equation
            must beat the best mixed model beyond chance too, else it is passed over.
        beats_persistence: Whether the recommended one does.
        sentence: The same in words, with numbers.
    """

    best: Model
    recommended: Model
    beats_persistence: bool
    sentence: str


def leave_one_patient_out(
    model: Model | str, records: Sequence[GrowthRecord], progress: Callable[[float], None] | None = None
) -> HeldOut:
    """Forecast the last visit of every patient by a model that never saw the patient.

    Args:
        model: Which.
        records: Patients; those with one visit are fitted on only where a model can use them, never scored.
        progress: Called with the share done.

    Returns:
        The forecasts.

    Raises:
        ValueError: If no patient has two visits, or too few are left for a fit.
    """
    scored = [record for record in records if record.n_visits >= 2]
    if not scored:
        msg = "patients must have two visits or more to be scored, got none; add visits."
        raise ValueError(msg)
    columns, n_fallbacks = [], 0
    for number, record in enumerate(scored, start=1):
        fitted = fit_population(model, [other for other in records if other is not record])
        shown = record.first(record.n_visits - 1)
        n_fallbacks += isinstance(fitted, FittedMixed) and fitted.falls_back(shown)
        columns.append(fitted.draws(shown, record.times_years[-1:])[:, 0])
        if progress:
            progress(number / len(scored))
    truth = np.array([record.log_volumes[-1] for record in scored])
    patients = tuple(record.patient_id for record in scored)
    return HeldOut(Model(model), patients, np.stack(columns, axis=1), truth, n_fallbacks)


def judge(held_out: Mapping[Model, HeldOut]) -> Verdict:
    """Say which model forecasts best, and whether that beats leaving the last volume as it is.

    Args:
        held_out: By model; persistence among them.

    Returns:
        The verdict.

    Raises:
        ValueError: If persistence is not among them.
    """
    if Model.PERSISTENCE not in held_out:
        msg = f"models must hold persistence, got {sorted(held_out)}; a forecast is judged against it."
        raise ValueError(msg)
    best = min(held_out, key=lambda model: held_out[model].scores.crps)
    known: dict[Model, HeldOut] = {
        model: held for model, held in held_out.items() if model is not Model.LATENT_ODE
    }
    simple = _judge_simple(known)
    if Model.LATENT_ODE not in held_out:
        return simple
    mixed: dict[Model, HeldOut] = {
        model: held for model, held in known.items() if model is not Model.PERSISTENCE
    } or known
    rival = min(mixed, key=lambda model: mixed[model].scores.crps)
    clear, numbers = _beats(held_out[Model.LATENT_ODE], held_out[rival])
    over_persistence, words = _beats(held_out[Model.LATENT_ODE], held_out[Model.PERSISTENCE])
    if clear and over_persistence:
        sentence = f"{Model.LATENT_ODE} forecasts best: {numbers}, {words}; {_held(held_out[best])}"
        return Verdict(best, Model.LATENT_ODE, beats_persistence=True, sentence=sentence)
    sentence = f"{simple.sentence}. {Model.LATENT_ODE} is not recommended: it does not beat the best mixed "
    return replace(simple, best=best, sentence=f"{sentence}model beyond chance ({numbers})")


def _judge_simple(held_out: Mapping[Model, HeldOut]) -> Verdict:
    best = min(held_out, key=lambda model: held_out[model].scores.crps)
    if best is Model.PERSISTENCE:
        words = "no model forecasts better than persistence (the last volume stays): use persistence"
        return Verdict(best, best, beats_persistence=False, sentence=words)
    clear, numbers = _beats(held_out[best], held_out[Model.PERSISTENCE])
    if clear:
        words = f"{best} forecasts best: {numbers}; {_held(held_out[best])}"
        return Verdict(best, best, beats_persistence=True, sentence=words)
    words = (
        f"{best} has the lowest CRPS but does not beat persistence beyond chance ({numbers}): use persistence"
    )
    return Verdict(best, Model.PERSISTENCE, beats_persistence=False, sentence=words)


def _beats(first: HeldOut, second: HeldOut) -> tuple[bool, str]:
    gain, low, high = difference_interval(first.crps_per_patient, second.crps_per_patient)
    return high < 0, f"CRPS {gain:+.3f} [{low:+.3f}, {high:+.3f}] against {second.model}"


def _held(one: HeldOut) -> str:
    return f"its 95 % intervals held {one.scores.coverage:.0%}"

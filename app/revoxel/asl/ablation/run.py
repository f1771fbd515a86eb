"""Experiments at equal budget: train, score every one on the same scans, keep what is done."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.evaluation.comparison import Scenario, true_physics
from revoxel.asl.evaluation.held_out import ScanRecipe, make_scans
from revoxel.asl.evaluation.regions import Target
from revoxel.asl.learning.configuration import train_network
from revoxel.asl.learning.finetuning import tune_on_signals
from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
from revoxel.asl.network.models import load_asl_model
from revoxel.asl.simulation.noise import AslNoise
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from revoxel.asl.ablation.experiments import Experiment
    from revoxel.asl.network.models import AslModel

logger = logging.getLogger(__name__)

RESULT = "result.json"
#: Scans of other constants on which few-shot tuning is judged.
_SHIFT = Scenario.LONG_T1


@dataclass(frozen=True)
class AblationSettings:
    """How experiments are run.

    Args:
        budget_s: Seconds of the processor per seed and experiment; members share them.
        seeds: Seeds of the trainings.
        snrs: SNR60 of the scans that they are scored on.
        recipe: Everything else about these scans.
        values: Further values of the bundle's `train.json`.

    Raises:
        ValueError: If the budget or a list is empty.
    """

    budget_s: float = 300.0
    seeds: tuple[int, ...] = (0, 1, 2)
    snrs: tuple[float, ...] = (3.0, 5.0, 10.0, 30.0)
    recipe: ScanRecipe = field(default_factory=ScanRecipe)
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget_s <= 0 or not self.seeds or not self.snrs:
            given = f"{self.budget_s}, {self.seeds}, {self.snrs}"
            msg = f"an ablation must have a budget, seeds and snrs, got {given}; give them."
            raise ValueError(msg)


@dataclass(frozen=True)
class Trial:
    """One experiment with one seed.

    Attributes:
        experiment: its name.
        title: what it tries.
        seed: of the training.
        reason: why it failed, empty if it did not.
        budget_s: seconds of the processor that it had.
        wall_s: seconds of the clock that its training took.
        n_parameters: weights of one member.
        fingerprints: of the scans, by SNR60.
        errors: mean absolute error of every phantom by SNR60 and map; `shift` holds scans of other constants
            before and after tuning.
    """

    experiment: str
    title: str
    seed: int
    reason: str = ""
    budget_s: float = 0.0
    wall_s: float = 0.0
    n_parameters: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)
    errors: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def run_experiments(
    experiments: Sequence[Experiment],
    settings: AblationSettings,
    out: Path,
    started: Callable[[str, int], None] = lambda *_: None,
) -> Iterator[Trial]:
    """Train and score; a trial that is done is read, one that fails is told and does not stop the others.

    Args:
        experiments: What to run.
        settings: How.
        out: Folder of the runs.
        started: Is told the experiment and the seed before each trial that is not done.

    Yields:
        Trials, seed by seed, so that the first seed of all is complete first.

    Raises:
        ValueError: If a finished trial had another budget.
    """
    for seed in settings.seeds:
        for experiment in experiments:
            folder = out / experiment.name / f"seed{seed}"
            trial = finished_trial(folder, settings)
            if trial is None:
                started(experiment.name, seed)
                trial = _run(experiment, seed, settings, folder)
            yield trial


def finished_trial(folder: Path, settings: AblationSettings) -> Trial | None:
    """Read a trial that is done.

    Args:
        folder: Of the trial.
        settings: How it is to be run.

    Returns:
        The trial; None if it is still to do, or failed.

    Raises:
        ValueError: If it had another budget.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    trial = Trial(**json.loads(path.read_text(encoding="utf-8")))
    if trial.reason:
        return None
    if trial.budget_s != settings.budget_s or set(trial.fingerprints) != {
        f"{snr:g}" for snr in settings.snrs
    }:
        msg = (
            f"{path} must have the budget {settings.budget_s:g} s and the SNRs asked for, got "
            f"{trial.budget_s:g} s and {', '.join(trial.fingerprints)}; choose another --out or --overwrite."
        )
        raise ValueError(msg)
    return trial


def _run(experiment: Experiment, seed: int, settings: AblationSettings, folder: Path) -> Trial:
    trial = Trial(experiment.name, experiment.title, seed, budget_s=settings.budget_s)
    try:
        trial = _trained_and_scored(experiment, trial, settings, folder)
    except (Exception, SystemExit) as error:
        logger.warning("%s, seed %d failed", experiment.name, seed, exc_info=error)
        trial = replace(trial, reason=reason_of(error).removeprefix("error: "))
    with atomic_path(folder / RESULT, overwrite=True) as temporary:
        temporary.write_text(json.dumps(asdict(trial), indent=1) + "\n", encoding="utf-8")
    return trial


def _trained_and_scored(
    experiment: Experiment, trial: Trial, settings: AblationSettings, folder: Path
) -> Trial:
    tuning = experiment.finetune
    budget_s = settings.budget_s * (1 - float(tuning.get("share", 0.0)))
    start = time.perf_counter()
    checkpoints = [
        train_network(
            experiment.sections,
            folder / f"member{number}",
            **settings.values,
            epochs=100_000,
            budget_s=budget_s / experiment.members,
            seed=trial.seed + 1000 * number,
        )
        for number in range(experiment.members)
    ]
    shift: dict[str, dict[str, list[float]]] = {}
    if tuning:
        shift["shift before"] = _shifted_errors(checkpoints[0], settings)
        tuned = folder / "tuned.pt"
        tune_on_signals(checkpoints[0], tuned, tuning, settings.budget_s - budget_s)
        checkpoints = [tuned]
        shift["shift after"] = _shifted_errors(tuned, settings)
    wall_s = time.perf_counter() - start
    models = [load_asl_model(path) for path in checkpoints]
    options = InferenceOptions(flips=False, dropout_samples=experiment.dropout_samples)
    errors, fingerprints = {}, {}
    for snr in settings.snrs:
        recipe = _recipe(models[0], settings, snr)
        errors[f"{snr:g}"], fingerprints[f"{snr:g}"] = _errors(NetworkEstimator(models, options), recipe)
    n_parameters = sum(part.numel() for part in models[0].network.parameters())
    return replace(
        trial, wall_s=wall_s, n_parameters=n_parameters, fingerprints=fingerprints, errors={**errors, **shift}
    )


def _recipe(model: AslModel, settings: AblationSettings, snr: float) -> ScanRecipe:
    """Held-out scans with the constants that the network was made for; the phantoms are always the same."""
    physics = model.physics
    return replace(settings.recipe, noise=AslNoise(snr=snr), physics=physics, assumed=physics)


def _shifted_errors(checkpoint: Path, settings: AblationSettings) -> dict[str, list[float]]:
    model = load_asl_model(checkpoint)
    recipe = _recipe(model, settings, 10.0)
    recipe = replace(recipe, physics=true_physics(_SHIFT, recipe.assumed))
    return _errors(NetworkEstimator([model]), recipe)[0]


def _errors(estimator: NetworkEstimator, recipe: ScanRecipe) -> tuple[dict[str, list[float]], str]:
    """Mean absolute error of every phantom by map, and the fingerprint of the scans."""
    scans = make_scans(recipe)
    maps = scans.estimate({"network": estimator})["network"]
    mask = scans.truth.mask
    n_voxels = mask.sum((1, 2))
    errors = {
        str(target): (np.abs(getattr(maps, target) - getattr(scans.truth, target)) * mask).sum((1, 2))
        / n_voxels
        for target in Target
    }
    return {name: values.tolist() for name, values in errors.items()}, scans.fingerprint

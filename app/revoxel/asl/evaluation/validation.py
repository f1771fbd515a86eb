"""What a checkpoint is worth on held-out simulated scans: the same voxels as the fit, whatever its class."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.asl.evaluation.comparison import EvaluationPlan, run_plan
from revoxel.asl.evaluation.held_out import ScanRecipe
from revoxel.asl.evaluation.score_tables import metrics
from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
from revoxel.asl.network.models import load_asl_model
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.core.one_line import one_line_errors
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NETWORK = "network"


@dataclass(frozen=True)
class ValidationSettings:
    """What to validate on.

    Args:
        snrs: SNR60 of the scans.
        recipe: Everything else about them; delays and constants are taken from the checkpoint.
        options: How the network is run.
    """

    snrs: tuple[float, ...] = (5.0, 10.0, 30.0)
    recipe: ScanRecipe = field(default_factory=ScanRecipe)
    options: InferenceOptions = field(default_factory=InferenceOptions)


def validate(
    checkpoints: Sequence[Path],
    settings: ValidationSettings | None = None,
    report: Callable[[str, float], None] = lambda *_: None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Score networks beside the fit; class and switches come from each checkpoint.

    Args:
        checkpoints: Files or folders of runs; several are one ensemble.
        settings: What to validate on.
        report: Is told the name of a stage and the share done.

    Returns:
        Statistics by SNR60 and method, see `score_tables.metrics`.

    Raises:
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If a checkpoint does not fit its own class, or the members have other delays.
    """
    settings = settings or ValidationSettings()
    models = [load_asl_model(path) for path in checkpoints]
    estimator = NetworkEstimator(models, settings.options)
    first = models[0]
    recipe = replace(settings.recipe, protocol=first.protocol, physics=first.physics, assumed=first.physics)
    plan = EvaluationPlan(recipe, settings.snrs, mismatch_snr=None)
    return metrics(run_plan(plan, {NETWORK: estimator}, report))


def write_metrics(values: Mapping[str, Any], path: Path) -> Path:
    """Write statistics as JSON.

    Args:
        values: From `validate`.
        path: Target; an older file is replaced.

    Returns:
        The target.
    """
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return path


def validate_bundle(checkpoint: str, target: str, scans: Mapping[str, Any], snrs: Sequence[float]) -> Path:
    """Score a bundle's weights: what its configuration calls.

    Args:
        checkpoint: File.
        target: JSON to write.
        scans: `phantom` (arguments of `PhantomConfig`), `noise` (of `AslNoise`), `n_phantoms`, `seed`.
        snrs: SNR60 of the scans.

    Returns:
        The target.

    Raises:
        SystemExit: With one line, if the checkpoint cannot be used or a setting is wrong.
    """
    with one_line_errors():
        recipe = ScanRecipe(
            phantom=PhantomConfig(**scans["phantom"]),
            noise=AslNoise(**scans["noise"]),
            n_phantoms=scans["n_phantoms"],
            seed=scans["seed"],
        )
        return write_metrics(
            validate([Path(checkpoint)], ValidationSettings(tuple(snrs), recipe)), Path(target)
        )

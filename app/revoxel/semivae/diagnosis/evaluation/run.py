"""The verb `semivae evaluate` in Python: a plan in, figures, metrics.json and a picture out."""

from __future__ import annotations

import time
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.semivae.diagnosis.encoding import decode_in_batches, frozen
from revoxel.semivae.diagnosis.evaluation.figures import Evaluation, evaluate_scans
from revoxel.semivae.diagnosis.evaluation.outputs import evaluation_record, save_evaluation
from revoxel.semivae.diagnosis.evaluation.picture import Example, draw_evaluation
from revoxel.semivae.diagnosis.evaluation.scans import ScanBatches, open_scans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from revoxel.semivae.diagnosis.evaluation.planning import EvaluationPlan
    from revoxel.semivae.network.models import SemiVaeModel

    Progress = Callable[[str, float], None]

_MM3_PER_ML = 1000.0
_SHOWN_QUANTILES = (0.1, 0.5, 0.9)


def evaluate(
    plan: EvaluationPlan,
    model: SemiVaeModel,
    report: Progress,
    facts: Mapping[str, Any] | None = None,
    cubes: Path | None = None,
) -> Evaluation:
    """Evaluate a network on patients that it has not seen, and write every result, or none.

    Args:
        plan: Of `plan_evaluation`.
        model: The network.
        report: Called with a stage's name and its share done.
        facts: What else metrics.json shall say, such as the command.
        cubes: Where cubes are kept, such as those of a training; None makes them for this evaluation alone.

    Returns:
        All figures.

    Raises:
        ValueError: If a scan cannot be used.
        OSError: If a file cannot be read or written; no result is left behind then.
    """
    start = time.perf_counter()
    test, probes = open_scans(plan, model, cubes or plan.paths.work / "cubes", report)
    found = evaluate_scans(model, plan.study, test, probes, report)
    record = {
        **(facts or {}),
        "request": plan.request,
        "fold": plan.fold.name,
        "warnings": list(plan.warnings),
        **evaluation_record(found, model, test.scans),
        "seconds": round(time.perf_counter() - start, 1),
    }
    examples = _examples(found, model, test)
    title = f"{model.path.parent.name}/{model.path.name} on {len(found.latents)} scans of {plan.fold.name}"
    save_evaluation(plan.paths, record, lambda path: draw_evaluation(examples, found.matrices, title, path))
    rmtree(plan.paths.work)
    return found


def _examples(found: Evaluation, model: SemiVaeModel, test: ScanBatches) -> list[Example]:
    """A small, a middle and a large tumour."""
    volumes = [_volume_ml(model, found, row) for row in range(len(found.latents))]
    order = np.argsort(np.nan_to_num(volumes))
    rows = list(dict.fromkeys(int(order[round(share * (len(order) - 1))]) for share in _SHOWN_QUANTILES))
    with frozen(model.network):
        decoded = np.concatenate(
            [one.cpu().numpy() for one in decode_in_batches(model.network, found.latents.mu[rows])]
        )
    scans = {row: test.item(row) for row in rows}
    return [
        Example(
            f"{test.scans[row].scan_id}, {volumes[row]:.0f} ml",
            scans[row]["image"].numpy(),
            image,
            scans[row]["tumour"][0].numpy(),
            scans[row]["available"].tolist(),
        )
        for row, image in zip(rows, decoded, strict=True)
    ]


def _volume_ml(model: SemiVaeModel, found: Evaluation, row: int) -> float:
    latents = found.latents
    values = model.normalizer.inverse_transform(latents.targets[row], latents.known[row])
    return float(np.exp(values.get("wt.log_volume", np.nan)) / _MM3_PER_ML)

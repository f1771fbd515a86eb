"""What the upsampler bundle's `evaluating` does: score a checkpoint on the test patients of a fold."""

from __future__ import annotations

import json
from pathlib import Path

from revoxel.core.one_line import one_line_errors
from revoxel.core.volumes import atomic_path
from revoxel.ct.evaluation.planning import plan_evaluation, refuse_seen_patients
from revoxel.ct.evaluation.run import by_patient, evaluate_rows
from revoxel.ct.evaluation.upsampling import UpsamplingTable
from revoxel.ct.learning.training import ALL
from revoxel.ct.refinement.methods import upsampling


def evaluate_bundle(checkpoint: str | Path, study: str | Path, fold: str, target: str | Path) -> None:
    """Score an upsampler beside interpolation and projection, and write the figures.

    Args:
        checkpoint: checkpoint, run or bundle.
        study: `study.json`.
        fold: name of a fold; `all` scores every patient. Patients that it was trained on are refused.
        target: JSON file, `{patient: {row: {key: value}}}`.

    Raises:
        SystemExit: With one line, if a file is missing or does not fit.
    """
    with one_line_errors():
        step, model = upsampling(Path(checkpoint), "auto")
        plan = plan_evaluation(Path(study), None if fold == ALL else fold, None)
        plan = refuse_seen_patients(plan, model.record, allow=False)
        table = UpsamplingTable(step)
        scans = [one.scored for one in evaluate_rows(plan.study, plan.rows, table)]
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_text(json.dumps(by_patient(scans), indent=2) + "\n", encoding="utf-8")

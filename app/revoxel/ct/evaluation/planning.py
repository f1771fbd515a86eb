"""Before an evaluation: whose scans, and whether the network has seen them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.ct.scans.study import load_study

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from revoxel.ct.scans.study import CtRow, CtStudy


@dataclass(frozen=True)
class EvaluationPlan:
    """What will be evaluated.

    Args:
        study: Where the scans stand.
        rows: Which ones.
        seen: Patients among them that the network was trained on.
    """

    study: CtStudy
    rows: tuple[CtRow, ...]
    seen: tuple[str, ...] = ()


def plan_evaluation(data: Path, fold: str | None, n_patients: int | None) -> EvaluationPlan:
    """Choose scans of a study.

    Args:
        data: Study file or its folder.
        fold: Evaluate the test patients of this fold; None takes all patients.
        n_patients: Only the first so many patients.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If there is no study.
        ValueError: If the study or the fold cannot be used, or files are missing or others.
    """
    study = load_study(data)
    patients = study.patients if fold is None else study.fold(fold).test
    rows = tuple(study.rows_of(patients[:n_patients]))
    if not rows:
        msg = f"there must be patients to evaluate, got none in fold {fold}; choose another fold."
        raise ValueError(msg)
    changed = study.changed_files()
    if changed:
        msg = f"files must be those of the study, got {changed[0]}; run revoxel ct prepare again."
        raise ValueError(msg)
    return EvaluationPlan(study, rows)


def refuse_seen_patients(plan: EvaluationPlan, protocol: Mapping[str, Any], *, allow: bool) -> EvaluationPlan:
    """Keep patients that a network was trained on out of a table of results.

    Args:
        plan: What will be evaluated.
        protocol: Of the network's weights; its `training` holds `patients`, and `sha256` of the files seen.
        allow: Evaluate them nonetheless; results are marked.

    Returns:
        The plan, with the patients that were seen.

    Raises:
        ValueError: If there are any, and they are not allowed.
    """
    training = protocol.get("training") or {}
    patients, files = (set(training.get(key) or ()) for key in ("patients", "sha256"))
    seen = tuple(
        dict.fromkeys(
            row.patient_id
            for row in plan.rows
            if row.patient_id in patients or files & {row.source_sha256, *row.sha256.values()}
        )
    )
    if seen and not allow:
        msg = (
            f"patients to evaluate must not be among those trained on, got {', '.join(seen)}; name the fold "
            "of the training with --fold, or pass --allow-seen to look at the fit to its own data."
        )
        raise ValueError(msg)
    return EvaluationPlan(plan.study, plan.rows, seen)


def warnings_of(plan: EvaluationPlan, protocol: Mapping[str, Any]) -> list[str]:
    """What must stand beside the figures.

    Args:
        plan: After `refuse_seen_patients`.
        protocol: Of the network's weights; empty without a network.
    """
    found = []
    if plan.seen:
        found.append(
            f"the network was trained on {', '.join(plan.seen)}: their figures show the fit, not the result."
        )
    if protocol and not (protocol.get("training") or {}).get("patients"):
        found.append(
            "the weights do not say whom they were trained on: be sure that none of these patients is among "
            "them, for example with the --fold of the training."
        )
    return found

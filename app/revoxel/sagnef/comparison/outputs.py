"""Write an evaluation: CSV, JSON, figure and page, each whole or not at all."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.volumes import atomic_path
from revoxel.sagnef.comparison.figure import save_gains
from revoxel.sagnef.comparison.page import page
from revoxel.sagnef.comparison.summary import blocks, claims
from revoxel.sagnef.comparison.tables import (
    PlainTable,
    block_table,
    cases_csv,
    claims_table,
    decision_table,
    gains_table,
    usage_table,
)
from revoxel.sagnef.regions import RegionName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from revoxel.sagnef.comparison.plan import EvaluationPlan
    from revoxel.sagnef.comparison.results import CaseResult
    from revoxel.sagnef.comparison.run import Evaluation

STEM = "evaluation"
_MOST_CONSOLE_TABLES = 6


def save_evaluation(plan: EvaluationPlan, evaluation: Evaluation, command: str) -> dict[str, Path]:
    """Write `evaluation.csv`, `.json`, `.png` and `.html` into the output folder, replacing older ones.

    Args:
        plan: What was planned.
        evaluation: What came out.
        command: The command line, so that anyone can run it again.

    Returns:
        Path by kind; no picture if nothing could be scored.

    Raises:
        OSError: If a file cannot be written.
    """
    paths = {kind: plan.request.out / f"{STEM}.{kind}" for kind in ("csv", "json", "png", "html")}
    _write(paths["csv"], cases_csv(evaluation.results))
    facts = made_from(plan, command)
    write_sidecar(paths["json"], _record(plan, evaluation, facts), overwrite=True)
    picture = b""
    if evaluation.results:
        picture = save_gains(evaluation.results, RegionName.BRAIN, paths["png"]).read_bytes()
    else:
        del paths["png"]
    shown = {name: shown_fact(value) for name, value in facts.items()}
    problems = [*plan.notes, *(f"{name}: {reason}" for name, reason in evaluation.failures.items())]
    tables = result_tables(evaluation.results, seed=plan.request.seed)
    title = f"SAGNEF evaluation: {', '.join(plan.request.folds)}"
    _write(paths["html"], page(title, shown, tables, picture, problems))
    return paths


def console_tables(plan: EvaluationPlan, evaluation: Evaluation) -> list[PlainTable]:
    """What a person reads first: the brain in the first few groups of cases, and what fusion gives there.

    Args:
        plan: What was planned.
        evaluation: What came out.
    """
    brain = [block for block in blocks(evaluation.results) if block.region == RegionName.BRAIN]
    made = list(claims(evaluation.results, RegionName.BRAIN, seed=plan.request.seed))
    shown = map(block_table, brain[:_MOST_CONSOLE_TABLES])
    return [*shown, *([claims_table(made, RegionName.BRAIN)] if made else [])]


def result_tables(results: Sequence[CaseResult], *, seed: int) -> list[PlainTable]:
    """Every table of the page.

    Args:
        results: Evaluated cases.
        seed: Of the resampling.
    """
    if not results:
        return []
    made = list(claims(results, RegionName.BRAIN, seed=seed))
    usage = usage_table(results)
    return [
        *([claims_table(made, RegionName.BRAIN)] if made else []),
        *map(block_table, blocks(results)),
        gains_table(results, RegionName.BRAIN),
        *([usage] if usage else []),
        decision_table(results),
    ]


def made_from(plan: EvaluationPlan, command: str) -> dict[str, Any]:
    """What the numbers were made from, for the record.

    Args:
        plan: What was planned.
        command: The command line.
    """
    request = plan.request
    gates = {group.name: group.gate for group in plan.groups if group.gate}
    return {
        "command": command,
        "manifest": str(request.manifest),
        "manifest_sha256": sha256_of(request.manifest),
        "folds": list(request.folds),
        "seed": request.seed,
        "gates": {
            name: {"path": str(gate.path), "sha256": sha256_of(gate.path)} for name, gate in gates.items()
        },
        "control": plan.control and {"path": str(plan.control.path), "sha256": sha256_of(plan.control.path)},
        "labels": request.labels,
        "settings": asdict(request.settings),
        "warnings": list(plan.notes),
    }


def _record(plan: EvaluationPlan, evaluation: Evaluation, facts: dict[str, Any]) -> dict[str, Any]:
    regions = {name for result in evaluation.results for name in result.regions}
    return {
        **facts,
        "weights": evaluation.weights,
        "failures": evaluation.failures,
        "claims": {
            region: [
                claim.record()
                for claim in claims(
                    [result for result in evaluation.results if region in result.regions],
                    region,
                    seed=plan.request.seed,
                )
            ]
            for region in sorted(regions)
        },
        "tables": [asdict(block) for block in blocks(evaluation.results)],
        "cases": [result.model_dump() for result in evaluation.results],
    }


def shown_fact(value: Any) -> str:
    """A fact as a person reads it.

    Args:
        value: As in the record.
    """
    if isinstance(value, dict):
        return "; ".join(f"{key}: {shown_fact(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _write(path: Path, text: str) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")

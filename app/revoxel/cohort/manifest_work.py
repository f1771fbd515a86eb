"""The rows of a manifest as work: one piece per subject, spacing and pulse."""

from __future__ import annotations

from revoxel.cohort.derivatives import Derivatives, describe_derivatives
from revoxel.cohort.engine import Job
from revoxel.cohort.ledger import Ledger, State
from revoxel.cohort.places import Layout
from revoxel.cohort.plan import CohortPlan, Task, Verb, VerbSettings
from revoxel.cohort.verbs import carry_out
from revoxel.cohort.workload import Piece, Workload
from revoxel.core.manifest import Case, save_manifest
from revoxel.core.paths import absolute, dataset_root
from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import RESEARCH_USE

MANIFEST_FILE = "manifest.json"
_README = f"""# Revoxel derivatives

Thick-slice scans, super-resolved: `_desc-sagnef_` is the fused isotropic volume, with its record in the
JSON beside it; `_desc-weights_` holds the experts' weights per voxel, `_desc-dominant_` and
`_desc-entropy_` are maps of them, and the others are the experts' own volumes. `cohort.json` lists what
was run, `failures.csv` what failed and why.

{RESEARCH_USE.capitalize()}.
"""
_DERIVATIVES = Derivatives(
    "Revoxel: isotropic volumes from thick-slice MRI", _README, ("*.png", MANIFEST_FILE)
)


def manifest_work(plan: CohortPlan) -> Workload:
    """What is to be done with a manifest.

    Args:
        plan: From `plan_cohort`.

    Returns:
        Work for `run_workload`.
    """
    settings = plan.settings

    def begin() -> None:
        if plan.layout is Layout.BIDS:
            describe_derivatives(settings.out, dataset_root(plan.tasks[0].row.lr), _DERIVATIVES)

    def finish(ledger: Ledger) -> None:
        if settings.verb is Verb.EXPERTS:
            _save_filled_manifest(plan, ledger)

    return Workload(
        title=f"{settings.verb}: {plan.path}",
        out=settings.out,
        pieces=tuple(_piece(task, settings) for task in plan.tasks),
        facts={"manifest": str(absolute(plan.path)), "verb": settings.verb.value, "layout": plan.layout},
        begin=begin,
        finish=finish,
    )


def labels_of(case: Case) -> dict[str, str]:
    """What the account says of a row.

    Args:
        case: The row.
    """
    return {"subject": case.subject, "spacing": case.spacing.value, "pulse": case.pulse.value}


def _piece(task: Task, settings: VerbSettings) -> Piece:
    return Piece(
        job=Job(task.name, carry_out, (task, settings)),
        labels=labels_of(task.row),
        folder=task.places.folder.as_posix(),
        record=None if settings.verb is Verb.EXPERTS else task.record.as_posix(),
        why=task.why,
        problem=task.problem,
    )


def _save_filled_manifest(plan: CohortPlan, ledger: Ledger) -> None:
    """The manifest with the experts that are there now, for `predict`, `train` and `evaluate`."""
    out = absolute(plan.settings.out)
    cases = []
    for task in plan.tasks:
        made = {name: out / task.places.path(f"SR-{name}", ".nii.gz") for name in task.experts}
        done = ledger.entries[task.name].state is State.DONE
        sums = {f"experts.{name}": sha256_of(path) for name, path in made.items()} if done else {}
        kept = {name: value for name, value in task.row.sha256.items() if not (done and "experts." in name)}
        cases.append(
            task.row.model_copy(
                update={"experts": made if done else task.row.experts, "sha256": {**kept, **sums}}
            )
        )
    save_manifest(plan.manifest.model_copy(update={"cases": cases, "root": out}), out / MANIFEST_FILE)

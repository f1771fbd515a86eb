"""Before anything is scored: which cases, with which weights, and whether the gate may have seen them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revoxel.core.checkpoints import best_checkpoint
from revoxel.core.manifest import load_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.comparison.fold_weights import told_too_wide
from revoxel.sagnef.comparison.rows import RowSettings
from revoxel.sagnef.comparison.volumes import expert_order
from revoxel.sagnef.gates import Gate, load_gate
from revoxel.sagnef.training import model_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from revoxel.core.folds import Fold
    from revoxel.core.manifest import Case, Manifest

#: Entry of a checkpoint's protocol that names the patients it was trained and stopped on.
TRAINED_ON = "trained_on"


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate.

    Args:
        manifest: Manifest with truths and folds.
        folds: Folds whose test patients are scored.
        spacings: Spacings to look at.
        pulses: Pulses to look at.
        out: Output folder.
        model_data: Output root of the training, which holds one gate per spacing, pulse and fold.
        checkpoint: One gate for everything, instead.
        control: A gate on fewer experts, for the control row.
        labels: Path of a case's tumour labels, with `{patient}`, `{subject}`, `{timepoint}` or `{pulse}`.
        allow_seen: Score patients that the gate was trained on, and mark them.
        settings: How gates are run.
        seed: Seed of the resampling of patients.
        overwrite: Score again what was scored.
    """

    manifest: Path
    folds: tuple[str, ...]
    out: Path
    spacings: tuple[Spacing, ...] = tuple(Spacing)
    pulses: tuple[Pulse, ...] = tuple(Pulse)
    model_data: Path | None = None
    checkpoint: Path | None = None
    control: Path | None = None
    labels: str | None = None
    allow_seen: bool = False
    settings: RowSettings = field(default_factory=RowSettings)
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Group:
    """The test cases of one fold, spacing and pulse: they share gate and weights.

    Args:
        fold: Fold of the manifest.
        spacing: Spacing of the cases.
        pulse: Pulse of the cases.
        cases: Test cases.
        trusted: Training rows of the same spacing and pulse whose experts were told the right profile.
        misled: Training rows of any spacing and pulse whose experts were told too wide a profile.
        gate: The gate, if there is one.
        seen: Test patients that the gate may have been trained on.
        notes: What a reader should know about the gate.
    """

    fold: Fold
    spacing: Spacing
    pulse: Pulse
    cases: tuple[Case, ...]
    trusted: tuple[Case, ...]
    misled: tuple[Case, ...]
    gate: Gate | None
    seen: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.fold.name}, {self.spacing} {self.pulse}"


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """What will be scored; nothing is computed yet.

    Args:
        request: What was asked for.
        manifest: The study.
        groups: Cases that share gate and weights.
        control: Gate of the control row.
    """

    request: EvaluationRequest
    manifest: Manifest
    groups: tuple[Group, ...]
    control: Gate | None = None

    @property
    def n_cases(self) -> int:
        """Cases in all."""
        return sum(len(group.cases) for group in self.groups)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the gates, each once."""
        return tuple(dict.fromkeys(note for group in self.groups for note in group.notes))

    def result_path(self, group: Group, case: Case) -> Path:
        """Where the result of a case lies: every row of the manifest has its own file."""
        row = self.manifest.cases.index(case)
        name = "-".join((group.fold.name, case.subject, case.pulse, case.spacing, str(row)))
        return self.request.out / "cases" / f"{file_name(name)}.json"

    def labels_path(self, case: Case) -> Path | None:
        """Label map of a case, if a template is given and the file exists."""
        return labels_path(self.request.labels, self.manifest, case)


def plan_evaluation(request: EvaluationRequest) -> EvaluationPlan:
    """Choose cases and gates; refuse what cannot be an honest evaluation.

    Args:
        request: What to evaluate.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If manifest or checkpoint do not exist.
        ValueError: If there is nothing to score, or a gate was trained on a test patient.
    """
    manifest = load_manifest(request.manifest)
    expert_order(manifest.experts)
    groups = tuple(_groups(request, manifest))
    if not groups:
        msg = (
            f"the test patients of {', '.join(request.folds)} must have rows with a truth at "
            f"{', '.join(request.spacings)} for {', '.join(request.pulses)}, got none in {request.manifest}; "
            "choose other --fold, --spacings, --pulses, or write test patients into the fold."
        )
        raise ValueError(msg)
    if not request.allow_seen:
        _refuse_seen(groups)
    cases = [case for group in groups for case in group.cases]
    if request.labels and not any(labels_path(request.labels, manifest, case) for case in cases):
        tried = labels_template(request.labels, manifest, cases[0])
        msg = f"--labels must lead to at least one file, got none such as {tried}; correct the template."
        raise FileNotFoundError(msg)
    return EvaluationPlan(request, manifest, groups, load_gate(request.control) if request.control else None)


def _groups(request: EvaluationRequest, manifest: Manifest) -> Iterator[Group]:
    for fold in map(manifest.fold, request.folds):
        train = [case for case in manifest.cases if case.patient in fold.train and case.hr]
        misled = tuple(case for case in train if told_too_wide(case))
        for spacing in request.spacings:
            for pulse in request.pulses:
                cases = tuple(case for case in manifest.select(fold.test, spacing, [pulse]) if case.hr)
                if not cases:
                    continue
                trusted = [case for case in train if (case.spacing, case.pulse) == (spacing, pulse)]
                gate = _find_gate(request, fold, spacing, pulse)
                known, notes = _trained_on(gate, manifest, fold)
                yield Group(
                    fold,
                    spacing,
                    pulse,
                    cases,
                    tuple(case for case in trusted if not told_too_wide(case)),
                    misled,
                    gate,
                    frozenset(known & {case.patient for case in cases}),
                    notes,
                )


def _find_gate(request: EvaluationRequest, fold: Fold, spacing: Spacing, pulse: Pulse) -> Gate | None:
    if request.checkpoint:
        return load_gate(request.checkpoint, pulse=pulse, spacing=spacing)
    if request.model_data:
        from pathlib import Path

        folder = Path(model_folder(request.model_data, spacing, pulse, fold.name))
        return load_gate(best_checkpoint(folder), pulse=pulse, spacing=spacing)
    return None


def _trained_on(gate: Gate | None, manifest: Manifest, fold: Fold) -> tuple[set[str], tuple[str, ...]]:
    """Patients that a gate was trained or stopped on, as far as can be known."""
    if gate is None:
        return set(), ()
    if TRAINED_ON in gate.protocol:
        return set(gate.protocol[TRAINED_ON]), ()
    by_name = {other.name: other for other in manifest.folds}
    source = by_name.get(gate.path.parent.name)
    if source is not None:
        return {*source.train, *source.val}, ()
    note = f"{gate.path} does not say whom it was trained on: make sure that it was not on test patients"
    return {*fold.train, *fold.val}, (note,)


def _refuse_seen(groups: Sequence[Group]) -> None:
    for group in groups:
        if group.seen and group.gate:
            msg = (
                f"{group.gate.path} must not have seen the test patients of {group.fold.name}, got "
                f"{', '.join(sorted(group.seen))} in its training or validation list; give the gate of this "
                "fold, or --allow-seen to score it all the same (the rows are marked)."
            )
            raise ValueError(msg)


def labels_template(template: str, manifest: Manifest, case: Case) -> Path:
    """Fill a template with a case's names.

    Args:
        template: Path with `{patient}`, `{subject}`, `{timepoint}` or `{pulse}`.
        manifest: Relative paths start where its own do.
        case: Whose names.

    Raises:
        ValueError: If the template names something else.
    """
    from pathlib import Path

    names = {key: str(getattr(case, key)) for key in ("patient", "subject", "timepoint", "pulse")}
    try:
        return manifest.resolve(Path(template.format(**names)))
    except (KeyError, IndexError, ValueError) as error:
        msg = f"--labels may use {', '.join(f'{{{key}}}' for key in names)}, got {template!r}; correct it."
        raise ValueError(msg) from error


def labels_path(template: str | None, manifest: Manifest, case: Case) -> Path | None:
    """Label map of a case, if a template is given and the file exists."""
    path = labels_template(template, manifest, case) if template else None
    return path if path is not None and path.is_file() else None


def file_name(text: str) -> str:
    """A text as a file name that no system stumbles over."""
    return re.sub(r"[^\w.-]+", "_", text)

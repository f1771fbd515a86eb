"""From files to rows: which scan, truth and expert volumes belong together, and what is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import volume_stem
from revoxel.experts.names import Expert
from revoxel.sagnef.study.layouts import (
    LAYOUTS,
    Found,
    Index,
    Layout,
    beside,
    check_templates,
    fields_of,
    indexed,
    lookup,
    patient_of,
    scan,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_NAMES = ("subject", "patient", "timepoint")
_SCAN_FIELDS = (*_NAMES, "pulse", "spacing", "condition")
# What spacing and axis of a row say already.
_REDUNDANT = re.compile(r"(axis)?[012]|[xyz]|[357]mm|LR", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to look for.

    Args:
        layout: Where the files lie; `None` takes the first of `LAYOUTS` that finds scans.
        pulses: Which pulses; empty: all that are found.
        spacings: Which spacings; empty: all that are found.
        experts: Which experts.
        truth: Whether every scan must have a truth.
    """

    layout: Layout | None = None
    pulses: tuple[Pulse, ...] = ()
    spacings: tuple[Spacing, ...] = ()
    experts: tuple[Expert, ...] = tuple(Expert)
    truth: bool = True


@dataclass(frozen=True)
class Row:
    """One scan with what belongs to it, before any file was read.

    Args:
        fields: What paths say: subject, patient, time point, pulse, and where stated spacing and condition.
        lr: The scan; `None` if it is missing.
        hr: Its truth.
        experts: Expert volumes that exist.
        problems: Why it cannot become a row of a manifest, as `role: reason`.
    """

    fields: Mapping[str, str]
    lr: Path | None
    hr: Path | None = None
    experts: Mapping[Expert, Path] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Name of the row's files: the subject, and the scan's condition where its name states one."""
        return "_".join(part for part in (self.fields["subject"], self.fields.get("condition", "")) if part)

    @property
    def condition(self) -> str:
        """The condition without what spacing and axis say already."""
        parts = self.fields.get("condition", "").split("_")
        return "_".join(part for part in parts if not _REDUNDANT.fullmatch(part))

    @property
    def spacing(self) -> Spacing | None:
        """Spacing that the path states."""
        return Spacing(self.fields["spacing"]) if self.fields.get("spacing") else None

    @property
    def name(self) -> str:
        """For messages."""
        return " ".join((f"{self.subject}-{self.fields['pulse']}", self.fields.get("spacing", ""))).strip()


def find_rows(root: Path, wanted: Wanted) -> tuple[Layout, list[Row]]:
    """Look through a study's folder, reading names only.

    Args:
        root: The folder.
        wanted: What to look for.

    Returns:
        The layout and its rows, incomplete ones included.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If a template is malformed, or nothing is found.
    """
    if not root.is_dir():
        msg = f"{root} must be the folder of a study, got nothing there; check the path."
        raise FileNotFoundError(msg)
    for layout in [wanted.layout] if wanted.layout else LAYOUTS:
        _check(layout)
        scans, truths, experts = _files(root, layout, wanted)
        rows = _joined(layout, scans, truths, experts, wanted)
        if rows:
            return layout, rows
    msg = (
        f"{root} must hold scans such as 5mm/SUBJECT-t1c.nii.gz or SUBJECT-t1c_5mm.nii.gz, got none; make "
        "them (revoxel simulate), or say where they lie (--lr-template)."
    )
    raise ValueError(msg)


def _check(layout: Layout) -> None:
    check_templates(layout.lr, _SCAN_FIELDS)
    check_templates(layout.hr, (*_NAMES, "pulse"))
    check_templates(layout.expert, (*_SCAN_FIELDS, "expert", "lr"))
    for template in (*layout.lr, *layout.hr, *layout.expert):
        names = fields_of(template)
        if "lr" not in names and not ({"pulse"} <= names and names & {"subject", "patient"}):
            msg = f"template {template!r} must have {{pulse}} and {{subject}} or {{patient}}; add them."
            raise ValueError(msg)
    for template in layout.expert:
        if "expert" not in fields_of(template):
            msg = f"expert template {template!r} must have {{expert}}, got none; add it."
            raise ValueError(msg)


def _files(root: Path, layout: Layout, wanted: Wanted) -> tuple[list[Found], list[Found], list[Found]]:
    """Scans, truths and expert volumes; a file is one of them only."""
    experts = scan(root, [text for text in layout.expert if "lr" not in fields_of(text)], results=True)
    taken = {file.path for file in experts}
    scans = [file for file in scan(root, layout.lr) if file.path not in taken]
    taken |= {file.path for file in scans}
    truths = [file for file in scan(root, layout.hr) if file.path not in taken] if wanted.truth else []
    return _of(scans, wanted), _of(truths, replace(wanted, spacings=())), experts


def _of(files: list[Found], wanted: Wanted) -> list[Found]:
    """Files of the wanted pulses and spacings; a spacing that no path states is judged later."""
    return [
        file
        for file in files
        if (not wanted.pulses or file.fields["pulse"] in wanted.pulses)
        and (not wanted.spacings or file.fields.get("spacing", wanted.spacings[0]) in wanted.spacings)
    ]


def _joined(
    layout: Layout, scans: list[Found], truths: list[Found], experts: list[Found], wanted: Wanted
) -> list[Row]:
    truth_index, expert_index = indexed(truths), indexed(experts)
    rows = [_row(file, truth_index, wanted.truth) for file in _named(scans)]
    rows = [_with_experts(row, layout, expert_index, wanted.experts) for row in rows]
    used = {(path, row.spacing) for row in rows for path in lookup(truth_index, row.fields)}
    return [*_named_once(rows), *_without_scan(_named(truths), used, wanted)]


def _named(files: list[Found]) -> list[Found]:
    return [Found(file.path, {**file.fields, **_who(file.fields)}) for file in files]


def _who(fields: Mapping[str, str]) -> dict[str, str]:
    """Subject, patient and time point, those that the path leaves open derived from the others."""
    subject = fields.get("subject") or "_".join(
        fields[name] for name in ("patient", "timepoint") if name in fields
    )
    patient, timepoint = patient_of(subject)
    return {
        "subject": subject,
        "patient": fields.get("patient", patient),
        "timepoint": fields.get("timepoint", "000" if "patient" in fields else timepoint),
    }


def _row(file: Found, truths: Index, need_truth: bool) -> Row:
    fields = {name: str(value) for name, value in file.fields.items()}
    found = lookup(truths, fields) if need_truth else []
    row = Row(fields, file.path, found[0] if found else None)
    if need_truth and len(found) != 1:
        return replace(row, problems=(_count_problem("hr", found),))
    return row


def _with_experts(row: Row, layout: Layout, index: Index, experts: Sequence[Expert]) -> Row:
    found = {expert: _expert_files(row, layout, index, expert) for expert in experts}
    several = [_count_problem(expert.value, paths) for expert, paths in found.items() if len(paths) > 1]
    single = {expert: paths[0] for expert, paths in found.items() if paths}
    return replace(row, experts=single, problems=(*row.problems, *several))


def _expert_files(row: Row, layout: Layout, index: Index, expert: Expert) -> list[Path]:
    if row.lr is None:
        return []
    named = lookup(index, {**row.fields, "expert": expert})
    return named or [
        path
        for template in layout.expert
        if "lr" in fields_of(template)
        for path in beside(template, row.lr, expert)
    ]


def _count_problem(role: str, found: list[Path]) -> str:
    if not found:
        return f"{role}: missing"
    names = " and ".join(str(path) for path in found[:2])
    return f"{role}: must be one file, got {len(found)}: {names}; narrow the template"


def _named_once(rows: list[Row]) -> list[Row]:
    """Rows that share subject, pulse and spacing cannot all be kept: files are named after these."""
    seen: dict[tuple[str, str, str], Row] = {}
    checked = []
    for row in rows:
        key = (row.subject, row.fields["pulse"], row.fields.get("spacing", ""))
        first = seen.setdefault(key, row)
        if first is not row and first.lr is not None:
            problem = (
                f"lr: {volume_stem(first.lr)} has this subject, pulse and spacing already; use {{condition}}"
            )
            checked.append(replace(row, problems=(*row.problems, problem)))
        else:
            checked.append(row)
    return checked


def _without_scan(truths: list[Found], used: set[tuple[Path, Spacing | None]], wanted: Wanted) -> list[Row]:
    """Truths that lack the scan of a spacing that is wanted, or that others have."""
    spacings = wanted.spacings or sorted({spacing for _, spacing in used if spacing})
    missing = []
    for file in truths:
        fields = {name: str(value) for name, value in file.fields.items()}
        missing += [
            Row({**fields, "spacing": spacing.value}, None, file.path, problems=("lr: missing",))
            for spacing in spacings
            if used.isdisjoint({(file.path, spacing), (file.path, None)})
        ]
    return missing

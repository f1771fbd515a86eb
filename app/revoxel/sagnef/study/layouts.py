"""Where the volumes of a study lie: path templates, matched against the files below a folder.

A template is a path without its ending, relative to the study's folder (or absolute), such as
`low_res/{spacing}/{subject}/{subject}-{pulse}`. Fields: `{subject}`, or `{patient}` and `{timepoint}`;
`{pulse}` as people write it (t1c, T1POST, flair ...); `{spacing}` (3mm, 5mm, 7mm); `{condition}`, free text;
`{expert}`; and, for experts only, `{lr}`, the path of the scan without its ending. `*` stands for any text in
one name, `**/` for any folders, `[-_]` for one of these characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from glob import escape, iglob
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.core.pulse_names import CONTRAST_WORDS, PULSE_WORDS, parse_pulse
from revoxel.core.pulses import Spacing
from revoxel.core.volumes import ITK_SUFFIXES, NIFTI_SUFFIXES, volume_stem
from revoxel.experts.names import Expert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Index = dict[tuple[str, ...], dict[tuple[str, ...], list[Path]]]
SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
_PART = re.compile(r"(\{\w+\}|\*\*/|\*|\[[^\]]+\])")
_NAME = r"[^/]+?"
_PULSE_WORD = f"(?:{'|'.join(sorted({*PULSE_WORDS, *CONTRAST_WORDS}, key=len, reverse=True))})"
_PATTERNS = {
    **dict.fromkeys(("subject", "patient", "timepoint", "condition"), _NAME),
    "pulse": f"(?i:{_PULSE_WORD}(?:[-_]{_PULSE_WORD})*)",
    "spacing": f"(?:{'|'.join(Spacing)})",
    "expert": f"(?i:{'|'.join(Expert)})",
}
# Results that lie beside a scan, label maps and what a training leaves behind are no scans.
_NO_SCAN = re.compile(
    r"_(SR-\w+|sagnef|weights|dominant|entropy)$"
    r"|[-_](seg\w*|mask|lesions?|labels?)$"
    r"|(^|/)(output_volumes|model_data)/"
)


@dataclass(frozen=True)
class Layout:
    """Templates per role; several are tried in turn.

    Args:
        name: What it is called.
        hr: Truth.
        lr: Thick-slice scans.
        expert: Expert volumes.
    """

    name: str
    hr: tuple[str, ...]
    lr: tuple[str, ...]
    expert: tuple[str, ...]


_BESIDE = ("{lr}_SR-{expert}", "{lr}.experts/*_SR-{expert}")
#: `cohort`: a folder per spacing for scans and for each expert. `plain`: folders as one likes, scans in a
#: folder named after the spacing or with `_5mm` or `_LR` at the end of their name, experts beside them.
LAYOUTS = (
    Layout(
        "cohort",
        hr=("high_resolution/{subject}/{subject}[-_]{pulse}",),
        lr=("low_res/{spacing}/{subject}/{subject}[-_]{pulse}",),
        expert=(
            "**/SR_{expert}/{spacing}/**/{subject}[-_]{pulse}",
            "**/{expert}/{spacing}/output_volumes/{subject}[-_]{pulse}",
            *_BESIDE,
        ),
    ),
    Layout(
        "plain",
        hr=("**/{subject}[-_]{pulse}",),
        lr=(
            "**/{spacing}/**/{subject}[-_]{pulse}",
            "**/{spacing}/**/{subject}[-_]{pulse}_{condition}",
            "**/{subject}[-_]{pulse}[-_]{spacing}",
            "**/{subject}[-_]{pulse}[-_]LR",
        ),
        expert=(*_BESIDE, "**/SR_{expert}/{spacing}/**/{subject}[-_]{pulse}"),
    ),
)


def layout_of(
    name: str,
    *,
    hr: Sequence[str] | None = None,
    lr: Sequence[str] | None = None,
    expert: Sequence[str] | None = None,
) -> Layout | None:
    """Choose a layout by name, some of its templates replaced.

    Args:
        name: `auto`, or a name in `LAYOUTS`.
        hr: Other places of truths.
        lr: Other places of scans.
        expert: Other places of expert volumes.

    Returns:
        The layout; `None` if it is to be found out. Templates without a name replace those of `plain`.

    Raises:
        ValueError: If there is no such layout.
    """
    known = {layout.name: layout for layout in LAYOUTS}
    if name != "auto" and name not in known:
        msg = f"layout must be auto, {' or '.join(known)}, got {name!r}; or give templates."
        raise ValueError(msg)
    if name == "auto" and not (hr or lr or expert):
        return None
    base = known["plain" if name == "auto" else name]
    named = base.name if not (hr or lr or expert) else "by templates"
    return Layout(named, tuple(hr or base.hr), tuple(lr or base.lr), tuple(expert or base.expert))


@dataclass(frozen=True)
class Found:
    """One file that a template matched.

    Args:
        path: The file.
        fields: What the template read from its path; pulses and experts in their canonical spelling.
    """

    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)


def scan(root: Path, templates: Iterable[str], *, results: bool = False) -> list[Found]:
    """Find the volumes that templates describe; a file belongs to the first template that matches it.

    Args:
        root: Folder that relative templates start from.
        templates: Paths without ending.
        results: Whether results, label maps and files in output folders count too.

    Returns:
        Files in the order of their paths.

    Raises:
        ValueError: If a template is malformed.
    """
    found: dict[Path, Found] = {}
    for template in templates:
        glob_text, pattern = _compiled(template)
        for name in iglob(f"{glob_text}.*", root_dir=root, recursive=True):  # noqa: PTH207 - keeps `..` as typed
            stem = _without_suffix(name)
            match = pattern.fullmatch(stem) if stem else None
            if match and (results or not _NO_SCAN.search(stem)):
                path = root / name
                fields = _canonical(match.groupdict())
                if fields is not None:
                    found.setdefault(path, Found(path, fields))
    return [found[path] for path in sorted(found)]


def fields_of(template: str) -> frozenset[str]:
    """Names of the fields in a template.

    Args:
        template: Path with fields in braces.
    """
    return frozenset(part[1:-1] for part in _PART.split(template) if part.startswith("{"))


def check_templates(templates: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse templates with fields that nothing can fill.

    Args:
        templates: Paths with fields in braces.
        allowed: Names of the fields that may stand there.

    Raises:
        ValueError: If a template names another field, or none at all.
    """
    known = set(allowed)
    for template in templates:
        names = fields_of(template)
        if not names or names - known:
            got = ", ".join(sorted(names - known)) or "none"
            msg = f"template {template!r} must have fields among {sorted(known)}, got {got}; correct it."
            raise ValueError(msg)


def beside(template: str, scan_path: Path, expert: Expert) -> list[Path]:
    """Files that a template with `{lr}` names for one scan.

    Args:
        template: Path with `{lr}` and `{expert}`.
        scan_path: The thick-slice scan.
        expert: Whose volume.
    """
    stem = escape(str(scan_path.with_name(volume_stem(scan_path))))
    pattern = template.format(lr=stem, expert=expert.value)
    return [Path(name) for suffix in SUFFIXES for name in sorted(iglob(pattern + suffix))]  # noqa: PTH207


def indexed(files: Iterable[Found]) -> Index:
    """Prepare files for `lookup`.

    Args:
        files: From `scan`.
    """
    index: Index = {}
    for file in files:
        names = tuple(sorted(file.fields))
        values = tuple(file.fields[name] for name in names)
        index.setdefault(names, {}).setdefault(values, []).append(file.path)
    return index


def lookup(index: Index, fields: Mapping[str, str]) -> list[Path]:
    """Files whose fields all agree with these.

    Args:
        index: From `indexed`.
        fields: Every field that is known.
    """
    keys = {names: tuple(fields.get(name, "") for name in names) for names in index}
    return [path for names, values in keys.items() for path in index[names].get(values, [])]


def patient_of(subject: str) -> tuple[str, str]:
    """Patient and time point that a subject's name states.

    Args:
        subject: `BraTS-MEN-00004-000`, `sub-01_ses-02`, or a name that ends in a word for a visit and its
            number (`patient04_study1`, `ab12-visit-2`).

    Returns:
        Patient and time point; the whole name and `000` where it states none.
    """
    for pattern in _PATIENTS:
        match = pattern.fullmatch(subject)
        if match:
            return match["patient"], match["timepoint"] or "000"
    return subject, "000"


_VISIT = r"(?:study|session|ses|visit|timepoint|time|tp|scan|day|week|month|year)[-_]?\d+"
_PATIENTS = (
    re.compile(r"BraTS-[A-Za-z]+-(?P<patient>\d+)-(?P<timepoint>\d+)"),
    re.compile(r"sub-(?P<patient>[A-Za-z0-9]+)(?:_ses-(?P<timepoint>[A-Za-z0-9]+))?(?:_.*)?"),
    re.compile(rf"(?P<patient>.+?)[-_](?P<timepoint>{_VISIT})", re.IGNORECASE),
)


def _compiled(template: str) -> tuple[str, re.Pattern[str]]:
    """Glob text and regular expression of a template."""
    glob_text, pattern, seen = "", "", set()
    for part in _PART.split(_without_suffix(template) or template):
        name = part[1:-1]
        if part.startswith("{"):
            glob_text += "*"
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_PATTERNS[name]})"
            seen.add(name)
        elif part == "**/":
            glob_text, pattern = glob_text + part, pattern + "(?:[^/]+/)*"
        elif part == "*":
            glob_text, pattern = glob_text + part, pattern + "[^/]*"
        else:
            glob_text += part
            pattern += part if part.startswith("[") else re.escape(part)
    return glob_text, re.compile(pattern)


def _without_suffix(name: str) -> str:
    """The path without a volume's ending; empty if it is no volume."""
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return ""


def _canonical(fields: Mapping[str, str]) -> dict[str, str] | None:
    """Fields with pulses and experts spelt as everywhere here; None if the words state no single pulse."""
    values = dict(fields)
    try:
        if "pulse" in values:
            values["pulse"] = parse_pulse(values["pulse"])
    except ValueError:
        return None
    if "expert" in values:
        values["expert"] = values["expert"].upper()
    return values

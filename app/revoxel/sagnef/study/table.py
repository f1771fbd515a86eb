"""The table beside a manifest: one line per volume, also of those that are missing or wrong."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from revoxel.core.volumes import atomic_path
from revoxel.sagnef.study.paths import below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from revoxel.core.geometry import Grid
    from revoxel.core.manifest import Case
    from revoxel.sagnef.study.checks import Checked
    from revoxel.sagnef.study.inspection import VolumeFacts
    from revoxel.sagnef.study.rows import Row

Line = dict[str, str]
COLUMNS = (
    "role", "path", "subject", "patient", "timepoint", "pulse", "spacing", "condition",
    "sha256", "shape", "spacing_mm", "used", "note",
)  # fmt: skip


def write_table(lines: Iterable[Line], path: Path) -> Path:
    """Write the table, whole or not at all.

    Args:
        lines: Value by column.
        path: CSV file; what exists is replaced.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def enter_experts(path: Path, case: Case, made: Mapping[str, Path], grid: Grid) -> None:
    """Fill in the lines of expert volumes that were missing; without a table nothing happens.

    Args:
        path: CSV file beside the manifest.
        case: The row, as the manifest now has it.
        made: New files by expert, as the manifest writes them.
        grid: Where they lie.

    Raises:
        OSError: If the table cannot be read or written.
    """
    if not path.is_file():
        return
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        name = line.get("role", "")
        if name in made and (line["subject"], line["pulse"], line["spacing"]) == case.key:
            line |= {"path": str(made[name]), "sha256": case.sha256[f"experts.{name}"], "used": "yes"}
            line |= {**_place(grid), "note": ""}
    write_table(lines, path)


def lines_of(
    rows: Sequence[Checked], facts: Mapping[Path, VolumeFacts], experts: Sequence[str], root: Path
) -> Iterator[Line]:
    """Lines of the table, each file once.

    Args:
        rows: Judged rows.
        facts: What each file holds.
        experts: Which experts the study is about.
        root: Folder of the study, absolute.

    Yields:
        Value by column.
    """
    listed: set[Path] = set()
    for checked in rows:
        for role, path in _volumes(checked.row, experts):
            if path is None:
                yield _line(checked, role, "missing")
            elif path not in listed:
                listed.add(path)
                unsaid = "" if checked.case else "its row is left out"
                yield _line(checked, role, unsaid) | _file(path, facts.get(path), root)


def _volumes(row: Row, experts: Iterable[str]) -> Iterator[tuple[str, Path | None]]:
    made = {expert.value: path for expert, path in row.experts.items()}
    yield "hr", row.hr
    yield "lr", row.lr
    for expert in experts:
        yield expert, made.get(expert)


def _line(checked: Checked, role: str, unsaid: str) -> Line:
    """What is known without the file; `unsaid` is the note where no other says more."""
    row, case = checked.row, checked.case
    notes = [note for note in (*row.problems, *checked.warnings) if _concerns(note, role)]
    return {
        "role": role,
        "subject": row.subject,
        **{name: row.fields[name] for name in ("patient", "timepoint", "pulse")},
        # A truth serves rows of several spacings.
        "spacing": "" if role == "hr" else case.spacing.value if case else row.fields.get("spacing", ""),
        "condition": "" if role == "hr" else row.condition,
        "used": "yes" if case is not None and unsaid != "missing" else "no",
        "note": "; ".join(note.removeprefix(f"{role}: ") for note in notes) or unsaid,
    }


def _file(path: Path, facts: VolumeFacts | None, root: Path) -> Line:
    place = _place(facts.grid) if facts is not None and facts.grid is not None else {}
    return {"path": str(below(path, root)), "sha256": facts.sha256 if facts is not None else "", **place}


def _place(grid: Grid) -> Line:
    sizes = "x".join(f"{size_mm:.6g}" for size_mm in grid.spacing_mm)
    return {"shape": "x".join(map(str, grid.shape)), "spacing_mm": sizes}


def _concerns(note: str, role: str) -> bool:
    about = note.partition(":")[0]
    return about == role or (about == "experts" and role not in {"hr", "lr"})

"""The named calls of the CT bundles' training configurations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.core.one_line import one_line_errors
from revoxel.ct.scans.study import load_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.ct.scans.study import CtRow, CtStudy

#: Fold that trains on every patient.
ALL = "all"


def opened_study(path: str | Path | None) -> CtStudy:
    """Read the study of a run.

    Args:
        path: `study.json` or its folder.

    Raises:
        SystemExit: With one line, if there is none, or a file of it is missing or has changed.
    """
    with one_line_errors():
        if path is None:
            msg = "study must be given, got none; give --study SET/study.json (revoxel ct prepare makes it)."
            raise ValueError(msg)
        study = load_study(path)
        changed = study.changed_files()
        if changed:
            msg = f"{path}: files must be as listed, got {'; '.join(changed)}; prepare the study again."
            raise ValueError(msg)
        return study


def training_rows(study: CtStudy, fold: str | None) -> list[CtRow]:
    """Rows that a run learns from.

    Args:
        study: the study.
        fold: name of a fold; `all`, the default, takes every patient.

    Raises:
        SystemExit: With one line, if there is no such fold.
    """
    if fold in {None, ALL}:
        return list(study.rows)
    with one_line_errors():
        return study.rows_of(study.fold(fold).train)


def training_record(rows: Sequence[CtRow]) -> dict[str, list[str]]:
    """Whom weights were trained on, as it stands in a checkpoint: no table of results may hold them.

    Args:
        rows: rows that a run learns from.

    Returns:
        `patients`, and `sha256` of all their files.
    """
    files = {sum_ for row in rows for sum_ in (row.source_sha256, *row.sha256.values()) if sum_}
    return {"patients": sorted({row.patient_id for row in rows}), "sha256": sorted(files)}


def validation_rows(study: CtStudy, fold: str | None) -> list[CtRow]:
    """Rows that a run is watched on: those of the fold's validation patients, else those it learns from.

    A patient who is left out for testing is never among them.

    Args:
        study: the study.
        fold: name of a fold, or `all`.
    """
    held = [] if fold in {None, ALL} else study.rows_of(study.fold(fold).val)
    return held or training_rows(study, fold)


def ct_items(folder: str | Path | None) -> list[dict[str, str]]:
    """CTs of a folder as MONAI items, by name.

    Args:
        folder: where they lie; None gives no item.

    Raises:
        SystemExit: With one line, if there is none in the folder.
    """
    files = [] if folder is None else sorted(Path(folder).glob("*.nii*"))
    if folder is not None and not files:
        with one_line_errors():
            msg = f"dataset_dir must hold NIfTI files, got {folder}; give --dataset_dir FOLDER."
            raise FileNotFoundError(msg)
    return [{"image": str(path)} for path in files]

"""The part of the page about an evaluation: the tables of `revoxel evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.core.html_page import data_uri
from revoxel.core.provenance import read_sidecar
from revoxel.sagnef.comparison.outputs import result_tables, shown_fact
from revoxel.sagnef.comparison.page import ROW_MEANINGS, row_kind
from revoxel.sagnef.comparison.results import CaseResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from revoxel.sagnef.comparison.tables import PlainTable

_FACTS = ("command", "manifest", "manifest_sha256", "folds", "seed", "gates", "control", "labels", "settings")


@dataclass(frozen=True)
class EvaluationPart:
    """What the page shows of an evaluation.

    Args:
        tables: As on its own page.
        facts: What the numbers were made from.
        picture: Its figure as an address; empty without one.
        failures: Cases that could not be scored.
        meanings: What the rows are.
        row_kind: How rows are set apart.
    """

    tables: tuple[PlainTable, ...]
    facts: Mapping[str, str]
    picture: str
    failures: Mapping[str, str]
    meanings: Mapping[str, str]
    row_kind: Callable[..., str]


def read_evaluation(path: Path) -> EvaluationPart:
    """Read what `revoxel evaluate` left behind.

    Args:
        path: `evaluation.json`.

    Returns:
        Tables and facts.

    Raises:
        ValueError: If the file is damaged.
    """
    record: dict[str, Any] = read_sidecar(path)
    try:
        results = [CaseResult.model_validate(case) for case in record["cases"]]
        tables = result_tables(results, seed=int(record["seed"]))
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        msg = f"{path} must be a record of revoxel evaluate, got '{reason}'; run it again."
        raise ValueError(msg) from error
    picture = path.with_suffix(".png")
    return EvaluationPart(
        tables=tuple(tables),
        facts={name: shown_fact(record.get(name)) for name in _FACTS},
        picture=data_uri(picture.read_bytes(), "image/png") if picture.is_file() else "",
        failures=record.get("failures") or {},
        meanings=ROW_MEANINGS,
        row_kind=row_kind,
    )

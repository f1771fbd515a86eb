"""Is a trained network good? What a run says of its validation patients, held against the seed's list."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

from revoxel.core.provenance import read_sidecar
from revoxel.semivae.diagnosis.checklist.items import Item
from revoxel.semivae.diagnosis.gates import REQUIREMENTS, Requirement, Rule, judge_gates
from revoxel.semivae.learning.finish import VALIDATED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LOG = "training_log.csv"
_LOSS = "val_total"
_APART = "raise loss.independence.target, or take features out that depend on each other"
_BLURRED = "train longer or at a finer grid; raise loss.tumour_weight"
_HOLES = "the scans are unlike those of the training: add such patients; raise loss.mmd.target"

#: Beside the gates of every evaluation.
AFTER_TRAINING: tuple[Requirement, ...] = (
    *REQUIREMENTS,
    Requirement("image/tumour_psnr_db", Rule.ABOVE, 15.0, _BLURRED),
    Requirement("image/tumour_sharpness", Rule.ABOVE, 0.5, _BLURRED),
    Requirement("coverage/inside", Rule.AT_LEAST, 0.9, _HOLES),
    Requirement("drift/between", Rule.BELOW, 1.0, _HOLES),
)
_LARGEST_DEPENDENCE = 0.3


def check_run(folder: Path) -> list[Item]:
    """Go through the list for one finished run.

    Args:
        folder: Of the run.

    Returns:
        The items.

    Raises:
        FileNotFoundError: If the run is not finished.
        ValueError: If its record is damaged.
    """
    path = folder / VALIDATED
    if not path.is_file():
        msg = f"{path} must be there after a training, got nothing; run revoxel semivae train to its end."
        raise FileNotFoundError(msg)
    figures = {name: math.nan if value is None else value for name, value in _figures(path).items()}
    gates = judge_gates(figures, (*AFTER_TRAINING, *_dependence(figures)))
    items = [
        Item(f"{gate.metric} {gate.rule} {gate.limit:g}", gate.passed, f"{gate.value:.3f}", gate.remedy)
        for gate in gates
    ]
    return [*items, _falling(folder / _LOG)]


def _figures(path: Path) -> dict[str, Any]:
    figures = read_sidecar(path).get("figures")
    if not isinstance(figures, dict):
        msg = f"{path} must hold figures, got none; run the training to its end again."
        raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not an argument's type
    return figures


def _dependence(figures: Mapping[str, float]) -> list[Requirement]:
    """Every pair of parts by distance correlation; the seed's own figure for volume and residual too."""
    pairs = [name for name in figures if name.startswith("dcor/")]
    means = [name for name in figures if name == "semivae/corr_z_vol_z_residual"]
    below = [Requirement(name, Rule.BELOW, _LARGEST_DEPENDENCE, _APART) for name in (*pairs, *means)]
    above = [Requirement(name, Rule.ABOVE, -_LARGEST_DEPENDENCE, _APART) for name in means]
    return [*below, *above]


def _falling(log: Path) -> Item:
    question, remedy = f"{_LOSS} fell", "lower train.lr; look at training_log.csv"
    if not log.is_file():
        return Item(question, passed=False, found=f"no {log.name}", remedy="run the training again")
    with log.open(newline="", encoding="utf-8") as file:
        values = [float(row[_LOSS]) for row in csv.DictReader(file) if row.get(_LOSS)]
    if len(values) < 2:
        return Item(question, passed=False, found=f"{len(values)} validations", remedy="train longer")
    return Item(question, min(values) < values[0], f"{values[0]:.4f} to {min(values):.4f}", remedy)

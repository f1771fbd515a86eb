"""Write what a fusion gives: all files appear together, or none does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.core.geometry import resample
from revoxel.core.provenance import write_sidecar
from revoxel.core.report import Panel, PanelKind, SliceFigure, fact_table, number_table, save_figure
from revoxel.core.staging import all_or_nothing
from revoxel.core.volumes import RESEARCH_USE, write_volume
from revoxel.sagnef.mixtures import dominant_expert, weight_entropy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.table import Table

    from revoxel.core.volumes import Volume
    from revoxel.experts.names import Expert
    from revoxel.sagnef.fusion import Fused
    from revoxel.sagnef.naming import OutputPaths
    from revoxel.sagnef.planning import Plan
    from revoxel.sagnef.stack import ExpertStack


@dataclass(frozen=True, eq=False)
class Result:
    """What a fusion gives.

    Args:
        fused: Volume and weights.
        stack: The experts they were made from.
        paths: Files written.
        record: Content of the JSON.
    """

    fused: Fused
    stack: ExpertStack
    paths: OutputPaths
    record: dict[str, Any]


def output_names(paths: OutputPaths, experts: Mapping[Expert, Path] | None = None) -> dict[str, Any]:
    """File names by what they hold, for the JSON: a reader needs to guess none.

    Args:
        paths: Where results go.
        experts: Volumes of experts that lie there too.

    Returns:
        Names relative to the record's folder; `experts` has one per expert that was kept.
    """
    kinds = ("fused", "weights", "dominant", "entropy", "figure")
    kept = {expert.value: path.name for expert, path in (experts or {}).items()}
    return {**{kind: getattr(paths, kind).name for kind in kinds}, "experts": kept}


def prepare_folder(paths: OutputPaths, *, overwrite: bool) -> None:
    """Make the output folder, and stop before any computing if results could not be written.

    Args:
        paths: Where results will go.
        overwrite: Whether existing results may be replaced.

    Raises:
        FileExistsError: If results exist.
        OSError: If the folder cannot be made or written to.
    """
    paths.refuse_existing(overwrite=overwrite)
    paths.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=paths.folder, prefix=f".{paths.stem}."):
        pass


def save_fusion(
    fused: Fused,
    stack: ExpertStack,
    low: Volume,
    paths: OutputPaths,
    record: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write volume, weights, maps, picture and record of one scan.

    Args:
        fused: The result.
        stack: What it was made from.
        low: The scan on its own grid, for the picture.
        paths: Where to write.
        record: What was done, for the JSON.
        overwrite: Whether existing results may be replaced.

    Raises:
        FileExistsError: If a result exists and `overwrite` is false.
        OSError: If a file cannot be written; nothing is left behind.
    """
    weights = torch.from_numpy(fused.weights)[None]
    prepare_folder(paths, overwrite=overwrite)
    with all_or_nothing(paths.folder, paths.record.name) as folder:
        staged = replace(paths, folder=folder)
        write_volume(staged.fused, fused.volume, stack.grid)
        write_volume(staged.weights, np.moveaxis(fused.weights, 0, -1), stack.grid)
        write_volume(staged.dominant, _map_of(dominant_expert(weights)), stack.grid)
        write_volume(staged.entropy, _map_of(weight_entropy(weights)), stack.grid)
        save_figure(fusion_figure(fused, stack, low, paths.stem), staged.figure)
        write_sidecar(staged.record, record, overwrite=False)


def fusion_figure(fused: Fused, stack: ExpertStack, low: Volume, title: str) -> SliceFigure:
    """Scan, B-spline, result and weights, orthogonal slices.

    Args:
        fused: The result.
        stack: What it was made from.
        low: The scan on its own grid.
        title: Line above the figure.
    """
    panels = (
        Panel("thick slices", resample(low.data, low.grid, stack.grid, order=0)),
        Panel("B-spline", stack.low_on_high),
        Panel("fused", fused.volume),
        weights_panel(fused, stack),
    )
    return SliceFigure(panels, stack.grid, title, RESEARCH_USE)


def weights_panel(fused: Fused, stack: ExpertStack) -> Panel:
    """Which expert ruled where: one colour per expert, mixed by weight; black where all agree.

    Args:
        fused: The result.
        stack: What it was made from.
    """
    shares = fused.weights * ~stack.agreement()
    return Panel("weights", shares, PanelKind.WEIGHTS, tuple(stack.order))


def fusion_record(fused: Fused, stack: ExpertStack) -> dict[str, Any]:
    """What the fusion found, for the JSON.

    Args:
        fused: The result.
        stack: What it was made from.
    """
    fallback = fused.report["fallback"]
    warnings = list(stack.notes)
    if fallback:
        warnings.append(f"global weights were used because the gate's result {fallback}")
    return {
        "shape": list(stack.grid.shape),
        "spacing_mm": [round(side, 4) for side in stack.grid.spacing_mm],
        **fused.report,
        "dominant_share": _dominance(fused, stack),
        "warnings": warnings,
    }


def _dominance(fused: Fused, stack: ExpertStack) -> dict[str, float]:
    """Share of the voxels, where the experts differ, in which each expert has the largest weight."""
    winners = fused.weights.argmax(axis=0)[~stack.agreement()]
    counts = np.bincount(winners, minlength=len(stack.order)) / max(1, winners.size)
    return {expert: round(float(share), 4) for expert, share in zip(stack.order, counts, strict=True)}


def plan_table(plan: Plan) -> Table:
    """What would be done, for a dry run.

    Args:
        plan: From `plan_superresolve`.
    """
    facts = {
        "scan": f"{plan.scan.path}, {_sizes(plan.scan.grid.shape, plan.scan.grid.spacing_mm)}",
        "pulse": str(plan.pulse),
        "slices": f"{plan.separation_mm:g} mm apart along axis {plan.axis}",
        "result": _sizes(plan.grid.shape, plan.grid.spacing_mm),
        "fusion": f"{plan.fusion.kind} ({plan.fusion.name})",
        "files": ", ".join(path.name for path in plan.paths.fusion_files()),
    }
    warnings = {f"warning {number}": text for number, text in enumerate(plan.warnings, start=1)}
    return fact_table("Dry run: nothing is written", facts | warnings)


def summary_tables(record: Mapping[str, Any]) -> list[Table]:
    """One screen: what was found, which expert ruled where, what to be careful about.

    Args:
        record: The JSON record of a fusion.
    """
    rows: dict[str, dict[str, float | str]] = {}
    for name, weight in record["mean_weight"].items():
        share = f"{100 * record['dominant_share'][name]:.0f} %" if record["fusion"] == "gate" else "-"
        rows[name] = {"mean weight": weight, "rules in": share, "seconds": record["seconds"].get(name, "-")}
    tables = [fact_table("Scan and model", _facts(record)), number_table("Experts", rows, digits=2)]
    if record["warnings"]:
        numbered = {str(number): text for number, text in enumerate(record["warnings"], start=1)}
        tables.append(fact_table("Warnings", numbered))
    return tables


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    profile = record.get("profile")
    facts = {
        "pulse": str(record["pulse"]),
        "slices": f"{record['separation_mm']:g} mm apart along axis {record['slice_axis']}",
        "result": _sizes(record["shape"], record["spacing_mm"]),
        "fusion": f"{record['fusion']} ({record['gate']})",
        "consistency": "off"
        if record["consistency_mu"] is None
        else f"on, mu {record['consistency_mu']:.3g}",
    }
    if profile:
        facts["profile"] = (
            f"FWHM {profile['fwhm_mm']:.2f} mm ({profile['source']}), std {profile['std_mm']:.2f} mm, "
            f"confidence {profile['confidence']:.2f}"
        )
    return facts


def _sizes(shape: Sequence[int], spacing_mm: Sequence[float]) -> str:
    return " x ".join(map(str, shape)) + " voxels of " + " x ".join(f"{s:.3g}" for s in spacing_mm) + " mm"


def _map_of(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor[0, 0].numpy().astype(np.float32)

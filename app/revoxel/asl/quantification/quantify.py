"""The verb `asl quantify` in Python: scans of one head in, maps, record, picture and page out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.evaluation.agreement import in_vivo_agreement
from revoxel.asl.quantification.findings import grey_white_ratio, region_table, tissue_regions, warnings_of
from revoxel.asl.quantification.map_transforms import FitAsld, SaveAslMapsd, StackAslChannelsd
from revoxel.asl.quantification.methods import Chosen, choose
from revoxel.asl.quantification.outputs import UNITS, AslPaths, map_files
from revoxel.asl.quantification.picture import draw_maps, save_picture
from revoxel.asl.quantification.report import write_page
from revoxel.asl.scans.images import read_series
from revoxel.asl.scans.transforms import (
    KEYS,
    AverageRepeatsByPldd,
    BrainMaskd,
    LoadAslBidsd,
    NormalizeByM0d,
    RealignRigidd,
    SubtractControlLabeld,
)
from revoxel.core.geometry import resample
from revoxel.core.meta_images import grid_of
from revoxel.core.provenance import write_sidecar
from revoxel.core.staging import all_or_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from revoxel.asl.quantification.estimation import Estimate
    from revoxel.asl.quantification.planning import QuantifySettings, ScanPlan
    from revoxel.core.geometry import Grid

    Progress = Callable[[str, float], None]


#: Fewer voxels have no limits of agreement.
_FEWEST_COMPARED = 3


@dataclass(frozen=True, eq=False)
class Quantified:
    """What quantifying a scan gives.

    Args:
        item: Everything that was computed, after `FitAsld`.
        paths: Files written.
        record: Content of the JSON.
    """

    item: dict[Any, Any]
    paths: AslPaths
    record: dict[str, Any]


def quantify_scan(plan: ScanPlan, settings: QuantifySettings, progress: Progress | None = None) -> Quantified:
    """Quantify a scan and write every result, or none.

    Args:
        plan: From `plan_scan`.
        settings: The same settings.
        progress: Called with the name of a stage and its share done.

    Returns:
        Maps and record.

    Raises:
        ValueError: If the images cannot be used.
        OSError: If a file cannot be written; nothing is left behind.
    """
    start = time.perf_counter()
    report = progress or (lambda _stage, _share: None)
    item: dict[Any, Any] = {KEYS[kind]: path for kind, path in plan.group.files.items()}
    for stage, step in _steps(settings, report):
        report(stage, 0.0)
        item = step(item)
        report(stage, 1.0)
    report("fit", 0.0)
    chosen = choose(settings.method, item["protocol"], item["physics"], item["slice_times"])
    item = FitAsld(settings.fit, chosen.estimator)(item)
    report("fit", 1.0)
    grid = grid_of(item["dm"])
    record = _record(plan, chosen, item, _regions(plan, item, grid))
    record["seconds"] = round(time.perf_counter() - start, 2)
    report("save", 0.0)
    with all_or_nothing(plan.paths.folder, plan.paths.record.name, plan.paths.existing()) as folder:
        staged = AslPaths(folder, plan.paths.stem)
        SaveAslMapsd(staged)(item)
        _illustrate(staged, item, record, grid)
        record["n_bytes"] = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        write_sidecar(staged.record, record)
    report("save", 1.0)
    return Quantified(item, plan.paths, record)


def _steps(settings: QuantifySettings, report: Progress) -> list[tuple[str, Callable[[Any], dict[Any, Any]]]]:
    motion = RealignRigidd(progress=lambda share: report("motion", share))
    return [
        ("load", LoadAslBidsd(stated=settings.stated)),
        *([("motion", motion)] if settings.realign else []),
        ("subtract", SubtractControlLabeld()),
        ("average", AverageRepeatsByPldd()),
        ("mask", BrainMaskd(settings.mask)),
        ("M0", NormalizeByM0d()),
        ("stack", StackAslChannelsd(stated=settings.stated)),
    ]


def _regions(plan: ScanPlan, item: dict[Any, Any], grid: Grid) -> dict[str, NDArray[np.bool_]]:
    def tissue(role: str) -> NDArray[np.float32] | None:
        if role not in plan.inputs:
            return None
        images, own = read_series(plan.inputs[role])
        return resample(images[0], own, grid, order=1, fill=0.0)

    return tissue_regions(item["mask"].numpy()[0].astype(bool), tissue("GM"), tissue("WM"))


def _record(
    plan: ScanPlan, chosen: Chosen, item: dict[Any, Any], regions: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    estimate = item["estimate"]
    table = region_table(estimate, regions)
    keys = [KEYS[kind] for kind in plan.group.files]
    averaged = [item[f"{key}_averaged"] for key in keys]
    return {
        "inputs": {role: str(path) for role, path in plan.inputs.items()},
        "request": plan.request,
        "files": {name: plan.paths.file(name).name for name in map_files(estimate)},
        "units": UNITS,
        "method": _method(chosen, estimate),
        "protocol": item["protocol"].as_dict(),
        "channels": list(item["protocol"].labels),
        "repeats": [count for one in averaged for count in one.counts],
        "physics": item["physics"].as_dict(),
        "slice_times_ms": list(item["slice_times"].times_ms),
        "noise": {
            "source": estimate.sigma_source,
            "sigma_over_m0": None if estimate.sigma is None else estimate.sigma,
        },
        "m0": [_m0_facts(item, key) for key in keys],
        "mask": {"source": item["mask_source"], "n_voxels": int(item["mask"].sum())},
        "motion_mm": _motion(item, keys),
        "regions": table,
        "gm_wm_ratio": grey_white_ratio(table),
        "agreement_with_fit": {} if chosen.estimator is None else _agreement(item),
        "warnings": [*item.get("notes", []), *chosen.notes, *warnings_of(item, table)],
    }


def _method(chosen: Chosen, estimate: Estimate) -> str:
    if estimate.maps.att is None:
        return "white paper, single delay"
    return chosen.name if estimate.abv is None else f"{chosen.name} with arterial blood"


def _agreement(item: dict[Any, Any]) -> dict[str, dict[str, float]]:
    """How far the network's maps are from the fit's, over the voxels that have both."""
    estimate = item["estimate"]
    answered = item["mask"].numpy()[0].astype(bool) & np.isfinite(item["dm"].numpy()).all(axis=0)
    if answered.sum() < _FEWEST_COMPARED:
        return {}
    return {
        "cbf_ml_100g_min": in_vivo_agreement(estimate.maps.cbf, estimate.fit.cbf, answered),
        "att_ms": in_vivo_agreement(estimate.maps.att, estimate.fit.att, answered),
    }


def _m0_facts(item: dict[Any, Any], key: str) -> dict[str, Any]:
    m0 = item[f"{key}_m0"]
    return {
        "source": m0.source,
        "tr_ms": m0.tr_ms,
        "recovery": round(m0.recovery, 5),
        "n_floored": item[f"{key}_floored"],
    }


def _motion(item: dict[Any, Any], keys: list[str]) -> dict[str, Any]:
    return {key: item[f"{key}_displacement_mm"] for key in keys if f"{key}_displacement_mm" in item}


def _illustrate(staged: AslPaths, item: dict[Any, Any], record: dict[str, Any], grid: Grid) -> None:
    key = next(key for key in KEYS.values() if f"{key}_divisor" in item)
    mask = item["mask"].numpy()[0].astype(bool)
    figure = draw_maps(
        item["estimate"], item[f"{key}_divisor"], mask, grid, f"{staged.stem}, {record['method']}"
    )
    save_picture(figure, staged.picture)
    write_page(staged, record)

"""The verb `asl quantify` in Python: scans of one head in, maps, record, picture and page out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.fitting.fit import FitSettings
from revoxel.asl.quantification.findings import grey_white_ratio, region_table, tissue_regions, warnings_of
from revoxel.asl.quantification.map_transforms import FitAsld, SaveAslMapsd, StackAslChannelsd
from revoxel.asl.quantification.methods import Chosen, MethodChoice, choose
from revoxel.asl.quantification.outputs import UNITS, AslPaths, map_files
from revoxel.asl.quantification.picture import draw_maps, save_picture
from revoxel.asl.quantification.report import write_page
from revoxel.asl.scans.bids import ScanGroup, find_asl_files, find_m0, find_tissue, group_scans
from revoxel.asl.scans.images import image_shape, read_series
from revoxel.asl.scans.metadata import describe
from revoxel.asl.scans.series import AslSeries, M0Type
from revoxel.asl.scans.stated import Stated
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
from revoxel.core.provenance import read_sidecar, sha256_of, write_sidecar
from revoxel.core.staging import all_or_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid

    Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class QuantifySettings:
    """How to quantify.

    Args:
        stated: What the user knows better than the sidecars.
        mask: Brain mask file; found on M0 if not given.
        grey: Probability map of grey matter, aligned with the scan.
        white: Probability map of white matter.
        realign: Whether to correct motion.
        fit: Of the fit.
        method: The fit, or a network.
        overwrite: Replace results that exist.
    """

    stated: Stated = field(default_factory=Stated)
    mask: Path | None = None
    grey: Path | None = None
    white: Path | None = None
    realign: bool = False
    fit: FitSettings = field(default_factory=FitSettings)
    method: MethodChoice = field(default_factory=MethodChoice)
    overwrite: bool = False


@dataclass(frozen=True)
class ScanPlan:
    """A scan whose metadata were found to be usable.

    Args:
        group: Its files.
        series: What they are, in the order of `group`.
        inputs: Every file that will be read, by role.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        done: Whether the same results exist already.
    """

    group: ScanGroup
    series: tuple[AslSeries, ...]
    inputs: dict[str, Path]
    paths: AslPaths
    request: dict[str, Any]
    done: bool = False


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


def find_groups(inputs: Iterable[Path], stated: Stated | None = None) -> list[ScanGroup]:
    """Scans below BIDS folders, or files, joined where they belong together.

    Args:
        inputs: Folders and files.
        stated: What the user states about them.

    Returns:
        Groups to be quantified one by one.

    Raises:
        FileNotFoundError: If an input does not exist.
        ValueError: If a folder holds no scan, names clash, or facts about one scan are stated for several.
    """
    files: list[Path] = []
    for path in inputs:
        if not path.exists():
            msg = f"{path} must be an existing BIDS folder or ASL file, got nothing there; check the path."
            raise FileNotFoundError(msg)
        files += find_asl_files(path) if path.is_dir() else [path]
    known = stated or Stated()
    groups = group_scans(dict.fromkeys(files), known.labelling)
    if known.describes_one_scan and len(files) > 1:
        msg = (
            f"delays, durations and labelling can be stated for one scan, got {len(files)}; write them into "
            "the sidecars, or quantify the scans one by one."
        )
        raise ValueError(msg)
    return groups


def plan_scan(group: ScanGroup, out: Path, settings: QuantifySettings) -> ScanPlan:
    """Check everything about a scan that can be known before its images are read.

    Args:
        group: Files of the scan.
        out: Output folder.
        settings: How to quantify.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If other results exist.
        ValueError: If metadata are wrong; the message names the field and what to do.
    """
    stated = settings.stated
    series = tuple(describe(path, image_shape(path, stated.echo), stated) for path in group.files.values())
    inputs = _inputs(group, series, settings)
    paths = AslPaths(out, group.stem)
    if any(out.resolve() == file.resolve().parent for file in group.files.values()):
        msg = f"the output folder must not be that of the scan, got {out}; choose another with -o."
        raise ValueError(msg)
    request = {
        "stated": _as_json(asdict(stated)),
        "realign": settings.realign,
        "fit": asdict(settings.fit),
        "method": settings.method.method,
        "sha256": {role: sha256_of(path) for role, path in inputs.items()},
    }
    return ScanPlan(group, series, inputs, paths, request, _done(paths, request, settings))


def _inputs(group: ScanGroup, series: tuple[AslSeries, ...], settings: QuantifySettings) -> dict[str, Path]:
    inputs = {kind.value: path for kind, path in group.files.items()}
    for (kind, path), one in zip(group.files.items(), series, strict=True):
        if one.m0_type is M0Type.SEPARATE:
            inputs[f"M0 of {kind}"] = find_m0(path)
    first = next(iter(group.files.values()))
    optional = {
        "M0": settings.stated.m0 if isinstance(settings.stated.m0, Path) else None,
        "mask": settings.mask,
        "GM": settings.grey or find_tissue(first, "GM"),
        "WM": settings.white or find_tissue(first, "WM"),
    }
    inputs |= {role: path for role, path in optional.items() if path is not None}
    for role, path in inputs.items():
        if not path.is_file():
            msg = f"{path} ({role}) must be an existing file, got nothing there; check the path."
            raise FileNotFoundError(msg)
    weights = [path for files in settings.method.candidates() for path in files]
    networks = enumerate(weights, start=1)
    return inputs | {f"network {number}": path for number, path in networks}


def _done(paths: AslPaths, request: dict[str, Any], settings: QuantifySettings) -> bool:
    """Whether these very results exist; an error if others do."""
    existing = [] if settings.overwrite else paths.existing()
    if not existing:
        return False
    if paths.record in existing and read_sidecar(paths.record).get("request") == _as_json(request):
        return True
    msg = (
        f"{existing[0]} exists already and was made from other files or settings; pass --overwrite to "
        "replace it, or choose another folder."
    )
    raise FileExistsError(msg)


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
        "request": _as_json(plan.request),
        "files": {name: plan.paths.file(name).name for name in map_files(estimate)},
        "units": UNITS,
        "method": chosen.name if estimate.maps.att is not None else "white paper, single delay",
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
        "warnings": [*item.get("notes", []), *chosen.notes, *warnings_of(item, table)],
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


def _as_json(request: dict[str, Any]) -> Any:
    return json.loads(json.dumps(request, default=str))

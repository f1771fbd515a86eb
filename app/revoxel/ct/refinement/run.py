"""The verb `ct refine` in Python: coarse CT in; fine CT, what was added, record, picture and page out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.done_before import size_of
from revoxel.core.meta_images import grid_of
from revoxel.core.provenance import write_sidecar
from revoxel.core.staging import all_or_nothing
from revoxel.core.volumes import write_volume
from revoxel.ct.refinement.findings import coarse_facts, result_facts, warnings_of
from revoxel.ct.refinement.methods import Chosen, Given, choose
from revoxel.ct.refinement.outputs import DERIVED, SPREAD, CtPaths
from revoxel.ct.refinement.page import write_page
from revoxel.ct.refinement.picture import CtPicture, draw_ct, save_picture
from revoxel.ct.refinement.spread import model_spread, single_answers
from revoxel.ct.refinement.steps import Result
from revoxel.ct.refinement.truth import Truth, compare, read_truth
from revoxel.ct.refinement.views import explained, read_views
from revoxel.ct.scans.dicom_series import write_dicom_series
from revoxel.ct.scans.grids import upscaled
from revoxel.ct.scans.results import write_hu
from revoxel.ct.scans.transforms import CheckCTd, LoadCTd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.ct.refinement.planning import RefinePlan, RefineSettings

    Progress = Callable[[str, float], None]

_COARSE = "coarse"


@dataclass(frozen=True, eq=False)
class Refined:
    """What refining a scan gives.

    Args:
        result: The volumes.
        grid: Of the refined volume, RAS.
        paths: Files written.
        record: Content of the JSON.
    """

    result: Result
    grid: Grid
    paths: CtPaths
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Work:
    """All that outputs are made of."""

    coarse_hu: NDArray[np.float32]
    grid: Grid
    result: Result
    truth: Truth | None
    title: str
    spread: NDArray[np.float32] | None = None
    reference_series: Path | None = None


def refine(plan: RefinePlan, settings: RefineSettings, progress: Progress | None = None) -> Refined:
    """Refine a scan and write every result, or none.

    Args:
        plan: From `plan_refinement`.
        settings: The same settings.
        progress: Called with the name of a stage and its share done.

    Returns:
        Volumes and record.

    Raises:
        ValueError: If the scan cannot be used.
        OSError: If a file cannot be written; nothing is left behind.
    """
    start = time.perf_counter()
    report = progress or (lambda _stage, _share: None)
    report("load", 0.0)
    chosen = choose(settings.choice)
    image = read_coarse(plan, settings)
    coarse_hu, coarse_grid = np.asarray(image[0], dtype=np.float32), grid_of(image)
    grid = upscaled(coarse_grid, chosen.factor)
    truth = read_truth(plan.inputs["truth"], grid, chosen.factor) if "truth" in plan.inputs else None
    views = None if plan.views is None else read_views(plan.views, coarse_hu, coarse_grid)
    report("load", 1.0)
    report("refine", 0.0)
    given = Given(coarse_hu, coarse_grid, views, settings.memory_gb, lambda share: report("refine", share))
    spread_step = single_answers(chosen, given) if settings.spread else None
    result = chosen.make(given)
    report("refine", 1.0)
    spread = None
    if spread_step is not None:
        spread = model_spread(spread_step, given, lambda share: report("spread", share))
    record = _record(plan, chosen, coarse_facts(image, chosen), result_facts(result, grid))
    if views is not None:
        record["views"] = {
            **views.facts,
            "reprojection_coarse": explained(views, coarse_hu, coarse_grid),
            "reprojection_refined": explained(views, result.refined, grid),
        }
    if truth is not None:
        record["truth"] = compare(result.refined, truth, coarse_hu, grid)
    record["warnings"] = warnings_of(record, [*image.meta["notes"], *(views.notes if views else ())])
    record["seconds"] = round(time.perf_counter() - start, 2)
    report("save", 0.0)
    title = f"{plan.paths.stem}, {chosen.name}"
    reference = plan.scan if plan.scan.is_dir() else None
    work = _Work(coarse_hu, grid, result, truth, title, spread, reference)
    _save(plan.paths, work, record, dicom_out=settings.dicom_out)
    report("save", 1.0)
    return Refined(result, grid, plan.paths, record)


def read_coarse(plan: RefinePlan, settings: RefineSettings) -> Any:
    """Read and check the scan.

    Args:
        plan: Names the scan.
        settings: Whether it may be without air.

    Returns:
        `(1, x, y, z)` in HU, RAS, with its affine.

    Raises:
        ValueError: If it is no CT in HU.
    """
    # Not composed: MONAI's Compose turns every error into one that names the transform alone.
    item: Any = CheckCTd(_COARSE, allow_no_air=settings.allow_no_air)(LoadCTd(_COARSE)({_COARSE: plan.scan}))
    return item[_COARSE]


def _record(
    plan: RefinePlan, chosen: Chosen, coarse: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    return {
        "inputs": {role: str(path) for role, path in plan.inputs.items()},
        "request": plan.request,
        "units": "HU",
        "method": chosen.name,
        "model": dict(chosen.facts),
        "factor": chosen.factor,
        "coarse": coarse,
        **result,
    }


def _save(paths: CtPaths, work: _Work, record: dict[str, Any], *, dicom_out: bool) -> None:
    with all_or_nothing(paths.folder, paths.record.name, paths.existing()) as folder:
        staged = CtPaths(folder, paths.stem)
        write_hu(staged.refined, work.result.refined, work.grid, description=DERIVED)
        write_hu(
            staged.added_detail, work.result.added_detail, work.grid, description=f"added detail; {DERIVED}"
        )
        if work.spread is not None:
            write_volume(staged.model_spread, work.spread, work.grid, description=SPREAD)
        if dicom_out:
            write_dicom_series(work.result.refined, work.grid.affine, work.reference_series, staged.dicom)
        save_picture(draw_ct(_picture(work)), staged.picture)
        write_page(staged, record)
        record["files"] = [path.name for path in staged.existing()]
        record["n_bytes"] = {path.name: size_of(path) for path in staged.existing()}
        write_sidecar(staged.record, record)


def _picture(work: _Work) -> CtPicture:
    volumes: dict[str, NDArray[Any]] = {
        "coarse, as given": work.coarse_hu,
        "refined": work.result.refined,
    }
    differences: dict[str, NDArray[Any]] = {"added detail": work.result.added_detail}
    if work.truth is not None:
        volumes["truth"] = work.truth.hu
        differences["refined - truth"] = work.result.refined - work.truth.hu
    return CtPicture(volumes, differences, work.grid, work.title)

"""The verb `semivae traverse` in Python: a visit in; sweeps as NIfTI, PNG, GIF and record out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.done_before import size_of
from revoxel.core.geometry import Grid
from revoxel.core.provenance import write_sidecar
from revoxel.core.pulses import Pulse
from revoxel.core.staging import all_or_nothing
from revoxel.core.volumes import RESEARCH_USE, write_volume
from revoxel.semivae.diagnosis.encoding import frozen
from revoxel.semivae.scans.cube import cube_of
from revoxel.semivae.traversal.directions import directions
from revoxel.semivae.traversal.picture import animate_sweeps, draw_sweeps
from revoxel.semivae.traversal.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.scans.cube import ScanCube
    from revoxel.semivae.traversal.planning import TraversePlan
    from revoxel.semivae.traversal.sweep import Sweep

    Progress = Callable[[str, float], None]


def traverse(plan: TraversePlan, model: SemiVaeModel, report: Progress) -> dict[str, Any]:
    """Walk from a visit in every direction and write every result, or none.

    Args:
        plan: Of `plan_traversal`.
        model: The network of the plan's weights.
        report: Called with a stage's name and its share done.

    Returns:
        Content of the record.

    Raises:
        ValueError: If the images cannot be used, or a feature is unknown.
        OSError: If a file cannot be written; nothing is left behind.
    """
    settings = plan.settings
    cube = cube_of(plan.visit.images, plan.visit.label, model.grid)
    with frozen(model.network) as device:
        mean, _ = model.network.encode(cube.image[None].to(device), cube.available[None].to(device))
    mu = mean[0].double().cpu().numpy()
    ways = directions(model, mu, settings.features, settings.n_residual)
    sweeps = []
    for count, way in enumerate(ways, start=1):
        sweeps.append(sweep(model, mu, way, settings.steps_sd))
        report("decode", count / len(ways))
    record = {
        "scan": plan.visit.name,
        "request": plan.request,
        "model": model.facts(),
        "mu": mu,
        "affine": cube.affine,
        "directions": {one.direction.name: one.described(model) for one in sweeps},
    }
    report("write", 0.0)
    _save(plan, model, cube, sweeps, record)
    report("write", 1.0)
    return record


def _save(
    plan: TraversePlan, model: SemiVaeModel, cube: ScanCube, sweeps: Sequence[Sweep], record: dict[str, Any]
) -> None:
    paths, settings = plan.paths, plan.settings
    with all_or_nothing(paths.folder, paths.record.name, paths.existing()) as folder:
        for one in sweeps:
            _write_volumes(plan, cube, one, folder)
        shown, voxel = settings.pulses[0], _middle(cube)
        draw_sweeps(sweeps, model, shown, voxel, folder / paths.picture.name)
        animate_sweeps(sweeps, shown, voxel, folder / paths.film.name)
        record["n_bytes"] = {path.name: size_of(path) for path in sorted(folder.iterdir())}
        write_sidecar(folder / paths.record.name, record)


def _write_volumes(plan: TraversePlan, cube: ScanCube, one: Sweep, folder: Path) -> None:
    grid = Grid(one.images.shape[2:], cube.affine)
    description = f"{one.direction.name} {one.steps_sd[0]:+g}..{one.steps_sd[-1]:+g} sd; {RESEARCH_USE}"
    for pulse in plan.settings.pulses:
        volumes = np.moveaxis(one.images[:, list(Pulse).index(pulse)], 0, -1)
        name = plan.paths.volume(one.direction.name, pulse).name
        write_volume(folder / name, volumes, grid, description=description)


def _middle(cube: ScanCube) -> tuple[int, int, int]:
    """Middle of the tumour if a label map tells it, else of the brain."""
    weights = cube.brain.numpy() if cube.tumour is None else cube.tumour.numpy()
    if not weights.any():
        weights = np.ones_like(weights)
    places = np.indices(weights.shape).reshape(3, -1)
    i, j, k = np.rint(np.average(places, axis=1, weights=weights.ravel())).astype(int).tolist()
    return i, j, k

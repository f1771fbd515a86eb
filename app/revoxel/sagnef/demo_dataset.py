"""A tiny training set for a fresh clone: deformed pieces of the packaged brain, slices, cheap experts.

It makes the documented training line run in about a minute; what such a gate learns means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from revoxel.core.manifest import Case, Manifest, ProfileRecord, save_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import Volume, write_volume
from revoxel.experts.bspline import bspline
from revoxel.experts.learned import RECIPES, super_resolve_learned
from revoxel.experts.names import Expert
from revoxel.experts.prepare import Prepared, prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate
from revoxel.experts.unires import unires
from revoxel.experts.warm_start import load_warm_start
from revoxel.sagnef.demo import SEPARATION_MM, SLICE_AXIS, crop, template_brain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MANIFEST_NAME = "kfolds_manifest.json"
_PROFILE = SliceProfile.gauss(SEPARATION_MM)
_DEFORMATION_VOXELS = 4.0
_DEFORMATION_SCALE_VOXELS = 12.0


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """Size of the training set.

    Args:
        n_patients: Synthetic patients, at least 3 so that every fold has one to train on.
        shape: Voxels per volume.
        n_steps: Tuning steps of the learned experts.
        seed: Seed of the deformations.
        overwrite: Replace files that exist.
    """

    n_patients: int = 4
    shape: tuple[int, int, int] = (80, 80, 60)
    n_steps: int = 40
    seed: int = 0
    overwrite: bool = False


def write_dataset(
    folder: Path,
    settings: DatasetSettings,
    *,
    progress: Callable[[str, float], None] | None = None,
    template: Volume | None = None,
) -> Path:
    """Write volumes, slices, expert files and the manifest.

    Args:
        folder: Where they go.
        settings: Size.
        progress: Called with the name of a stage and its share done.
        template: Another brain than the packaged one.

    Returns:
        The manifest.

    Raises:
        ValueError: If there are fewer than 3 patients.
        FileExistsError: If files exist and `overwrite` is off.
        OSError: If a file cannot be written.
    """
    manifest_path = folder / MANIFEST_NAME
    if manifest_path.exists() and not settings.overwrite:
        msg = f"{manifest_path} exists already; pass --overwrite to replace it, or choose another folder."
        raise FileExistsError(msg)
    template = template or template_brain()
    cases = []
    for number in range(settings.n_patients):
        truth = _patient(template, settings, np.random.default_rng([settings.seed, number]))
        cases.append(_write_case(folder, f"demo-{number + 1:03d}", truth, settings))
        if progress:
            progress("patients", (number + 1) / settings.n_patients)
    manifest = Manifest(seed=settings.seed, experts=list(Expert), cases=cases)
    return save_manifest(manifest.with_folds(settings.n_patients), manifest_path)


def _patient(template: Volume, settings: DatasetSettings, rng: np.random.Generator) -> Volume:
    """A piece of the template, bent and with another contrast."""
    room = np.array(template.grid.shape) - np.array(settings.shape)
    first = (room * rng.uniform(0.3, 0.7, size=3)).astype(int)
    piece = crop(template, first, first + np.array(settings.shape))
    bend = [_smooth_noise(piece.data.shape, rng) for _ in range(3)]
    places = [axis + shift for axis, shift in zip(np.indices(piece.data.shape), bend, strict=True)]
    bent = ndimage.map_coordinates(piece.data, places, order=1, mode="nearest")
    contrast = (bent / max(float(bent.max()), 1.0)) ** rng.uniform(0.8, 1.25)
    return Volume((contrast * 1000.0).astype(np.float32), piece.grid)


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), _DEFORMATION_SCALE_VOXELS)
    return noise * (_DEFORMATION_VOXELS / np.abs(noise).max())


def _write_case(folder: Path, subject: str, truth: Volume, settings: DatasetSettings) -> Case:
    low = simulate(truth, profile=_PROFILE, separation_mm=SEPARATION_MM, axis=SLICE_AXIS)
    prepared = prepare(low, _PROFILE)
    files = {"hr": f"{subject}-t1n.nii.gz", "lr": f"{subject}-t1n_LR.nii.gz"}
    write_volume(folder / files["hr"], truth.data, truth.grid, overwrite=settings.overwrite)
    write_volume(folder / files["lr"], low.data, low.grid, overwrite=settings.overwrite)
    experts = {}
    for expert in Expert:
        experts[expert.value] = f"{subject}-t1n_LR_SR-{expert}.nii.gz"
        volume = _cheap_expert(expert, prepared, settings)
        write_volume(folder / experts[expert.value], volume, prepared.high_grid, overwrite=settings.overwrite)
    return Case.model_validate(
        {
            "subject": subject,
            "patient": subject.removeprefix("demo-"),
            "pulse": Pulse.t1n,
            "spacing": Spacing.mm5,
            "separation_mm": SEPARATION_MM,
            "axis": SLICE_AXIS,
            "profile": ProfileRecord(label=_PROFILE.label, std_mm=_PROFILE.std_mm),
            "experts": experts,
            **files,
        }
    )


def _cheap_expert(expert: Expert, prepared: Prepared, settings: DatasetSettings) -> NDArray[np.float32]:
    problem = prepared.problem
    if expert is Expert.BSPLINE:
        return prepared.restore(bspline(problem))
    if expert is Expert.UNIRES:
        return prepared.restore(unires(problem))
    recipe = replace(RECIPES[expert], n_steps_warm=settings.n_steps, n_steps_cold=settings.n_steps)
    warm = load_warm_start(expert, problem.ratio)
    return prepared.restore(super_resolve_learned(problem, recipe, warm, seed=settings.seed).volume)

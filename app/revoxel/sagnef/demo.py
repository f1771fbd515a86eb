"""A first look without any data: simulate thick slices of a packaged brain, super-resolve and score them.

The brain is the MNI152 average of many heads, smoother than any person's: it shows that everything runs and
what comes out, and is no evidence of quality.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.geometry import Grid, resample
from revoxel.core.metrics import dilated_mask, score
from revoxel.core.report import Panel, PanelKind, SliceFigure, save_figure
from revoxel.core.volumes import Volume, atomic_path, write_volume
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import run_experts
from revoxel.experts.simulate import simulate
from revoxel.sagnef.outputs import weights_panel
from revoxel.sagnef.pipeline import superresolve
from revoxel.sagnef.planning import SuperresolveSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from revoxel.sagnef.outputs import Result
    from revoxel.sagnef.pipeline import Runner

    Metrics = dict[str, dict[str, float]]

SEPARATION_MM = 5.0
SLICE_AXIS = 2
PROFILES = ("gauss:5", "rect:5")
NO_EVIDENCE = "MNI152 is an average brain, smoother than any person's: this shows that all runs, no quality."
_MARGIN_VOXELS = 8
_INTENSITY = 1000.0


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo gives.

    Args:
        metrics: Per profile, per method: `psnr_db`, `ssim`, `rmse` in the dilated brain mask.
        results: Per profile: volume, weights, paths and record.
        figure: The picture.
        folder: Where everything lies.
    """

    metrics: dict[str, Metrics]
    results: dict[str, Result]
    figure: Path
    folder: Path


def template_brain() -> Volume:
    """The MNI152 T1 template that nilearn packages, skull-stripped, 1 mm, cropped; no download."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    whole = Volume((image.get_fdata() * _INTENSITY).astype(np.float32), Grid(image.shape, image.affine))
    occupied = np.argwhere(whole.data > 0)
    first = np.maximum(occupied.min(axis=0) - _MARGIN_VOXELS, 0)
    last = np.minimum(occupied.max(axis=0) + 1 + _MARGIN_VOXELS, whole.data.shape)
    return crop(whole, first, last)


def crop(volume: Volume, first: NDArray[np.integer[Any]], last: NDArray[np.integer[Any]]) -> Volume:
    """A box of a volume, where it was in the world.

    Args:
        volume: The volume.
        first: First voxel of the box.
        last: First voxel beyond it.
    """
    box = tuple(slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.world(first)
    data = np.ascontiguousarray(volume.data[box])
    return Volume(data, Grid(data.shape, affine))


def run_demo(
    out_dir: Path,
    settings: SuperresolveSettings,
    *,
    progress: Callable[[str, float], None] | None = None,
    truth: Volume | None = None,
    run: Runner = run_experts,
) -> DemoResult:
    """Simulate, super-resolve and score, once per slice profile; the profile is estimated each time.

    Args:
        out_dir: Where everything goes.
        settings: Choices of the main job; the pulse is t1n.
        progress: Called with the name of a stage and its share done.
        truth: Another brain than the packaged one.
        run: What makes the experts' volumes.

    Returns:
        Metrics, results and the picture.

    Raises:
        FileExistsError: If results exist and `overwrite` is off.
        OSError: If a result cannot be written.
    """
    truth = truth or template_brain()
    write_volume(out_dir / "mni152_truth.nii.gz", truth.data, truth.grid, overwrite=settings.overwrite)
    metrics: dict[str, Metrics] = {}
    results: dict[str, Result] = {}
    for label in PROFILES:
        profile = SliceProfile.parse(label)
        low = simulate(truth, profile=profile, separation_mm=SEPARATION_MM, axis=SLICE_AXIS)
        path = out_dir / f"mni152_{profile.kind}_t1n.nii.gz"
        write_volume(path, low.data, low.grid, overwrite=settings.overwrite)
        results[label] = superresolve(path, out_dir, settings, progress=_staged(progress, label), run=run)
        metrics[label] = score_result(results[label], truth)
    _write_metrics(out_dir / "metrics.json", metrics[PROFILES[0]], overwrite=settings.overwrite)
    _write_metrics(out_dir / "metrics_rect.json", metrics[PROFILES[1]], overwrite=settings.overwrite)
    figure = demo_figure(results[PROFILES[0]], truth)
    save_figure(figure, out_dir / "demo.png", overwrite=settings.overwrite)
    return DemoResult(metrics, results, out_dir / "demo.png", out_dir)


def score_result(result: Result, truth: Volume) -> Metrics:
    """PSNR, SSIM and RMSE of B-spline, every expert, their mean and the fusion.

    Region: the brain (truth above zero) dilated by the slice separation. Range: 99.9th percentile of the
    truth in it.

    Args:
        result: Of the main job; its grid starts at the truth's first voxel and may end later.
        truth: The volume that the slices were simulated from.
    """
    mask = dilated_mask(truth.data > 0, math.ceil(SEPARATION_MM))
    methods = {expert.value.lower(): volume for expert, volume in result.stack.experts.items()}
    methods["mean"] = np.mean(list(methods.values()), axis=0)
    methods["fused"] = result.fused.volume
    order = ("bspline", "unires", "smore", "eclare", "mean", "fused")
    scores = {name: score(_on_truth(methods[name], truth), truth.data, mask) for name in order}
    return {
        name: {"psnr_db": round(one.psnr_db, 4), "ssim": round(one.ssim, 5), "rmse": round(one.rmse, 4)}
        for name, one in scores.items()
    }


def demo_figure(result: Result, truth: Volume) -> SliceFigure:
    """LR | B-spline | fused | truth | error | weights, orthogonal slices.

    Args:
        result: Of the main job.
        truth: The volume that the slices were simulated from.
    """
    stack = result.stack
    reference = resample(truth.data, truth.grid, stack.grid, order=0)
    low = simulate(
        truth, profile=SliceProfile.parse(PROFILES[0]), separation_mm=SEPARATION_MM, axis=SLICE_AXIS
    )
    panels = (
        Panel("thick slices (LR)", resample(low.data, low.grid, stack.grid, order=0)),
        Panel("B-spline", stack.low_on_high),
        Panel("fused", result.fused.volume),
        Panel("truth", reference),
        Panel("fused - truth", result.fused.volume - reference, PanelKind.ERROR),
        weights_panel(result.fused, stack),
    )
    title = f"5 mm slices ({PROFILES[0]}), estimated FWHM {result.record['profile']['fwhm_mm']:.2f} mm"
    return SliceFigure(panels, stack.grid, title, NO_EVIDENCE)


def _on_truth(volume: NDArray[np.float32], truth: Volume) -> NDArray[np.float32]:
    """Cut what the last slice covers beyond the truth; the first edges coincide."""
    i, j, k = truth.grid.shape
    return volume[:i, :j, :k]


def _staged(progress: Callable[[str, float], None] | None, label: str) -> Callable[[str, float], None] | None:
    if progress is None:
        return None
    report = progress
    return lambda stage, share: report(f"{label} {stage}", share)


def _write_metrics(path: Path, metrics: Metrics, *, overwrite: bool) -> None:
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

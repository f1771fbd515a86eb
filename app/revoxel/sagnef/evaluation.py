"""What follows the gate in the bundles: mix the stitched channels, restore the axes, score, report."""

from __future__ import annotations

import json
import logging
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data.meta_tensor import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import MapTransform, Transform
from scipy import ndimage

from revoxel import __version__
from revoxel.core.hann_inferer import HannSlidingWindowInferer
from revoxel.sagnef.baselines import Baseline, best_row, mixture_volumes, oracle_volumes
from revoxel.sagnef.regions import margin_voxels, scored_regions

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from ignite.engine import Engine

    from revoxel.core.metrics import Scores

logger = logging.getLogger(__name__)


def window_inferer(
    window: Sequence[int], stride: Sequence[int], mode: str = "hann", windows_per_batch: int = 4
) -> SlidingWindowInferer:
    """Sliding-window inferer of a bundle.

    Args:
        window: sides of the window in voxels.
        stride: distance between windows in voxels, per axis.
        mode: how overlapping windows are blended: "hann", "gaussian" or "constant".
        windows_per_batch: windows that run at once.

    Returns:
        The inferer.

    Raises:
        ValueError: If the mode is unknown or the stride exceeds the window.
    """
    if mode not in {"hann", "gaussian", "constant"}:
        msg = f"patch mode must be hann, gaussian or constant, got {mode!r}; correct the configuration."
        raise ValueError(msg)
    if any(not 0 < step <= side for step, side in zip(stride, window, strict=True)):
        msg = f"stride must be between 1 and the window {list(window)}, got {list(stride)}; correct it."
        raise ValueError(msg)
    overlap = tuple(1 - step / side for step, side in zip(stride, window, strict=True))
    shared: dict[str, Any] = {"sw_batch_size": windows_per_batch, "overlap": overlap, "progress": True}
    if mode == "hann":
        return HannSlidingWindowInferer(window, **shared)
    return SlidingWindowInferer(tuple(window), mode=mode, padding_mode="replicate", **shared)


class MixPredictiond(Transform):
    """Turn the stitched channels of `SagnefBundleNet` into `fused` and `weights` in the axes of the file.

    Both take over the affine of the experts, `fused` also their intensity map, so that `Invertd` can undo it.

    Args:
        n_experts: number of experts, the last channels of `image`.
        key: stitched prediction `(1 + n_experts [+ 1], x, y, z)`, slice axis last.
    """

    def __init__(self, n_experts: int, key: str = "pred") -> None:
        self.n_experts = n_experts
        self.key = key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mix and restore the axes.

        Args:
            data: item with the prediction, `image`, `experts` and `axis`.

        Returns:
            The item with `fused` and `weights`.
        """
        prediction = torch.as_tensor(data[self.key]).float()
        experts = torch.as_tensor(data["image"])[-self.n_experts :].to(prediction)
        weights = prediction[1 : 1 + self.n_experts]
        residual = prediction[1 + self.n_experts :].sum(dim=0, keepdim=True)
        fused = (weights * experts).sum(dim=0, keepdim=True) + residual
        reference, last = data["experts"], 1 + int(data["axis"])
        trace = {"affine": reference.affine, "applied_operations": reference.applied_operations}
        return {
            **data,
            "fused": MetaTensor(fused.movedim(-1, last).cpu(), **trace),
            "weights": MetaTensor(weights.movedim(-1, last).cpu(), affine=reference.affine),
        }


class NameResultsd(MapTransform):
    """Name results `{subject}-{pulse}`, for `SaveImaged`.

    Args:
        keys: images to name.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Name the images.

        Args:
            data: item with the images, `subject` and `pulse`.

        Returns:
            The item with named images.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[key].meta["filename_or_obj"] = f"{item['subject']}-{item['pulse']}"
        return item


class ScoreFusedd(Transform):
    """Score the fused volume and its baselines against the truth, all in the units of the file.

    Rows: `fused`, every expert, and `revoxel.sagnef.baselines`; `revoxel evaluate` adds those that need more.

    Args:
        experts: names of the experts, in channel order.
        checkpoint: checkpoint of the gate, or its folder: global weights in `simplex.json` beside it are
            scored too.
    """

    def __init__(self, experts: Sequence[str], checkpoint: str | Path | None = None) -> None:
        self.experts = list(experts)
        self.simplex = _global_weights(checkpoint, self.experts)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add `scores`: region, range, PSNR, SSIM and RMSE by row.

        Args:
            data: item with `fused`, `experts`, `high`, `mask`, `separation_mm` and `axis`.

        Returns:
            The item with `scores`.
        """
        (known,) = ndimage.find_objects((np.asarray(data["mask"])[0] > 0).astype(np.uint8))
        truth = np.ascontiguousarray(np.asarray(data["high"])[0][known])
        spacing_mm = float(np.linalg.norm(np.asarray(data["experts"].affine)[:3, int(data["axis"])]))
        regions = scored_regions(truth, margin_voxels(float(data["separation_mm"]), spacing_mm))
        volumes = np.asarray(data["experts"])
        experts = {name: volumes[index][known] for index, name in enumerate(self.experts)}
        rows = chain(
            [("fused", np.asarray(data["fused"])[0][known])],
            experts.items(),
            mixture_volumes(experts, self.simplex),
            oracle_volumes(experts, truth),
        )
        scores: dict[str, dict[str, Scores]] = {region.label: {} for region in regions}
        for (row, volume), region in product(rows, regions):
            scores[region.label][row] = region.score(volume, truth)
        for values in scores.values():
            values[Baseline.ORACLE_VOLUME] = values[best_row(values, self.experts)]
        plain = {label: {row: v.as_dict() for row, v in values.items()} for label, values in scores.items()}
        return {**data, "scores": plain}


def _global_weights(checkpoint: str | Path | None, experts: Sequence[str]) -> dict[str, float] | None:
    """Weights that the training left beside a checkpoint, if it did."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    path = folder / "simplex.json"
    if not path.is_file():
        return None
    try:
        weights = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(weights[name]) for name in experts}
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} must hold one weight for each of {list(experts)}, got {error!r}; train again."
        raise ValueError(msg) from error


class TestReport:
    """Collect the scores of an evaluator's cases into one JSON file, and log the main line.

    Args:
        path: JSON file, replaced atomically at the end of the run.
        context: what the numbers were made from, such as manifest, fold and checkpoint.
    """

    __test__ = False

    def __init__(self, path: str | Path, context: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.context = dict(context)
        self._cases: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Collect from this evaluator."""
        engine.add_event_handler(Events.STARTED, lambda _: self._cases.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        for item, result in zip(engine.state.batch, engine.state.output, strict=True):
            facts = {**item, **result}
            paths = {**facts["paths"], "fused": str(facts["fused"].meta.get("saved_to", ""))}
            case = {key: facts[key] for key in ("subject", "pulse", "scores")}
            self._cases.append({**case, "paths": paths})
            for region, methods in facts["scores"].items():
                line = ", ".join(f"{name} {values['psnr_db']:.2f}" for name, values in methods.items())
                logger.info("%s %s, %s: PSNR dB %s", facts["subject"], facts["pulse"], region, line)

    def _write(self, _: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.part")
        note = "research use, not for diagnosis"
        record = {"note": note, "revoxel": __version__, "context": self.context, "cases": self._cases}
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.path)

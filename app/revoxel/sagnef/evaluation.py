"""What follows the gate in the bundles: mix the stitched channels, return to the file's axes, score, report."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Transform

from revoxel.core.intensity import foreground_mask
from revoxel.core.metrics import dilated_mask, score

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from ignite.engine import Engine
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


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
            data: item with the prediction, `image`, `experts`, `axis`, `subject` and `pulse`.

        Returns:
            The item with `fused` and `weights`.
        """
        prediction = torch.as_tensor(data[self.key]).float()
        experts = torch.as_tensor(data["image"])[-self.n_experts :].to(prediction)
        weights = prediction[1 : 1 + self.n_experts]
        residual = prediction[1 + self.n_experts :].sum(dim=0, keepdim=True)
        fused = (weights * experts).sum(dim=0, keepdim=True) + residual
        reference = data["experts"]
        meta = {"filename_or_obj": f"{data['subject']}-{data['pulse']}", "affine": reference.affine}
        axis = int(data["axis"])
        return {
            **data,
            "fused": MetaTensor(
                fused.movedim(-1, 1 + axis).cpu(),
                affine=reference.affine,
                meta=dict(meta),
                applied_operations=reference.applied_operations,
            ),
            "weights": MetaTensor(
                weights.movedim(-1, 1 + axis).cpu(), affine=reference.affine, meta=dict(meta)
            ),
        }


class ScoreFusedd(Transform):
    """Score the fused volume and its baselines against the truth, all in the units of the file.

    Args:
        experts: names of the experts, in channel order.
    """

    def __init__(self, experts: Sequence[str]) -> None:
        self.experts = list(experts)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add `scores`: region, range, PSNR, SSIM and RMSE by method.

        Args:
            data: item with `fused`, `experts`, `high`, `mask`, `separation_mm` and `axis`.

        Returns:
            The item with `scores`.
        """
        truth, known = (np.asarray(data[key])[0] for key in ("high", "mask"))
        experts = np.asarray(data["experts"])
        methods = {"fused": np.asarray(data["fused"])[0], "mean": experts.mean(axis=0)}
        methods |= {name: experts[index] for index, name in enumerate(self.experts)}
        spacing_mm = float(np.linalg.norm(np.asarray(data["experts"].affine)[:3, int(data["axis"])]))
        margin = math.ceil(float(data["separation_mm"]) / spacing_mm)
        brain = dilated_mask(foreground_mask(truth), margin) & (known > 0)
        regions: dict[str, NDArray[np.bool_]] = {
            "full volume (range: maximum)": known > 0,
            f"foreground + {margin} voxels (range: 99.9 percentile)": brain,
        }
        scores = {
            region: {name: score(volume, truth, mask).as_dict() for name, volume in methods.items()}
            for region, mask in regions.items()
        }
        return {**data, "scores": scores}


class TestReport:
    """Collect the scores of an evaluator's cases into one JSON file, and log the main line.

    Args:
        path: JSON file, replaced atomically at the end of the run.
    """

    __test__ = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._cases: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Collect from this evaluator."""
        engine.add_event_handler(Events.STARTED, lambda _: self._cases.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        for item in engine.state.batch:
            self._cases.append({key: item[key] for key in ("subject", "pulse", "scores")})
        for item in engine.state.batch:
            for region, methods in item["scores"].items():
                line = ", ".join(f"{name} {values['psnr_db']:.2f}" for name, values in methods.items())
                logger.info("%s %s, %s: PSNR dB %s", item["subject"], item["pulse"], region, line)

    def _write(self, _: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.part")
        record = {"note": "research use, not for diagnosis", "cases": self._cases}
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.path)

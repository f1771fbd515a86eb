"""The named calls of the SAGNEF bundles' training configuration."""

from __future__ import annotations

import json
import logging
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import torch

from revoxel.core.manifest import load_manifest
from revoxel.core.one_line import one_line_errors
from revoxel.core.training import check_bundle_start, load_weights
from revoxel.core.volumes import atomic_path
from revoxel.sagnef.data import fold_items
from revoxel.sagnef.simplex import StackingStatistics, fit_simplex
from revoxel.sagnef.volume_cache import MappedCases, prepare_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from revoxel.core.folds import Split
    from revoxel.sagnef.network import SAGNEF

logger = logging.getLogger(__name__)


def volumes(
    data: Sequence[dict[str, Any]],
    transform: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    cache_dir: str | Path | None = None,
    workers: int = 2,
    skip_bad_cases: bool = False,
) -> Sequence[dict[str, Any]] | MappedCases:
    """Prepare the cases of a run before anything trains: see `prepare_cases`.

    Args:
        data: items from `fold_items`.
        transform: from paths to volumes.
        cache_dir: folder that keeps the prepared volumes over runs; None keeps them in memory.
        workers: cases that are prepared at once.
        skip_bad_cases: leave out, with a warning, cases whose files cannot be used.

    Raises:
        SystemExit: With one line that names the file that cannot be used.
    """
    with one_line_errors():
        return prepare_cases(
            data, transform, cache_dir=cache_dir, workers=workers, skip_bad_cases=skip_bad_cases
        )


def check_start(  # noqa: PLR0913 - one line of a bundle's config each
    bundle_root: str | Path,
    manifest: str | Path | None,
    fold: str | None,
    *,
    experts: Sequence[str],
    spacing: str,
    splits: dict[Split, Sequence[str]],
    dataset_dir: str | None = None,
    need_truth: bool = True,
    skip_bad_cases: bool = False,
) -> None:
    """Stop with one line before anything is built if the run cannot work.

    Args:
        bundle_root: folder of the bundle.
        manifest: path of the manifest.
        fold: name of the fold; None takes every patient of the manifest.
        experts: experts of the network, in channel order.
        spacing: spacing of the cases.
        splits: pulses by split that the run reads, such as `{"train": ["t1c"]}`.
        dataset_dir: where relative paths start, instead of the manifest's root.
        need_truth: whether the cases must have `hr`.
        skip_bad_cases: whether cases with missing files are left out.

    Raises:
        SystemExit: With one line that says what is wrong and what to do.
    """
    check_bundle_start(bundle_root)
    with one_line_errors():
        _check_experts(manifest, experts)
        for split, pulses in splits.items():
            fold_items(
                manifest or "",
                fold,
                split,
                spacing=spacing,
                pulses=pulses,
                dataset_dir=dataset_dir,
                need_truth=need_truth,
                skip_bad_cases=skip_bad_cases,
            )


def _check_experts(manifest: str | Path | None, experts: Sequence[str]) -> None:
    listed = load_manifest(manifest or "").experts
    missing = [name for name in experts if name not in listed]
    if missing:
        msg = f"{manifest}: experts must hold {list(experts)}, got {listed}; make the missing ones."
        raise ValueError(msg)


def model_folder(out_root: str | Path, spacing: str, pulse: str, fold: str | None) -> str:
    """Folder of checkpoints, log and report: `{out_root}/{spacing}/model_data/{pulse}/{fold}`.

    Args:
        out_root: root of all outputs.
        spacing: spacing of the model.
        pulse: pulse of the model.
        fold: fold of the model; None, for every patient of the manifest, is called `all`.
    """
    return str(Path(out_root) / spacing / "model_data" / pulse / (fold or "all"))


def output_folder(out_root: str | Path, spacing: str) -> str:
    """Folder of fused volumes: `{out_root}/{spacing}/output_volumes`.

    Args:
        out_root: root of all outputs.
        spacing: spacing of the model.
    """
    return str(Path(out_root) / spacing / "output_volumes")


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, kind: str, epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Schedule that steps once per epoch.

    Args:
        optimizer: optimizer to steer.
        kind: "constant", "cosine" (to 1 % of the start) or "step" (a tenth after 60 and 85 % of the epochs).
        epochs: length of the run.

    Raises:
        ValueError: If the kind is unknown.
    """
    start = float(optimizer.param_groups[0]["lr"])
    if kind == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if kind == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=start / 100)
    if kind == "step":
        milestones = [round(0.6 * epochs), round(0.85 * epochs)]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=milestones, gamma=0.1)
    msg = f"schedule must be constant, cosine or step, got {kind!r}; correct the config."
    raise ValueError(msg)


def start_from_simplex(
    network: SAGNEF,
    volumes: Sequence[dict[str, Any]],
    experts: Sequence[str],
    folder: str | Path,
    enabled: bool = True,
) -> None:
    """Start the gate at the global weights that fit the training volumes best; note them in `simplex.json`.

    Args:
        network: gate before training.
        volumes: dataset of whole training volumes.
        experts: experts in channel order.
        folder: where the note goes.
        enabled: False keeps the random start.
    """
    if not enabled:
        return
    weights = fit_simplex(reduce(add, (_statistics(volumes[index]) for index in range(len(volumes)))))
    network.set_simplex_start(weights.tolist())
    record = {name: round(float(weight), 6) for name, weight in zip(experts, weights, strict=True)}
    logger.info("start at the global weights %s", record)
    if idist.get_rank() != 0:
        return
    with one_line_errors(), atomic_path(Path(folder) / "simplex.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def start_from_checkpoint(
    network: SAGNEF, path: str | Path | None, architecture: dict[str, Any], experts: Sequence[str]
) -> None:
    """Start from the weights of another gate of the same form, whatever its pulse and spacing.

    Args:
        network: gate before training.
        path: as for `load_weights`; None does nothing.
        architecture: arguments of `SAGNEF`, which must be those of the checkpoint.
        experts: experts in channel order, which must be those of the checkpoint.

    Raises:
        SystemExit: With one line, if the file is missing or made for something else.
    """
    if path is None:
        return
    load_weights(network, path, {"architecture": architecture, "experts": list(experts)})
    logger.info("start from the weights of %s", path)


def _statistics(volume: dict[str, Any]) -> StackingStatistics:
    experts, truth, mask = (volume[key].float() for key in ("experts", "high", "mask"))
    return StackingStatistics.of_volume(experts, truth[0], mask[0])

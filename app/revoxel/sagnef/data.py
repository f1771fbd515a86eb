"""Rows of a manifest as MONAI items, and patches whose randomness depends on nothing but their place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from revoxel.core.folds import Split
from revoxel.core.manifest import Case, Manifest, load_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from monai.transforms import Compose

logger = logging.getLogger(__name__)


def fold_items(  # noqa: PLR0913 - one line of a bundle's config each
    manifest: str | Path,
    fold: str | None,
    split: Split = "test",
    *,
    spacing: str,
    pulses: Sequence[str],
    dataset_dir: str | None = None,
    need_truth: bool = True,
    skip_bad_cases: bool = False,
) -> list[dict[str, Any]]:
    """Items of one split of one fold.

    Args:
        manifest: path of the manifest.
        fold: name of the fold; None takes every patient of the manifest.
        split: "train", "val" or "test".
        spacing: spacing of the cases.
        pulses: pulses of the cases; more than one mixes them.
        dataset_dir: where relative paths start, instead of the manifest's root.
        need_truth: refuse cases without `hr`, and load it.
        skip_bad_cases: leave out, with a warning, cases with missing files.

    Returns:
        One item per case: paths under the experts' names, `low` and `high`, again in `paths`; `axis`,
        `profile`, `subject`, `pulse`, `separation_mm`.

    Raises:
        ValueError: If the split is empty or a file is missing.
    """
    study = load_manifest(manifest)
    if dataset_dir:
        study = study.model_copy(update={"root": dataset_dir})
    patients = {case.patient for case in study.cases} if fold is None else getattr(study.fold(fold), split)
    cases = study.select(patients, spacing, pulses)
    if skip_bad_cases:
        cases = [case for case in cases if _is_whole(study, case, need_truth=need_truth)]
    if not cases:
        msg = (
            f"{split} cases of {fold or 'the manifest'} must not be empty, got none at {spacing} for "
            f"{list(pulses)} in {manifest}; add rows or change --train_pulses, --validation_pulses."
        )
        raise ValueError(msg)
    missing = study.missing_files(cases, need_truth=need_truth)
    if missing:
        msg = f"{manifest}: {'; '.join(missing[:3])}" + (
            f" (and {len(missing) - 3} more)" * (len(missing) > 3)
        )
        raise ValueError(msg + "; make the files (revoxel experts) or correct the manifest.")
    return [_item(study, case, need_truth=need_truth) for case in cases]


def _is_whole(study: Manifest, case: Case, *, need_truth: bool) -> bool:
    missing = study.missing_files([case], need_truth=need_truth)
    for line in missing:
        logger.warning("case left out: %s", line)
    return not missing


def _item(manifest: Manifest, case: Case, *, need_truth: bool) -> dict[str, Any]:
    paths = {"low": case.lr, **{name: case.experts[name] for name in manifest.experts}}
    if need_truth and case.hr is not None:
        paths["high"] = case.hr
    item: dict[str, Any] = {key: str(manifest.resolve(path)) for key, path in paths.items()}
    item["paths"] = dict(item)
    facts = {"subject": case.subject, "pulse": str(case.pulse), "separation_mm": case.separation_mm}
    return item | facts | {"axis": case.axis, "profile": case.planes()}


class PatchDataset(Dataset[dict[str, Any]]):
    """Random patches of cached volumes, a pure function of (seed, epoch, case, patch).

    Worker count, distribution over processes and resuming therefore never change what is trained on.

    Args:
        volumes: dataset of whole volumes, such as `monai.data.CacheDataset`.
        patch_transform: random transforms from volume to patch.
        patches_per_volume: patches per volume and epoch.
        seed: seed of every draw.
        frozen: draw the same patches in every epoch, for validation.
    """

    def __init__(
        self,
        volumes: Dataset[dict[str, Any]],
        patch_transform: Compose,
        *,
        patches_per_volume: int = 8,
        seed: int = 0,
        frozen: bool = False,
    ) -> None:
        self.volumes = volumes
        self.patch_transform = patch_transform
        self.patches_per_volume = patches_per_volume
        self.seed = seed
        self.frozen = frozen
        # Shared memory, so that loader processes that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.volumes) * self.patches_per_volume  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next patches belong to.

        Args:
            epoch: number of the epoch.
        """
        if not self.frozen:
            self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case, patch = divmod(index, self.patches_per_volume)
        epoch = int(self._epoch)
        sequence = np.random.SeedSequence([self.seed, epoch, case, patch])
        self.patch_transform.set_random_state(seed=int(sequence.generate_state(1)[0]))
        return self.patch_transform({**self.volumes[case], "epoch": epoch})


class PatchSampler(DistributedSampler[dict[str, Any]]):
    """Order of the patches in an epoch; tells the dataset the epoch, in one process or in many.

    Args:
        dataset: patches to draw.
        seed: seed of the order.
        shuffle: whether to draw a new order in every epoch.
    """

    def __init__(self, dataset: PatchDataset, seed: int = 0, *, shuffle: bool = True) -> None:
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        super().__init__(
            dataset,
            num_replicas=torch.distributed.get_world_size() if running else 1,
            rank=torch.distributed.get_rank() if running else 0,
            seed=seed,
            shuffle=shuffle,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of order and patches; MONAI's trainer calls this.

        Args:
            epoch: number of the epoch.
        """
        super().set_epoch(epoch)
        self.dataset.set_epoch(epoch)  # type: ignore[attr-defined]

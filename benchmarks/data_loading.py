"""Training data: patches per second from prepared cases against a plain MONAI dataset, and the first epoch.

    python benchmarks/data_loading.py [--quick] [--threads N] [--device cpu]

Bargain: 1 minute on 2 idle cores (--quick: 20 s). Four synthetic cases of six compressed NIfTI files, 8
patches of 48^3 per case and epoch, batches of 2, the transforms of the shipped bundles; every batch goes to
the device. "stock" is a plain `monai.data.Dataset` that loads, scales, crops, flips and turns, and takes all
8 patches of a volume from one reading of its files; in one row it does so in a process of its own. The first
epoch prepares the cases too. The limit: the bytes of the patches, read once and written once, at the highest
measured rate of a copy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.transforms import (
    Compose,
    ConcatItemsd,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropSamplesd,
    ScaleIntensityRangePercentilesd,
    SelectItemsd,
)
from pairs import compare, copying, in_turns, parser, show, timed
from rich.console import Console

from revoxel.core.bundles import bundles_root
from revoxel.core.compute import resolve_device, set_threads
from revoxel.sagnef.data import PatchDataset, PatchSampler
from revoxel.sagnef.volume_cache import prepare_cases

EXPERTS = ("BSPLINE", "ECLARE", "SMORE", "UNIRES")
N_CASES, PATCHES, SIDE_VOXELS, BATCH = 4, 8, 48, 2
N_CHANNELS = 10  # three planes, the scan, four experts, truth and mask
Item = dict[str, Any]


def write_case(folder: Path, number: int, shape: tuple[int, ...]) -> Item:
    """Six compressed files of one case, as `fold_items` lists them."""
    rng, name = np.random.default_rng(number), f"p{number}"
    centred = [np.linspace(-1, 1, side) for side in shape]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*centred, indexing="ij", sparse=True)))
    truth = np.where(radius < 0.9, 100 + 20 * rng.standard_normal(shape), 0).astype(np.float32)
    images = dict.fromkeys(("high", *EXPERTS), truth) | {"low": truth[..., 2::5]}
    item: Item = {"subject": name, "pulse": "t1c", "axis": 2, "profile": (0.42, 0.42, 1.0)}
    for key, image in images.items():
        affine = np.diag([1.0, 1.0, 5.0 if key == "low" else 1.0, 1.0])
        affine[2, 3] = 2.0 if key == "low" else 0.0
        nib.save(nib.Nifti1Image(image, affine), folder / f"{name}_{key}.nii.gz")
        item[key] = str(folder / f"{name}_{key}.nii.gz")
    return item


def bundle_transforms() -> tuple[Compose, Compose]:
    """From files to volumes, and from volumes to patches, as the shipped bundles have them."""
    config = ConfigParser()
    config.read_config(bundles_root() / "sagnef_5mm_t1c" / "configs" / "train.json")
    config["patch_size"] = [SIDE_VOXELS] * 3
    parts = ("volume_transforms", "train#patch_transforms")
    volumes, patches = (config.get_parsed_content(part) for part in parts)
    return volumes, patches


def plain_loader(items: list[Item], n_processes: int = 0) -> DataLoader:
    """What a user of MONAI would write first."""
    keys = ["high", *EXPERTS]
    random = [
        RandSpatialCropSamplesd(["experts", "high"], [SIDE_VOXELS] * 3, PATCHES, random_size=False),
        *(RandFlipd(["experts", "high"], prob=0.5, spatial_axis=axis) for axis in range(3)),
        RandRotate90d(["experts", "high"], prob=0.5),
    ]
    steps = [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        ScaleIntensityRangePercentilesd(keys, 0.5, 99.5, 0, 1),
        ConcatItemsd(EXPERTS, "experts"),
        SelectItemsd(["experts", "high"]),
        *random,
    ]
    # One volume gives eight patches, so four batches of two come as one of eight.
    return DataLoader(
        Dataset(items, Compose(steps)),
        batch_size=1,
        shuffle=True,
        num_workers=n_processes,
        persistent_workers=n_processes > 0,
    )


def cached_loader(items: list[Item], transforms: tuple[Compose, Compose], cache: Path | None) -> DataLoader:
    """The loader of a training: prepares the cases, or finds them prepared."""
    volumes = prepare_cases(items, transforms[0], cache_dir=cache)
    patches = PatchDataset(volumes, transforms[1], patches_per_volume=PATCHES)  # type: ignore[arg-type]
    return DataLoader(patches, batch_size=BATCH, sampler=PatchSampler(patches))


def drain(loader: Iterable[Mapping[str, Any]], device: torch.device) -> None:
    """One epoch that takes its patches to the device and does nothing with them."""
    for batch in loader:
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.to(device)


def ways(items: list[Item], folder: Path, device: torch.device) -> dict[str, Callable[[], None]]:
    """One epoch each; "first" starts from the files, the cached ones from prepared cases."""
    transforms = bundle_transforms()

    def first() -> None:
        drain(cached_loader(items, transforms, None), device)

    def first_to_disk() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            drain(cached_loader(items, transforms, Path(cache)), device)

    kept = {
        "plain": plain_loader(items),
        "plain, a process": plain_loader(items, 1),
        "memory": cached_loader(items, transforms, None),
        "disk": cached_loader(items, transforms, folder / "cache"),
    }
    epochs = {name: partial(drain, loader, device) for name, loader in kept.items()}
    return epochs | {"first": first, "first to disk": first_to_disk}


def main() -> None:
    """Print the rows."""
    options = parser(__doc__, gpu=True).parse_args()
    device, n_threads = resolve_device(options.device), set_threads(options.threads)
    # Below a million voxels MONAI sorts them for a percentile, which takes longer than on larger volumes.
    shape = (112, 128, 80) if options.quick else (160, 192, 144)
    n_patches = N_CASES * PATCHES
    limit = copying(4 * N_CHANNELS * SIDE_VOXELS**3 * n_patches), "copy in memory"
    with tempfile.TemporaryDirectory() as name:
        items = [write_case(Path(name), number, shape) for number in range(N_CASES)]
        turns = {way: partial(timed, run) for way, run in ways(items, Path(name), device).items()}
        seconds = in_turns(turns, 2 if options.quick else 3)
    labels = {
        "memory": "epoch from memory",
        "disk": "epoch from disk",
        "first": "first epoch, preparing included",
        "first to disk": "the same, written to disk",
    }
    rows = [
        compare(label, seconds[way], seconds["plain"], limit, processor=processor)
        for way, label in labels.items()
        for processor in (False, True)
    ]
    # Seconds of the processor would leave out the other process.
    other = "epoch from memory, stock in a process"
    rows.append(compare(other, seconds["memory"], seconds["plain, a process"], limit, processor=False))
    show(rows, f"{N_CASES} cases of {shape}, {n_patches} patches, {n_threads} threads", options.rows)
    rates = (f"{label} {n_patches / row.ours:.0f}" for label, row in (("memory", rows[0]), ("disk", rows[2])))
    Console().print(f"patches per second: plain {n_patches / rows[0].stock:.0f}, {', '.join(rates)}")


if __name__ == "__main__":
    main()

"""Training data: patches per second from prepared cases against a plain MONAI dataset, and the first epoch.

    python benchmarks/data_loading.py [--quick] [--threads N]

Bargain: 1 minute on 2 idle cores (--quick: 20 s). Four synthetic cases of six compressed NIfTI files, 8
patches of 48^3 per case and epoch, batches of 2, the transforms of the shipped bundles. "stock" is a plain
`monai.data.Dataset` that loads, scales, crops, flips and turns. The first epoch prepares the cases too.
The limit: the bytes of a batch, read once and written once, at the highest measured rate of a copy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
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

from revoxel.core.bundles import bundles_root
from revoxel.core.compute import set_threads
from revoxel.sagnef.data import PatchDataset, PatchSampler
from revoxel.sagnef.volume_cache import prepare_cases

EXPERTS = ("BSPLINE", "ECLARE", "SMORE", "UNIRES")
N_CASES, PATCHES, SIDE_VOXELS, BATCH = 4, 8, 48, 2
N_CHANNELS = 10  # three planes, the scan, four experts, truth and mask
Item = dict[str, Any]


def write_case(folder: Path, name: str, shape: tuple[int, ...]) -> Item:
    """Six compressed files of one case, as `fold_items` lists them."""
    rng = np.random.default_rng(len(name))
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


def plain_loader(items: list[Item]) -> DataLoader:
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
    return DataLoader(Dataset(items, Compose(steps)), batch_size=1, shuffle=True)


def cached_loader(items: list[Item], transforms: tuple[Compose, Compose], cache: Path | None) -> DataLoader:
    """The loader of a training: prepares the cases, or finds them prepared."""
    volumes = prepare_cases(items, transforms[0], cache_dir=cache)
    patches = PatchDataset(volumes, transforms[1], patches_per_volume=PATCHES)  # type: ignore[arg-type]
    return DataLoader(patches, batch_size=BATCH, sampler=PatchSampler(patches))


def drain(loader: Iterable[Mapping[str, Any]]) -> None:
    """One epoch that does nothing with its patches."""
    for _ in loader:
        pass


def main() -> None:
    """Print the rows."""
    options = parser(__doc__).parse_args()
    n_threads = set_threads(options.threads)
    shape = (96, 112, 80) if options.quick else (160, 192, 144)
    transforms = bundle_transforms()
    batch_bytes = 4 * N_CHANNELS * BATCH * SIDE_VOXELS**3
    limit = copying(batch_bytes * N_CASES * PATCHES / BATCH), "copy in memory"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = [write_case(folder, f"p{'x' * number}", shape) for number in range(N_CASES)]
        ways = {
            "plain": lambda: drain(plain_loader(items)),
            "first": lambda: drain(cached_loader(items, transforms, None)),
            "memory": partial(drain, cached_loader(items, transforms, None)),
            "disk": partial(drain, cached_loader(items, transforms, folder / "cache")),
        }
        turns = {way: partial(timed, run) for way, run in ways.items()}
        seconds = in_turns(turns, 2 if options.quick else 3)
    labels = {
        "first": "first epoch, preparing included",
        "memory": "epoch from memory",
        "disk": "epoch from disk",
    }
    rows = [
        compare(label, seconds[way], seconds["plain"], limit, processor=processor)
        for way, label in labels.items()
        for processor in (False, True)
    ]
    n_patches = N_CASES * PATCHES
    show(rows, f"{N_CASES} cases of {shape}, {n_patches} patches, {n_threads} threads", options.rows)


if __name__ == "__main__":
    main()

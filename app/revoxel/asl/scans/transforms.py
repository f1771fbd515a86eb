"""MONAI dictionary transforms from BIDS files to difference images in units of M0.

Keys of images: one per kind of labelling (`pcasl`, `pasl`, `vsasl`), `(volume, i, j, k)` with its affine.
Beside each lie `{key}_series` (`AslSeries`), `{key}_m0` (`M0`), later `{key}_averaged` (`Averaged`); the
whole item has `mask`. `notes` gathers what a user should know; `quantification.map_transforms` goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.transforms import MapTransform, Transform

from revoxel.asl.scans.calibration import brain_mask, divide_by_m0
from revoxel.asl.scans.images import read_series
from revoxel.asl.scans.m0 import included_m0, load_m0
from revoxel.asl.scans.metadata import describe
from revoxel.asl.scans.motion import realign
from revoxel.asl.scans.series import Labelling, M0Type, VolumeType
from revoxel.asl.scans.stated import Stated
from revoxel.asl.scans.subtraction import average_repeats, repeat_sigma, subtract
from revoxel.core.geometry import check_same_grid, resample
from revoxel.core.meta_images import grid_of, image_on

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence


Data = dict["Hashable", Any]

#: Key of the images of each kind of labelling, in the order in which channels are stacked.
KEYS = {Labelling.PCASL: "pcasl", Labelling.CASL: "pcasl", Labelling.PASL: "pasl", Labelling.VSASL: "vsasl"}
ALL_KEYS = tuple(dict.fromkeys(KEYS.values()))


def _note(item: Data, *notes: str) -> None:
    item["notes"] = [*item.get("notes", []), *notes]


class LoadAslBidsd(MapTransform):
    """Read ASL images with their sidecars, volume lists and M0, and check them against each other.

    Args:
        keys: Where the paths are; images, `{key}_series` and `{key}_m0` take their place.
        stated: What the user knows better than the sidecars.
    """

    def __init__(self, keys: Sequence[str] = ALL_KEYS, stated: Stated | None = None) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.stated = stated or Stated()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Load every image.

        Args:
            data: Item with paths.

        Returns:
            Item with images and their metadata.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file or field is wrong; the message names it and what to do.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            path = Path(item[key])
            stated = self.stated.about(Labelling.VSASL if key == KEYS[Labelling.VSASL] else None)
            volumes, grid = read_series(path, stated.echo)
            series = describe(path, volumes.shape, stated)
            m0 = load_m0(path, volumes, series, grid, stated)
            item |= {key: image_on(volumes, grid), f"{key}_series": series, f"{key}_m0": m0}
            _note(item, *series.notes)
            if m0.measured and m0.tr_ms is None:
                _note(
                    item,
                    f"M0 ({m0.source}) states no RepetitionTimePreparation: it is taken as recovered, which "
                    "makes CBF too high if it was not; pass --m0-tr-ms.",
                )
        return item


class RealignRigidd(MapTransform):
    """Bring all volumes, M0 included, onto the first control of the first scan (ITK, rigid).

    Args:
        keys: Images; `{key}_displacement_mm` is written, one value per volume.
        progress: Called with the share done.
    """

    def __init__(
        self, keys: Sequence[str] = ALL_KEYS, progress: Callable[[float], None] | None = None
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.progress = progress

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Register and resample.

        Args:
            data: Item of `LoadAslBidsd`.

        Returns:
            Item with volumes in one head position.

        Raises:
            ValueError: If scans do not share a grid, or have too few slices.
        """
        item = dict(data)
        check_same_grid({str(key): grid_of(item[key]) for key in self.key_iterator(item)})
        reference = None
        for key in self.key_iterator(item):
            grid, series, m0 = grid_of(item[key]), item[f"{key}_series"], item[f"{key}_m0"]
            volumes = item[key].numpy()
            if reference is None:
                reference = volumes[(series.indices(VolumeType.CONTROL) or [0])[0]]
            apart = m0.measured and series.m0_type is not M0Type.INCLUDED
            every = np.concatenate([volumes, m0.data[None]]) if apart else volumes
            moved = realign(every, grid, reference, self.progress)
            kept = moved.volumes[: len(volumes)]
            item |= {key: image_on(kept, grid), f"{key}_displacement_mm": moved.displacements_mm}
            if m0.measured:
                item[f"{key}_m0"] = replace(
                    m0, data=moved.volumes[-1] if apart else included_m0(kept, series)
                )
        return item


class SubtractControlLabeld(MapTransform):
    """Replace volumes by differences, control minus label; `{key}_delays` says when each was acquired.

    Args:
        keys: Images.
    """

    def __init__(self, keys: Sequence[str] = ALL_KEYS) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Subtract.

        Args:
            data: Item with images and `{key}_series`.

        Returns:
            Item with differences.

        Raises:
            ValueError: If controls and labels are not paired.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            differences, delays = subtract(item[key].numpy(), item[f"{key}_series"])
            item |= {key: image_on(differences, grid_of(item[key])), f"{key}_delays": delays}
        return item


class AverageRepeatsByPldd(MapTransform):
    """Replace differences by one mean per labelling duration and delay.

    `{key}_averaged` keeps the number of repeats and their scatter.

    Args:
        keys: Images.
    """

    def __init__(self, keys: Sequence[str] = ALL_KEYS) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Average.

        Args:
            data: Item with differences and `{key}_delays`.

        Returns:
            Item with means in ascending order of their delays.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            averaged = average_repeats(item[key].numpy(), item[f"{key}_delays"])
            item |= {key: image_on(averaged.data, grid_of(item[key])), f"{key}_averaged": averaged}
        return item


class BrainMaskd(Transform):
    """Write `mask`: a file's non-zero voxels, else the brain on M0, else on the mean difference image.

    Args:
        path: Mask on any grid.
        keys: Images; the first one at hand gives grid and M0.
    """

    def __init__(self, path: Path | str | None = None, keys: Sequence[str] = ALL_KEYS) -> None:
        self.path = Path(path) if path else None
        self.keys = keys

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Find the brain.

        Args:
            data: Item with images and `{key}_m0`.

        Returns:
            Item with `mask`, `(1, i, j, k)`, and `mask_source`.

        Raises:
            ValueError: If there is no brain to be found.
        """
        item = dict(data)
        key = next(key for key in self.keys if key in item)
        grid, m0 = grid_of(item[key]), item[f"{key}_m0"]
        if self.path is not None:
            given, own = read_series(self.path)
            mask, source = resample(given[0] != 0, own, grid, order=0, fill=0.0) > 0, self.path.name
        elif m0.measured:
            mask, source = brain_mask(m0.data, f"M0 ({m0.source})"), "M0, Otsu's threshold"
        else:
            mean = np.abs(item[key].numpy()).mean(axis=0)
            mask, source = brain_mask(mean, "the mean difference image"), "mean difference, Otsu's threshold"
        if not mask.any():
            msg = f"the mask ({source}) must hold a voxel of the scan, got none; give another with --mask."
            raise ValueError(msg)
        return item | {"mask": image_on(mask[None], grid), "mask_source": source}


class NormalizeByM0d(MapTransform):
    """Divide differences by M0 of tissue, voxel by voxel, corrected for its repetition time.

    Writes `{key}_sigma` (noise of each image in units of M0; None without repeats), `{key}_divisor` and
    `{key}_floored`, the number of voxels where M0 was too low to divide by.

    Args:
        keys: Images.
    """

    def __init__(self, keys: Sequence[str] = ALL_KEYS) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Divide.

        Args:
            data: Item with means, `{key}_averaged`, `{key}_m0` and `mask`.

        Returns:
            Item with images in units of M0.

        Raises:
            ValueError: If M0 is not positive in the mask.
        """
        item = dict(data)
        mask = item["mask"].numpy()[0].astype(bool)
        for key in self.key_iterator(item):
            averaged = item[f"{key}_averaged"]
            images, divisor, n_floored = divide_by_m0(item[key].numpy(), item[f"{key}_m0"], mask)
            variance = averaged.variance / divisor**2
            item |= {
                key: image_on(images, grid_of(item[key])),
                f"{key}_sigma": repeat_sigma(variance, averaged.counts, mask),
                f"{key}_divisor": divisor,
                f"{key}_floored": n_floored,
            }
        return item

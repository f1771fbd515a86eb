"""MONAI dictionary transforms from the files of one visit to the network's cube.

Keys: one per pulse (`t1c`, ...) and `label`, paths at first, then channel-first images; at the end `image`
`(4, S, S, S)`, `brain` and `tumour` `(1, S, S, S)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.transforms import MapTransform, Transform

from revoxel.core.geometry import check_same_grid, resample
from revoxel.core.meta_images import grid_of, image_on
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import read_volume

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from revoxel.semivae.features.resampled import NetworkGrid

Data = dict["Hashable", Any]

#: Channels of the network, in order.
PULSES = tuple(pulse.value for pulse in Pulse)


class LoadVolumed(MapTransform):
    """Read NIfTI, NRRD, MetaImage or DICOM with what `core.volumes` refuses and says about bad files.

    Args:
        keys: Where the paths are.
        constant_keys: Keys whose volume may hold one value only, such as an empty label map.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        constant_keys: tuple[str, ...] = ("label",),
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.constant_keys = constant_keys

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Read every file.

        Args:
            data: Item with paths.

        Returns:
            Item with `(1, i, j, k)` images.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is not one usable volume; the message names it.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            volume = read_volume(Path(item[key]), allow_constant=key in self.constant_keys)
            item[key] = image_on(volume.data[None], volume.grid)
        return item


class StackPulsesd(Transform):
    """Put the pulses of a visit into the channels of one `image`; a pulse that is absent becomes zeros."""

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Stack.

        Args:
            data: Item with at least one pulse, all on one grid.

        Returns:
            Item with `image` `(4, i, j, k)` instead of the pulses.

        Raises:
            ValueError: If no pulse is there, or two lie on different grids.
        """
        item = dict(data)
        given = {pulse: item.pop(pulse) for pulse in PULSES if pulse in item}
        if not given:
            msg = f"a visit must have at least one of {', '.join(PULSES)}, got none; name its images."
            raise ValueError(msg)
        grids = {pulse: grid_of(image) for pulse, image in given.items()}
        check_same_grid(grids)
        grid = next(iter(grids.values()))
        absent = np.zeros((1, *grid.shape), dtype=np.float32)
        item["image"] = image_on(np.concatenate([given.get(pulse, absent) for pulse in PULSES]), grid)
        return item


class TissueSharesd(Transform):
    """Mark what any pulse shows as `brain` and any label as `tumour`: their shares can be resampled."""

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Mark.

        Args:
            data: Item with `image` and perhaps `label`.

        Returns:
            Item with `brain` and, if it has a label, `tumour`, both `(1, i, j, k)` of 0 and 1.
        """
        item = dict(data)
        item["brain"] = (item["image"] != 0).any(dim=0, keepdim=True).float()
        if "label" in item:
            item["tumour"] = (item["label"] != 0).float()
        return item


class ToCubed(MapTransform):
    """Resample to the network's cube around the scan's centre; a coarse voxel takes the mean around it.

    Args:
        keys: Channel-first images.
        grid: The cube.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(self, keys: KeysCollection, grid: NetworkGrid, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.grid = grid

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Resample.

        Args:
            data: Item with images.

        Returns:
            Item with `(channel, S, S, S)` images, zero outside the scan.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            source = grid_of(item[key])
            target = self.grid.around(source)
            values = [resample(one, source, target, order=1, fill=0.0) for one in np.asarray(item[key])]
            item[key] = image_on(np.stack(values), target)
        return item

"""MONAI dictionary transforms between a manifest row and what the gate trains on.

Keys: one per expert while loading, then `experts` `(expert, x, y, z)`; `low` (the scan on its own grid),
`high` (truth) and `mask` (voxels where the truth is known); `axis`, `profile` and `epoch` are plain values.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform, Transform

from revoxel.core.geometry import (
    SAME_GRID_TOLERANCE_VOXELS,
    displacement_voxels,
    resample,
    whole_voxel_shift,
)
from revoxel.core.meta_images import grid_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

logger = logging.getLogger(__name__)

Data = dict["Hashable", Any]


def _plain(image: torch.Tensor) -> torch.Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _name_of(image: MetaTensor, key: Hashable) -> str:
    return f"{key} ({image.meta.get('filename_or_obj', 'in memory')})"


class RequireContrastd(MapTransform):
    """Refuse images with NaN, with infinity, or with one value everywhere, before they spoil a training.

    Args:
        keys: images to look at.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Check the images and pass them on.

        Args:
            data: item with all keys.

        Returns:
            The same item.

        Raises:
            ValueError: If an image cannot be used; the message names its file.
        """
        for key in self.key_iterator(dict(data)):
            lowest, highest = torch.aminmax(torch.as_tensor(data[key]))
            if not bool(torch.isfinite(highest - lowest)) or lowest == highest:
                msg = (
                    f"{_name_of(data[key], key)} must be finite and not constant, got values from "
                    f"{float(lowest):g} to {float(highest):g}; make the file again."
                )
                raise ValueError(msg)
        return dict(data)


class AlignToGridd(MapTransform):
    """Bring images onto the grid of the first: concatenation would keep the first affine in silence.

    Args:
        keys: images, channel-first with affine; the first sets the grid.
        tolerance_voxels: largest offset that counts as the same grid.
        max_tolerance_voxels: largest offset that is repaired by resampling a copy, with a warning.
    """

    def __init__(
        self,
        keys: Sequence[str],
        tolerance_voxels: float = SAME_GRID_TOLERANCE_VOXELS,
        max_tolerance_voxels: float = SAME_GRID_TOLERANCE_VOXELS,
    ) -> None:
        super().__init__(keys)
        self.tolerance_voxels = tolerance_voxels
        self.max_tolerance_voxels = max_tolerance_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Align the images.

        Args:
            data: item with all keys.

        Returns:
            The item with every image on the first one's grid.

        Raises:
            ValueError: If an image lies too far away; the message names its file.
        """
        item = dict(data)
        first = item[self.keys[0]]
        goal = grid_of(first)
        for key in self.key_iterator(item):
            grid = grid_of(item[key])
            offset = displacement_voxels(goal, grid)
            if offset <= self.tolerance_voxels and grid.shape == goal.shape:
                continue
            self._report(item[key], key, offset)
            moved = [resample(channel, grid, goal) for channel in np.asarray(item[key])]
            item[key] = MetaTensor(torch.from_numpy(np.stack(moved)), affine=first.affine)
        return item

    def _report(self, image: MetaTensor, key: Hashable, offset: float) -> None:
        name = _name_of(image, key)
        if offset > self.max_tolerance_voxels:
            msg = (
                f"{name} must lie within {self.max_tolerance_voxels:g} voxels of {self.keys[0]}, got "
                f"{offset:.3g}; the file belongs to another scan or its header is wrong: resample it first."
            )
            raise ValueError(msg)
        logger.warning("%s lies %.2f voxels off: a copy is resampled", name, offset)


class MatchTruthd(Transform):
    """Cut or pad the truth to the experts' grid and write the mask of voxels where it is known.

    Thick slices cover whole multiples of their separation, so the experts may have a few slices more than the
    truth they were simulated from; the voxels themselves coincide.

    Args:
        key: truth.
        reference: image on the grid to match.
        mask_key: where the mask goes, `(1, x, y, z)`, 1 = known.
    """

    def __init__(self, key: str = "high", reference: str = "experts", mask_key: str = "mask") -> None:
        self.key = key
        self.reference = reference
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Match the truth to the reference.

        Args:
            data: item with the truth and the reference; without truth it is passed on.

        Returns:
            The item with matched truth and mask.

        Raises:
            ValueError: If the voxels of the two grids do not coincide.
        """
        if self.key not in data:
            return dict(data)
        truth, reference = data[self.key], data[self.reference]
        shift = self._shift_voxels(truth, reference)
        matched = torch.zeros((1, *reference.shape[1:]), dtype=truth.dtype)
        mask = torch.zeros_like(matched)
        source, target = _overlap(truth.shape[1:], reference.shape[1:], shift)
        matched[target] = truth.as_tensor()[source]
        mask[target] = 1
        affine = reference.affine
        return {
            **data,
            self.key: MetaTensor(matched, affine=affine),
            self.mask_key: MetaTensor(mask, affine=affine),
        }

    def _shift_voxels(self, truth: MetaTensor, reference: MetaTensor) -> tuple[int, ...]:
        """Voxel of the truth at which the reference starts."""
        shift, offset = whole_voxel_shift(grid_of(truth), grid_of(reference))
        if offset > SAME_GRID_TOLERANCE_VOXELS:
            msg = (
                f"{_name_of(truth, self.key)} must share its voxels with {self.reference} (within "
                f"{SAME_GRID_TOLERANCE_VOXELS:g} voxels), got an offset of {offset:.3g}; "
                "resample it onto the experts' grid first."
            )
            raise ValueError(msg)
        return shift


def _overlap(
    n_source: Sequence[int], n_target: Sequence[int], shift: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Channel-first slices of the common block, in the source and in the target."""
    source, target = [slice(None)], [slice(None)]
    for size, goal, start in zip(n_source, n_target, shift, strict=True):
        first, last = max(start, 0), min(start + goal, size)
        source.append(slice(first, max(first, last)))
        target.append(slice(first - start, max(first, last) - start))
    return tuple(source), tuple(target)


class SliceAxisLastd(MapTransform):
    """Move the slice axis to the end, as the gate sees every scan; the result carries no affine any more.

    Args:
        keys: images `(channel, i, j, k)`.
        axis_key: item entry with the slice axis, 0 to 2.
        dtype: type of the result; float16 halves the cache and keeps 11 bits of intensity.
    """

    def __init__(self, keys: Sequence[str], axis_key: str = "axis", dtype: str = "float16") -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.axis_key = axis_key
        self.dtype = dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Move the axis of every key.

        Args:
            data: item with the keys and the slice axis.

        Returns:
            The item with plain contiguous tensors.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            moved = _plain(item[key]).movedim(1 + item[self.axis_key], -1)
            item[key] = moved.to(getattr(torch, self.dtype)).contiguous()
        return item


class ForegroundBoxd(Transform):
    """Note the bounding box of the voxels that differ from the background, for biased patches.

    Args:
        key: image `(channel, x, y, z)` whose corner voxel is background.
        margin: how far above the background, as a share of the range, foreground begins.
    """

    def __init__(self, key: str = "experts", margin: float = 0.1) -> None:
        self.key = key
        self.margin = margin

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Add `foreground_box`, three pairs (first, last + 1); the whole volume if there is no foreground.

        Args:
            data: item with the image.

        Returns:
            The item with the box.
        """
        image = torch.as_tensor(data[self.key])[0].float()
        lowest, highest = float(image.min()), float(image.max())
        inside = image > lowest + self.margin * (highest - lowest)
        box = [_extent(inside, axis) for axis in range(3)]
        return {**data, "foreground_box": box}


def _extent(inside: torch.Tensor, axis: int) -> tuple[int, int]:
    others = [other for other in range(3) if other != axis]
    hits = torch.nonzero(inside.any(dim=others[1]).any(dim=others[0])).flatten()
    return (int(hits[0]), int(hits[-1]) + 1) if len(hits) else (0, inside.shape[axis])


class AssembleChannelsd(Transform):
    """Build the network's input `image` and the loss's `label`, both plain float32.

    `image` = profile planes, the scan on the fine grid, the experts; `label` = truth and mask.

    Args:
        source_key: experts with the slice axis last.
        n_profile: number of profile planes, 0 or 3 (estimated width, assumed width, confidence).
        low_channel: index of the expert that is the interpolated scan itself; None leaves the scan out.
    """

    def __init__(self, source_key: str = "experts", n_profile: int = 3, low_channel: int | None = 0) -> None:
        self.source_key = source_key
        self.n_profile = n_profile
        self.low_channel = low_channel

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Assemble the channels.

        Args:
            data: item with the experts, `profile` and, for a label, `high` and `mask`.

        Returns:
            The item with `image` and, where mask and truth are known, `label`.
        """
        experts = torch.as_tensor(data[self.source_key]).float()
        profile = torch.tensor(data["profile"][: self.n_profile], dtype=torch.float32)
        planes = profile.view(-1, 1, 1, 1).expand(-1, *experts.shape[1:])
        low = [] if self.low_channel is None else [experts[self.low_channel : self.low_channel + 1]]
        item = {**data, "image": torch.cat([planes, *low, experts]).contiguous()}
        if "mask" in data:
            label = [torch.as_tensor(data[key]).float() for key in ("high", "mask")]
            item["label"] = torch.cat(label).contiguous()
        return item

"""The random steps from a prepared volume to a training patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

Data = dict["Hashable", Any]


class RandPatchd(MapTransform, Randomizable):
    """Cut one random patch out of all keys; small volumes are padded and the padding is masked out.

    One size per epoch, so that a batch stacks: GroupNorm statistics depend on the window, and a gate trained
    at one size only is tied to it.

    Args:
        keys: images `(channel, x, y, z)` on one grid.
        sizes: patch sizes `(x, y, z)`; epoch e uses size `e mod len(sizes)`.
        source_key: image whose non-constant part counts as foreground.
        foreground_fraction: share of patches whose centre is drawn from the bounding box of the foreground.
        mask_key: image that is padded with zeros, where the others repeat their rim.
    """

    def __init__(
        self,
        keys: Sequence[str],
        sizes: Sequence[Sequence[int]],
        source_key: str = "experts",
        foreground_fraction: float = 0.0,
        mask_key: str = "mask",
    ) -> None:
        super().__init__(keys)
        if not sizes or any(len(size) != 3 or min(size) < 8 for size in sizes):
            msg = f"patch_size must be three sides of at least 8 voxels, got {sizes}; correct the config."
            raise ValueError(msg)
        if not 0 <= foreground_fraction <= 1:
            msg = (
                f"foreground_fraction must be between 0 and 1, got {foreground_fraction}; correct the config."
            )
            raise ValueError(msg)
        self.sizes = [tuple(size) for size in sizes]
        self.source_key = source_key
        self.foreground_fraction = foreground_fraction
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Cut the patch.

        Args:
            data: item with all keys, `epoch` and `foreground_box` (see `ForegroundBoxd`).

        Returns:
            The item with patches.
        """
        item = dict(data)
        size = self.sizes[item.get("epoch", 0) % len(self.sizes)]
        start = self._draw_start(item, size)
        for key in self.key_iterator(item):
            item[key] = _cut(item[key], start, size, constant=key == self.mask_key)
        return item

    def _draw_start(self, item: Data, size: Sequence[int]) -> tuple[int, ...]:
        shape = item[self.source_key].shape[1:]
        box = [(0, side) for side in shape]
        if self.R.random() < self.foreground_fraction:
            box = item["foreground_box"]
        centres = [self.R.randint(low, max(high, low + 1)) for low, high in box]
        return tuple(
            int(np.clip(centre - side // 2, 0, max(whole - side, 0)))
            for centre, side, whole in zip(centres, size, shape, strict=True)
        )


def _cut(image: torch.Tensor, start: Sequence[int], size: Sequence[int], *, constant: bool) -> torch.Tensor:
    window = tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))
    patch = image[(slice(None), *window)]
    padding = [n for side, got in zip(size[::-1], patch.shape[:0:-1], strict=True) for n in (0, side - got)]
    if not any(padding):
        return patch
    mode = "constant" if constant else "replicate"
    return torch.nn.functional.pad(patch[None].float(), padding, mode=mode)[0].to(image.dtype)

"""The shared intensity map as an invertible MONAI dictionary transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from revoxel.core.intensity import IntensityMap, foreground_mask


class IntensityMode(StrEnum):
    """Which affine map is fitted."""

    RANGE = "range"
    ZSCORE = "zscore"


class SharedIntensityRangePercentilesd(MapTransform, InvertibleTransform):
    """Map every key with the one affine map that a reference key defines; never fitted on the truth.

    On one key without mask it equals MONAI's `ScaleIntensityRangePercentilesd`, which cannot share a range
    over keys, look at the foreground only, or be inverted.

    Args:
        keys: Channel-first images to map, the reference among them or not.
        reference: Key that defines the map; its channels are pooled.
        lower: Percentile of the reference that maps to 0.
        upper: Percentile of the reference that maps to 1.
        foreground: Fit on the head or brain of the reference's first channel only.
        mode: `range` (percentiles) or `zscore` (mean and standard deviation).
        allow_missing_keys: Skip absent keys, such as the truth at inference.
    """

    def __init__(  # noqa: PLR0913 - a MONAI transform's options are its parameters
        self,
        keys: KeysCollection,
        reference: str,
        lower: float = 0.5,
        upper: float = 99.5,
        *,
        foreground: bool = True,
        mode: str = IntensityMode.RANGE,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.reference = reference
        self.lower = lower
        self.upper = upper
        self.foreground = foreground
        self.mode = IntensityMode(mode)

    def fit(self, reference: torch.Tensor) -> IntensityMap:
        """Fit the map to one image.

        Args:
            reference: `(channel, i, j, k)`.

        Returns:
            Its intensity map.

        Raises:
            ValueError: If the image is constant or its foreground empty.
        """
        values = torch.as_tensor(reference).detach().cpu().numpy()
        mask = foreground_mask(values[0])[None] if self.foreground else None
        if self.mode is IntensityMode.ZSCORE:
            return IntensityMap.from_zscore(values, mask)
        return IntensityMap.from_percentiles(values, mask, self.lower, self.upper)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map all keys.

        Args:
            data: Case dictionary with the reference key.

        Returns:
            A copy with mapped images; each carries the map for `inverse`.

        Raises:
            ValueError: If the reference is missing or constant.
        """
        mapped = dict(data)
        if self.reference not in mapped:
            msg = (
                f"reference must be one of {sorted(map(str, mapped))}, got {self.reference!r}; name its key."
            )
            raise ValueError(msg)
        intensity = self.fit(mapped[self.reference])
        for key in self.key_iterator(mapped):
            mapped[key] = intensity.apply(mapped[key])
            # Plain floats: traces end up in caches that load with weights_only.
            extra_info = {"scale": float(intensity.scale), "shift": float(intensity.shift)}
            self._push(mapped, key, extra_info)
        return mapped

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo the map on all keys.

        Args:
            data: Case dictionary whose images carry the map.

        Returns:
            A copy in input units.
        """
        restored = dict(data)
        for key in self.key_iterator(restored):
            info = self.pop_transform(restored, key)[TraceKeys.EXTRA_INFO]
            restored[key] = IntensityMap(info["scale"], info["shift"]).invert(restored[key])
        return restored

    def _push(self, mapped: dict[Hashable, Any], key: Hashable, extra_info: dict[str, float]) -> None:
        image = mapped[key]
        if isinstance(image, MetaTensor):
            self.push_transform(image, extra_info=extra_info)
        else:
            self.push_transform(mapped, key=key, extra_info=extra_info)

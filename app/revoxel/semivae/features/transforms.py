"""MONAI dictionary transforms from an aligned label map to masked targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of
from revoxel.semivae.features.extract import checked_labels, extract_tumour_features
from revoxel.semivae.features.record import FeatureRecord, FeatureSettings, Flag

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from revoxel.semivae.features.normalizer import FeatureNormalizer
    from revoxel.semivae.features.table import FeatureTable

Data = dict["Hashable", Any]


class CheckAlignmentd(MapTransform):
    """Refuse images that do not lie on the label map's grid, and labels that are none; before resampling.

    Args:
        keys: Images.
        label_key: The label map.
        atol_mm: How far corresponding voxels may lie apart.
        settings: Which labels are known.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        atol_mm: float = 1e-3,
        *,
        settings: FeatureSettings | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key, self.atol_mm, self.settings = label_key, atol_mm, settings or FeatureSettings()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Check the item and pass it on.

        Args:
            data: Item with channel-first images.

        Returns:
            The same item.

        Raises:
            ValueError: If an image lies elsewhere, has another shape or is not finite, or a label is unknown.
        """
        item = dict(data)
        label = grid_of(item[self.label_key])
        checked_labels(np.asarray(item[self.label_key]), self.settings)
        for key in self.key_iterator(item):
            grid = grid_of(item[key])
            if grid.shape != label.shape or _apart_mm(grid, label) > self.atol_mm:
                msg = (
                    f"{key} must lie on the grid of {self.label_key} within {self.atol_mm:g} mm, got shape "
                    f"{grid.shape} and {label.shape}, corners {_apart_mm(grid, label):.3g} mm apart; "
                    "register and resample it first."
                )
                raise ValueError(msg)
            if not torch.isfinite(torch.as_tensor(item[key])).all():
                msg = f"{key} must be finite, got NaN or infinity; replace them before use."
                raise ValueError(msg)
        return item


def _apart_mm(first: Grid, second: Grid) -> float:
    """Largest distance between corresponding corners."""
    return float(np.linalg.norm(first.world(first.corners()) - second.world(second.corners()), axis=1).max())


class ExtractTumourFeaturesd(MapTransform):
    """Measure the label map as it is now: after augmentation, place and volume are of the moved tumour.

    Args:
        keys: The label map, a MetaTensor.
        output_key: Where the record goes.
        settings: What to measure.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        output_key: str = "features",
        *,
        settings: FeatureSettings | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_key, self.settings = output_key, settings or FeatureSettings()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Measure.

        Args:
            data: Item with a label map.

        Returns:
            Item with a `FeatureRecord`.

        Raises:
            ValueError: If the label map cannot be measured.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.output_key] = extract_tumour_features(item[key], settings=self.settings)
        return item


class LoadFeatureTabled(MapTransform):
    """Take the features of a scan from a table made before.

    Args:
        keys: Where the scan's name is.
        table: Of the study.
        output_key: Where the record goes.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        table: FeatureTable,
        output_key: str = "features",
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.table, self.output_key = table, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Look the scan up.

        Args:
            data: Item with a scan's name.

        Returns:
            Item with a `FeatureRecord` flagged `from_table`.

        Raises:
            ValueError: If the table has no such scan.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.output_key] = self.table.record(item[key])
        return item


class NormalizeFeaturesd(MapTransform):
    """Turn a record into `targets` `(feature,)` float32 and `target_mask` `(feature,)` bool.

    Args:
        keys: Where the record is.
        normalizer: Fitted on the training patients.
        label_key: Label map whose history is looked at: features of a table are wrong after a random flip.
        patient_key: Where the patient's name is, if the item has one.
        split_key: Where the patient's split is, if the item has one.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        normalizer: FeatureNormalizer,
        *,
        label_key: str = "label",
        patient_key: str = "patient_id",
        split_key: str = "split",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalizer = normalizer
        self.label_key, self.patient_key, self.split_key = label_key, patient_key, split_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Normalise.

        Args:
            data: Item with a `FeatureRecord`.

        Returns:
            Item with `targets` and `target_mask`.

        Raises:
            ValueError: If the patient is in another split than the normaliser knows, or the record is of a
                table and the label map was moved since.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            record: FeatureRecord = item[key]
            moved = _random_moves(item.get(self.label_key)) if Flag.FROM_TABLE in record.flags else []
            if moved:
                msg = (
                    f"{key} must be measured after augmentation, got a table's after {', '.join(moved)}; "
                    "use ExtractTumourFeaturesd behind the random transforms."
                )
                raise ValueError(msg)
            targets, known = self.normalizer.transform(
                record.values, patient_id=item.get(self.patient_key), split=item.get(self.split_key)
            )
            item |= {"targets": torch.from_numpy(targets), "target_mask": torch.from_numpy(known)}
        return item


def _random_moves(label: Any) -> list[str]:
    """Random spatial transforms that really moved an image; MONAI traces those that can be inverted."""
    if not isinstance(label, MetaTensor):
        return []
    traced = [*label.applied_operations, *label.pending_operations]
    return [one["class"] for one in traced if one["class"].startswith("Rand") and one.get("do_transforms")]


class DropModalityd(RandomizableTransform, MapTransform):
    """Blank channels at random, never all of them, and tell which are left in `available` `(channel,)` bool.

    Args:
        keys: Channel-first images; the same channels are dropped in all of them.
        prob: Chance of each channel to be dropped.
        output_key: Where the availability goes.
        allow_missing_keys: Skip absent keys.

    Raises:
        ValueError: If `prob` is no probability below 1.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 0.1,
        output_key: str = "available",
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        if not 0 <= prob < 1:
            msg = f"prob must be at least 0 and below 1, got {prob:g}; use 0.1."
            raise ValueError(msg)
        self.drop_prob, self.output_key = prob, output_key
        self.available = np.ones(0, dtype=bool)

    def randomize(self, n_channels: int) -> None:
        """Draw which channels stay.

        Args:
            n_channels: Of the images.
        """
        super().randomize(None)
        self.available = self.R.random(n_channels) >= self.drop_prob
        if not self.available.any():
            self.available[self.R.randint(n_channels)] = True

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Drop channels.

        Args:
            data: Item with images.

        Returns:
            Item with blanked channels and `available`.
        """
        item = dict(data)
        keys = list(self.key_iterator(item))
        if not keys:
            return item
        self.randomize(item[keys[0]].shape[0])
        stays = torch.from_numpy(self.available)
        for key in keys:
            image = torch.as_tensor(item[key])
            item[key] = image * stays.to(image.dtype).reshape(-1, 1, 1, 1)
        item[self.output_key] = stays.clone()
        return item


CheckAlignmentD = CheckAlignmentDict = CheckAlignmentd
ExtractTumourFeaturesD = ExtractTumourFeaturesDict = ExtractTumourFeaturesd
LoadFeatureTableD = LoadFeatureTableDict = LoadFeatureTabled
NormalizeFeaturesD = NormalizeFeaturesDict = NormalizeFeaturesd
DropModalityD = DropModalityDict = DropModalityd

"""Dictionary transforms: alignment before anything, features of the tumour as it lies now."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandFlipd, RandZoomd

from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.table import FeatureTable, row_of
from revoxel.semivae.features.transforms import (
    CheckAlignmentd,
    DropModalityd,
    ExtractTumourFeaturesd,
    LoadFeatureTabled,
    NormalizeFeaturesd,
)
from tumours import nested_tumour

NAMES = ("wt.log_volume", "wt.centroid_r_mm", "ncr.log_volume")


def item_of(radius_mm=10.0):
    label, affine = nested_tumour(radius_mm)
    meta = torch.from_numpy(affine)
    image = torch.rand(4, *label.shape)
    return {
        "image": MetaTensor(image, affine=meta),
        "label": MetaTensor(torch.from_numpy(label)[None].float(), affine=meta),
        "subject_id": "s3",
    }


@pytest.fixture
def table():
    rows = []
    for number in range(24):
        label, affine = nested_tumour(6.0 + number / 3, centre_mm=(number / 6, -4.0, 2.0))
        record = extract_tumour_features(label, affine=affine)
        rows.append({"scan_id": f"s{number}", "patient_id": f"p{number}", **row_of(record)})
    return FeatureTable(tuple(rows), {}, extract_tumour_features(label, affine=affine).units)


@pytest.fixture
def normalizer(table):
    return FeatureNormalizer(NAMES).fit(table, [f"p{number}" for number in range(22)])


def test_aligned_item_passes():
    item = item_of()
    assert CheckAlignmentd("image")(item)["image"] is item["image"]
    assert CheckAlignmentd(("image", "t2w"), allow_missing_keys=True)(item)


def test_misplaced_broken_or_unknown_is_refused():
    item = item_of()
    moved = item | {"image": item["image"].clone()}
    moved["image"].affine[0, 3] += 0.01
    with pytest.raises(ValueError, match=r"corners 0\.01 mm apart"):
        CheckAlignmentd("image")(moved)
    assert CheckAlignmentd("image", atol_mm=0.02)(moved)
    with pytest.raises(ValueError, match="got shape"):
        CheckAlignmentd("image")(item | {"image": item["image"][:, 1:]})
    broken = item["image"].clone()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        CheckAlignmentd("image")(item | {"image": broken})
    with pytest.raises(ValueError, match="whole numbers"):
        CheckAlignmentd("image")(item | {"label": item["label"] * 0.5})


def test_features_follow_a_flip_and_a_zoom():
    item = item_of()
    before = ExtractTumourFeaturesd()(item)["features"].values
    flipped = RandFlipd("label", prob=1.0, spatial_axis=0)(item)
    # MONAI turns the affine with the voxels; a network sees the array alone, so its frame is put back.
    flipped["label"] = MetaTensor(torch.as_tensor(flipped["label"].array), affine=item["label"].affine)
    after = ExtractTumourFeaturesd()(flipped)["features"].values
    assert after["wt.centroid_r_mm"] == pytest.approx(-before["wt.centroid_r_mm"])
    assert after["wt.volume_mm3"] == before["wt.volume_mm3"]
    zoomed = RandZoomd("label", prob=1.0, min_zoom=1.3, max_zoom=1.3, mode="nearest")(item)
    zoomed["label"] = MetaTensor(torch.as_tensor(zoomed["label"].array), affine=item["label"].affine)
    volume = ExtractTumourFeaturesd()(zoomed)["features"].values["wt.log_volume"]
    assert volume - before["wt.log_volume"] == pytest.approx(3 * np.log(1.3), abs=0.05)


def test_table_and_measurement_agree(table, normalizer):
    item = item_of(7.0) | {"patient_id": "p3", "split": "train"}
    item["label"] = MetaTensor(
        torch.from_numpy(nested_tumour(7.0, centre_mm=(0.5, -4.0, 2.0))[0])[None], affine=item["label"].affine
    )
    normalize = NormalizeFeaturesd("features", normalizer)
    first = normalize(LoadFeatureTabled("subject_id", table)(item))
    second = normalize(ExtractTumourFeaturesd()(item))
    torch.testing.assert_close(first["targets"], second["targets"])
    assert first["target_mask"].dtype == torch.bool
    assert first["target_mask"].all()
    assert first["targets"].dtype == torch.float32


def test_table_after_augmentation_is_refused(table, normalizer):
    item = RandFlipd("label", prob=1.0, spatial_axis=0)(item_of())
    normalize = NormalizeFeaturesd("features", normalizer)
    with pytest.raises(ValueError, match="after RandFlip"):
        normalize(LoadFeatureTabled("subject_id", table)(item))
    assert "targets" in normalize(ExtractTumourFeaturesd()(item))
    kept = RandFlipd("label", prob=0.0)(item_of())
    assert "targets" in normalize(LoadFeatureTabled("subject_id", table)(kept))


def test_training_patient_marked_test_is_refused(table, normalizer):
    item = item_of() | {"patient_id": "p3", "split": "test"}
    with pytest.raises(ValueError, match="'p3'"):
        NormalizeFeaturesd("features", normalizer)(LoadFeatureTabled("subject_id", table)(item))


def test_unknown_scan_is_refused(table):
    with pytest.raises(ValueError, match="'s99'"):
        LoadFeatureTabled("subject_id", table)({"subject_id": "s99"})


def test_dropped_channels_are_blank_and_named():
    drop = DropModalityd(prob=0.5).set_random_state(3)
    counts = np.zeros(4)
    for _ in range(60):
        item = drop(item_of())
        blank = (item["image"] == 0).flatten(1).all(dim=1)
        assert torch.equal(torch.as_tensor(blank), ~item["available"])
        assert item["available"].any()
        counts += item["available"].numpy()
    assert np.all((counts > 15) & (counts < 48))


def test_same_seed_drops_the_same():
    first, second = (DropModalityd(prob=0.5).set_random_state(7) for _ in range(2))
    for _ in range(5):
        assert torch.equal(first(item_of())["available"], second(item_of())["available"])


def test_impossible_chance_is_refused():
    with pytest.raises(ValueError, match="prob"):
        DropModalityd(prob=1.0)
    assert DropModalityd("t2w", allow_missing_keys=True)({"a": 1}) == {"a": 1}

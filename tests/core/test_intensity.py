"""The shared intensity map is invertible, common to all keys and equal to MONAI's where MONAI has one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, PersistentDataset, decollate_batch
from monai.transforms import Invertd, ScaleIntensityRangePercentilesd

from revoxel.core.intensity import IntensityMap, foreground_mask
from revoxel.core.intensity_transforms import SharedIntensityRangePercentilesd

scales = st.floats(1e-6, 1e6)
shifts = st.floats(-1e5, 1e5)


@given(scales, shifts, st.lists(st.floats(-1e5, 1e5), min_size=1))
def test_map_is_inverted_exactly_enough(scale, shift, values):
    intensity = IntensityMap(scale, shift)
    numbers = np.array(values)
    np.testing.assert_allclose(intensity.invert(intensity.apply(numbers)), numbers, rtol=1e-9, atol=1e-6)


def test_map_keeps_kind_and_precision():
    intensity = IntensityMap(2.0, 1.0)
    assert intensity.apply(np.ones(3, np.float32)).dtype == np.float32
    assert intensity.invert(torch.ones(3)).dtype == torch.float32
    assert intensity.apply(3.0) == 4.0


def test_percentiles_of_the_mask_map_to_zero_and_one(brain):
    mask = foreground_mask(brain)
    intensity = IntensityMap.from_percentiles(brain, mask, 1, 99)
    np.testing.assert_allclose(np.percentile(intensity.apply(brain)[mask], (1, 99)), (0, 1), atol=1e-5)


def test_zscore_centres_the_mask(brain):
    mask = foreground_mask(brain)
    mapped = IntensityMap.from_zscore(brain, mask).apply(brain)[mask]
    assert mapped.mean() == pytest.approx(0, abs=1e-4)
    assert mapped.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf)])
def test_map_that_loses_information_is_refused(scale, shift):
    with pytest.raises(ValueError, match="positive scale"):
        IntensityMap(scale, shift)


def test_constant_or_empty_reference_is_refused():
    with pytest.raises(ValueError, match="constant"):
        IntensityMap.from_percentiles(np.ones(10))
    with pytest.raises(ValueError, match="mask"):
        IntensityMap.from_percentiles(np.arange(10), np.zeros(10, bool))
    with pytest.raises(ValueError, match="percentiles"):
        IntensityMap.from_percentiles(np.arange(10), lower=90, upper=10)


def test_stripped_brain_is_everything_above_its_background(brain):
    np.testing.assert_array_equal(foreground_mask(brain), brain > 0)


@pytest.mark.parametrize("background", [-1024.0, 0.0, 7.0])
def test_foreground_ignores_the_background_value_and_undershoot(brain, background):
    data = brain + np.float32(background)
    data[20, 22, 18] = background - 5
    assert (foreground_mask(data) != (brain > 0)).sum() <= 1


def test_noisy_head_is_one_filled_part(brain):
    rng = np.random.default_rng(0)
    noisy = np.abs(brain + rng.normal(0, 4, brain.shape))
    noisy[1, 1, 1] = 10_000
    mask = foreground_mask(noisy)
    overlap = 2 * (mask & (brain > 0)).sum() / (mask.sum() + (brain > 0).sum())
    assert overlap > 0.9
    assert not mask[1, 1, 1]
    assert mask[20, 22, 18]


def test_constant_volume_has_no_foreground():
    with pytest.raises(ValueError, match="constant"):
        foreground_mask(np.full((4, 4, 4), 2.0))


@pytest.fixture
def case(brain):
    low = torch.from_numpy(brain[None].copy())
    experts = torch.stack([low[0] * 0.9 + 1, low[0] * 1.1 - 2])
    return {
        key: MetaTensor(value) for key, value in {"low": low, "experts": experts, "high": low * 1.05}.items()
    }


@pytest.mark.reference
def test_one_key_without_mask_equals_monai(case):
    ours = SharedIntensityRangePercentilesd(["low"], "low", 0.5, 99.5, foreground=False)(case)
    monai = ScaleIntensityRangePercentilesd(["low"], 0.5, 99.5, b_min=0, b_max=1)(case)
    torch.testing.assert_close(ours["low"].as_tensor(), monai["low"].as_tensor(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["range", "zscore"])
def test_all_keys_share_one_map_that_the_truth_does_not_touch(case, mode):
    transform = SharedIntensityRangePercentilesd(["experts", "high"], "low", mode=mode)
    first = transform(case)
    second = transform({**case, "high": case["high"] * 100})
    torch.testing.assert_close(first["experts"], second["experts"])
    ratio = (case["experts"] / case["high"])[:, case["high"][0] > 50]
    intensity = transform.fit(case["low"])
    back = [intensity.invert(first[key].as_tensor()) for key in ("experts", "high")]
    torch.testing.assert_close(
        (back[0] / back[1])[:, case["high"][0] > 50], ratio.as_tensor(), rtol=1e-4, atol=1e-4
    )
    assert first["low"] is case["low"]


def test_inverse_restores_input_units_and_removes_the_trace(case):
    transform = SharedIntensityRangePercentilesd(["low", "experts", "high"], "experts")
    restored = transform.inverse(transform(case))
    for key in case:
        torch.testing.assert_close(restored[key].as_tensor(), case[key].as_tensor(), rtol=1e-5, atol=1e-3)
        assert not restored[key].applied_operations


def test_plain_tensors_are_inverted_too(case):
    transform = SharedIntensityRangePercentilesd(["low", "experts"], "low")
    plain = {key: value.as_tensor() for key, value in case.items()}
    restored = transform.inverse(transform(plain))
    torch.testing.assert_close(restored["experts"], plain["experts"], rtol=1e-5, atol=1e-3)


def test_a_prediction_goes_back_to_input_units_through_monai(case):
    transform = SharedIntensityRangePercentilesd(["low"], "low")
    batch = next(iter(DataLoader(Dataset([case], transform), batch_size=1)))
    item = decollate_batch(batch)[0]
    item["pred"] = MetaTensor(item["low"].as_tensor().clone())
    undo = Invertd("pred", transform, orig_keys="low", nearest_interp=False, to_tensor=True)
    torch.testing.assert_close(
        torch.as_tensor(undo(item)["pred"]).float(), case["low"].as_tensor(), rtol=1e-4, atol=1e-2
    )


def test_mapped_case_survives_the_cache_with_its_map(case, tmp_path):
    transform = SharedIntensityRangePercentilesd(["low"], "low")
    item = {"low": case["low"]}
    cached = PersistentDataset([item], transform, cache_dir=tmp_path, track_meta=True, weights_only=False)
    assert cached[0] is not cached[0]
    torch.testing.assert_close(
        transform.inverse(cached[0])["low"].as_tensor(), case["low"].as_tensor(), rtol=1e-5, atol=1e-3
    )


def test_missing_reference_is_named(case):
    with pytest.raises(ValueError, match="scan"):
        SharedIntensityRangePercentilesd(["low"], "scan")(case)


def test_absent_truth_may_be_skipped(case):
    del case["high"]
    with pytest.raises(KeyError):
        SharedIntensityRangePercentilesd(["low", "high"], "low")(case)
    assert "high" not in SharedIntensityRangePercentilesd(["low", "high"], "low", allow_missing_keys=True)(
        case
    )


@pytest.mark.parametrize("pulse", ["t1", "t1c", "t2", "flair"])
def test_real_head_fills_a_plausible_part_of_the_scan(data_path, pulse):
    from revoxel.core.volumes import read_volume

    data = read_volume(data_path(f"mri/thick/TCGA-FG-6692_{pulse}.nii.gz")).data
    assert 0.2 < foreground_mask(data).mean() < 0.6

"""From manifest rows to patches: one grid, slice axis last, and randomness that is reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd
from torch.utils.data import DataLoader

import tiny_study
from revoxel.sagnef.data import PatchDataset, PatchSampler, fold_items
from revoxel.sagnef.patches import RandPatchd
from revoxel.sagnef.transforms import (
    AlignToGridd,
    AssembleChannelsd,
    ForegroundBoxd,
    MatchTruthd,
    RequireContrastd,
    SliceAxisLastd,
)


def _image(shape: tuple[int, ...], shift_mm: float = 0.0, n_channels: int = 1) -> MetaTensor:
    affine = np.eye(4)
    affine[2, 3] = shift_mm
    return MetaTensor(torch.rand(n_channels, *shape), affine=affine)


def _volume(shape: tuple[int, ...] = (20, 18, 16)) -> dict[str, Any]:
    experts = torch.rand(4, *shape)
    facts = {"profile": (0.4, 0.5, 0.9), "foreground_box": [(0, side) for side in shape]}
    return {"experts": experts, "high": experts[:1] + 1, "mask": torch.ones(1, *shape), **facts}


def test_expert_that_lies_too_far_away_is_refused_by_name() -> None:
    data = {"A": _image((8, 8, 8)), "B": _image((8, 8, 8), shift_mm=3.5)}
    with pytest.raises(ValueError, match=r"B .* must lie within 3 voxels of A, got 3.5"):
        AlignToGridd(["A", "B"], max_tolerance_voxels=3)(data)


def test_expert_that_lies_a_little_off_is_resampled_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    shifted = _image((8, 8, 9), shift_mm=1.0)
    aligned = AlignToGridd(["A", "B"], max_tolerance_voxels=3)({"A": _image((8, 8, 8)), "B": shifted})["B"]
    assert aligned.shape == (1, 8, 8, 8)
    assert torch.equal(aligned.affine, torch.eye(4, dtype=aligned.affine.dtype))
    assert torch.allclose(aligned.as_tensor()[..., 1:], shifted.as_tensor()[..., :7], atol=1e-4)
    assert "B (in memory) lies 2.00 voxels off" in caplog.text


def test_expert_within_the_tolerance_stays_untouched() -> None:
    data = {"A": _image((8, 8, 8)), "B": _image((8, 8, 8), shift_mm=0.04)}
    assert AlignToGridd(["A", "B"])(data)["B"] is data["B"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_image_without_contrast_or_with_nan_is_refused(value: float | None) -> None:
    image = _image((8, 8, 8)) if value is not None else MetaTensor(torch.zeros(1, 8, 8, 8))
    image[0, 3, 3, 3] = value or 0.0
    with pytest.raises(ValueError, match=r"A \(in memory\) must be finite and not constant"):
        RequireContrastd(["A"])({"A": image})


@pytest.mark.parametrize("n_slices", [8, 10, 13])
def test_truth_is_cut_or_padded_and_masked(n_slices: int) -> None:
    data = {"high": _image((6, 6, n_slices)), "experts": _image((6, 6, 10), n_channels=4)}
    matched = MatchTruthd()(data)
    n_known = min(n_slices, 10)
    assert matched["high"].shape == (1, 6, 6, 10)
    assert torch.equal(matched["high"][..., :n_known], data["high"][..., :n_known].as_tensor())
    assert matched["mask"].sum() == 36 * n_known
    assert torch.equal(matched["mask"][..., n_known:], torch.zeros(1, 6, 6, 10 - n_known))


def test_truth_shifted_by_whole_voxels_finds_its_place() -> None:
    data = {"high": _image((6, 6, 8), shift_mm=2.0), "experts": _image((6, 6, 10), n_channels=4)}
    matched = MatchTruthd()(data)
    assert torch.equal(matched["high"][..., 2:], data["high"].as_tensor())
    assert matched["mask"][..., :2].sum() == 0


def test_truth_between_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="share its voxels"):
        MatchTruthd()({"high": _image((6, 6, 8), shift_mm=0.5), "experts": _image((6, 6, 8))})


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_axis_comes_last(axis: int) -> None:
    image = torch.rand(2, 5, 6, 7)
    moved = SliceAxisLastd(["a"], dtype="float32")({"a": image, "axis": axis})["a"]
    assert moved.shape[-1] == image.shape[1 + axis]
    assert torch.equal(moved, image.movedim(1 + axis, -1))


def test_small_volume_is_padded_and_the_padding_masked_out() -> None:
    patch = RandPatchd(["experts", "high", "mask"], [(24, 24, 24)])
    cut = patch.set_random_state(0)(_volume())
    assert cut["experts"].shape == (4, 24, 24, 24)
    assert cut["mask"].sum() == 20 * 18 * 16
    assert torch.equal(cut["high"][..., -1], cut["high"][..., 15])


def test_patches_cut_all_keys_at_one_place() -> None:
    patch = RandPatchd(["experts", "high", "mask"], [(8, 8, 8)])
    for seed in range(5):
        cut = patch.set_random_state(seed)(_volume())
        assert torch.equal(cut["experts"][:1] + 1, cut["high"])


def test_patch_size_follows_the_epoch() -> None:
    patch = RandPatchd(["experts", "high", "mask"], [(8, 8, 8), (12, 12, 8)])
    shapes = [
        patch.set_random_state(0)({**_volume(), "epoch": epoch})["high"].shape[1:] for epoch in range(3)
    ]
    assert shapes == [(8, 8, 8), (12, 12, 8), (8, 8, 8)]


@pytest.mark.parametrize(("sizes", "fraction"), [([], 0.5), ([(4, 8, 8)], 0.5), ([(8, 8, 8)], 1.5)])
def test_wrong_patch_settings_are_refused(sizes: list[tuple[int, ...]], fraction: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        RandPatchd(["high"], sizes, foreground_fraction=fraction)


def test_foreground_box_bounds_what_differs_from_the_background() -> None:
    experts = torch.zeros(4, 20, 20, 20)
    experts[:, 3:9, 5:10, 18:] = 1
    box = ForegroundBoxd()({"experts": experts})["foreground_box"]
    assert box == [(3, 9), (5, 10), (18, 20)]
    patch = RandPatchd(["experts", "mask"], [(8, 8, 8)], foreground_fraction=1.0)
    for seed in range(10):
        item = {"experts": experts, "mask": torch.ones(1, 20, 20, 20), "foreground_box": box}
        assert patch.set_random_state(seed)(item)["experts"].max() == 1


def test_channels_are_profile_then_scan_then_experts() -> None:
    volume = _volume()
    item = AssembleChannelsd(low_channel=0)(volume)
    assert item["image"].shape[0] == 8
    planes = item["image"][:3, 0, 0, 0].tolist()
    assert planes == pytest.approx([0.4, 0.5, 0.9])
    assert torch.equal(item["image"][3], volume["experts"][0])
    assert torch.equal(item["image"][4:], volume["experts"])
    assert torch.equal(item["label"][1:], volume["mask"])
    assert AssembleChannelsd(n_profile=0, low_channel=None)(volume)["image"].shape[0] == 4


def _patches(**settings: Any) -> PatchDataset:
    transform = Compose(
        [
            RandPatchd(["experts", "high", "mask"], [(8, 8, 8)], foreground_fraction=0.5),
            RandFlipd(["experts", "high", "mask"], prob=0.5, spatial_axis=0),
            AssembleChannelsd(),
        ]
    )
    torch.manual_seed(0)
    return PatchDataset([_volume(), _volume()], transform, patches_per_volume=3, seed=7, **settings)  # type: ignore[arg-type]


def _draw(dataset: PatchDataset, epoch: int, workers: int = 0) -> torch.Tensor:
    sampler = PatchSampler(dataset, seed=1)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=_images)
    return torch.cat(list(loader))


def _images(items: list[dict[str, Any]]) -> torch.Tensor:
    return torch.stack([torch.as_tensor(item["image"]) for item in items])


def test_patches_are_a_function_of_seed_epoch_case_and_patch() -> None:
    first = _draw(_patches(), epoch=3)
    assert torch.equal(first, _draw(_patches(), epoch=3))
    assert not torch.equal(first, _draw(_patches(), epoch=4))


@pytest.mark.slow
def test_number_of_workers_does_not_change_the_patches() -> None:
    assert torch.equal(_draw(_patches(), epoch=2), _draw(_patches(), epoch=2, workers=2))


def test_frozen_patches_stay_in_every_epoch() -> None:
    dataset = _patches(frozen=True)
    before = dataset[4]["image"]
    dataset.set_epoch(9)
    assert torch.equal(torch.as_tensor(before), torch.as_tensor(dataset[4]["image"]))


def test_items_of_a_fold_name_files_and_profile(tmp_path: Path) -> None:
    manifest = tiny_study.write_study(tmp_path)
    items = fold_items(manifest, "fold0", "val", spacing="5mm", pulses=["t1c"])
    assert [item["subject"] for item in items] == ["p2"]
    assert items[0]["profile"] == pytest.approx((0.424, 0.424, 1.0))
    assert Path(items[0]["SMORE"]).is_file()
    everything = fold_items(manifest, None, spacing="5mm", pulses=["t1c"], need_truth=False)
    assert len(everything) == 4
    assert "high" not in everything[0]


def test_empty_split_and_missing_file_are_one_clear_error(tmp_path: Path) -> None:
    manifest = tiny_study.write_study(tmp_path)
    with pytest.raises(ValueError, match="train cases of fold0 must not be empty"):
        fold_items(manifest, "fold0", "train", spacing="3mm", pulses=["t1c"])
    (tmp_path / "p0_SR-SMORE.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"cases\.0\.experts\.SMORE: no such file"):
        fold_items(manifest, "fold0", "train", spacing="5mm", pulses=["t1c"])

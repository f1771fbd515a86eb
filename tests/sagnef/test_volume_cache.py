"""Prepared cases: the same from memory and disk, renewed when anything changes, bad files named."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

import tiny_study
from revoxel.core.bundles import bundles_root
from revoxel.sagnef.data import PatchDataset, fold_items
from revoxel.sagnef.patches import RandPatchd
from revoxel.sagnef.volume_cache import fingerprint, prepare_cases

CONFIG = ConfigParser.load_config_file(bundles_root() / "sagnef_5mm_t1c" / "configs" / "train.json")


def _transform(**values: Any) -> Any:
    parser = ConfigParser(deepcopy(CONFIG))
    parser.update(values)
    return parser.get_parsed_content("volume_transforms")


def _items(folder: Path, split: Any = "train") -> list[dict[str, Any]]:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        tiny_study.write_study(folder, side=20)
    return fold_items(manifest, "fold0", split, spacing="5mm", pulses=["t1c"])


def _images(case: dict[str, Any]) -> list[torch.Tensor]:
    return [case[key] for key in ("experts", "high", "mask")]


def test_disk_gives_what_memory_gives_and_tensors_are_plain(tmp_path: Path) -> None:
    items, transform = _items(tmp_path), _transform()
    memory = prepare_cases(items, transform)
    disk = prepare_cases(items, transform, cache_dir=tmp_path / "cache")
    assert len(disk) == len(memory) == 2
    for index in range(2):
        for kept, mapped in zip(_images(memory[index]), _images(disk[index]), strict=True):
            assert type(kept) is type(mapped) is torch.Tensor
            assert torch.equal(kept, mapped)
        assert list(map(tuple, disk[index]["foreground_box"])) == memory[index]["foreground_box"]
        assert disk[index]["profile"] == memory[index]["profile"]


def test_patches_from_disk_equal_patches_from_memory(tmp_path: Path) -> None:
    items, transform = _items(tmp_path), _transform()
    patches = [
        PatchDataset(
            prepare_cases(items, transform, cache_dir=folder),  # type: ignore[arg-type]
            RandPatchd(["experts", "high", "mask"], [(16, 16, 16)], foreground_fraction=0.5),  # type: ignore[arg-type]
        )[3]
        for folder in (None, tmp_path / "cache")
    ]
    assert torch.equal(patches[0]["experts"], patches[1]["experts"])


def test_second_run_reads_the_cache_instead_of_the_files(tmp_path: Path) -> None:
    items, cache = _items(tmp_path), tmp_path / "cache"
    prepare_cases(items, _transform(), cache_dir=cache)

    def never(item: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(item)

    never.transforms = _transform().transforms  # type: ignore[attr-defined]
    assert len(prepare_cases(items, never, cache_dir=cache)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"percentile_upper": 99.0},
        {"intensity_mode": "zscore"},
        {"cache_dtype": "float32"},
        {"tolerance_voxels": 1},
    ],
    ids=str,
)
def test_cache_is_renewed_when_the_preparation_changes(tmp_path: Path, change: dict[str, Any]) -> None:
    item = _items(tmp_path)[0]
    assert fingerprint(item, _transform()) == fingerprint(item, _transform())
    assert fingerprint(item, _transform(**change)) != fingerprint(item, _transform())


def test_cache_is_renewed_when_a_file_or_a_fact_changes(tmp_path: Path) -> None:
    item, transform = _items(tmp_path)[0], _transform()
    before = fingerprint(item, transform)
    assert fingerprint({**item, "profile": (0.1, 0.1, 1.0)}, transform) != before
    os.utime(item["SMORE"], ns=(0, 0))
    assert fingerprint(item, transform) != before


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def _rewrite(path: Path, change: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None]) -> None:
    image = nib.load(path)
    data, affine = image.get_fdata(), image.affine.copy()
    change(data, affine)
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)


def _put_nan(path: Path) -> None:
    _rewrite(path, lambda data, affine: data.__setitem__((3, 3, 3), np.nan))


def _empty(path: Path) -> None:
    _rewrite(path, lambda data, affine: data.fill(0))


def _shift(path: Path) -> None:
    _rewrite(path, lambda data, affine: affine.__setitem__((0, 3), 7.0))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncate, "must be a readable image"),
        (_put_nan, "must be finite"),
        (_empty, "must show something"),
        (_shift, "must lie within 3 voxels of BSPLINE, got 7"),
    ],
)
def test_bad_expert_is_one_line_that_names_the_file(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    items = _items(tmp_path)
    spoil(tmp_path / "p1_SR-SMORE.nii.gz")
    with pytest.raises(ValueError, match=words) as caught:
        prepare_cases(items, _transform())
    assert "p1_SR-SMORE.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_cases_are_skipped_only_when_asked_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = _items(tmp_path)
    _truncate(tmp_path / "p1_lr.nii.gz")
    assert len(prepare_cases(items, _transform(), skip_bad_cases=True)) == 1
    assert "case left out" in caplog.text
    assert "p1_lr.nii.gz" in caplog.text
    _truncate(tmp_path / "p0_lr.nii.gz")
    with pytest.raises(ValueError, match=r"p0_lr\.nii\.gz .* \(and 1 more cases\)"):
        prepare_cases(items, _transform(), skip_bad_cases=True)


def test_rows_with_missing_files_are_skipped_only_when_asked(tmp_path: Path) -> None:
    _items(tmp_path)
    (tmp_path / "p1_SR-ECLARE.nii.gz").unlink()
    with pytest.raises(ValueError, match="no such file"):
        _items(tmp_path)
    kept = fold_items(
        tmp_path / "manifest.json", "fold0", "train", spacing="5mm", pulses=["t1c"], skip_bad_cases=True
    )
    assert [item["subject"] for item in kept] == ["p0"]

"""Scans of a run: kept by content, mirrored with their centroids, blanked, repeated by seed and index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from revoxel.core.folds import Fold
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.resampled import NetworkGrid
from revoxel.semivae.learning.bank import Augmentation, ScanBank
from revoxel.semivae.learning.measures import MeasuredStudy, measured_study, mirrored_values
from revoxel.semivae.network.partition import LatentPartition
from semivae_cohort import FEATURES, PARTS, write_small_cohort

GRID = NetworkGrid(6.5, 32)
PARTITION = LatentPartition.from_dict(PARTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="module")
def measured(folder: Path) -> MeasuredStudy:
    study = write_small_cohort(folder / "cohort")
    return measured_study(study, "fold0", folder / "run", FEATURES, min_count=2)


def bank(measured: MeasuredStudy, folder: Path, **options) -> ScanBank:
    return ScanBank(measured, options.pop("split", "train"), GRID, PARTITION, folder / "cubes", **options)


def always(mirror: bool, **others) -> Augmentation:
    return Augmentation(mirror=mirror, drop_pulse=others.pop("drop_pulse", 0.0), gain=others.pop("gain", 0.0))


def mirrored_index(scans: ScanBank) -> int:
    """An index whose draw is mirrored."""
    return next(i for i in range(0, 500, len(scans)) if np.random.default_rng((scans.seed, i)).random() < 0.5)


def test_item_depends_on_seed_and_index_alone(measured: MeasuredStudy, folder: Path) -> None:
    first, again, other = (bank(measured, folder, augmentation=Augmentation(), seed=s) for s in (1, 1, 2))
    assert all(torch.equal(first[3][key], again[3][key]) for key in ("image", "targets", "available"))
    assert any(not torch.equal(first[i]["image"], other[i]["image"]) for i in range(4))
    plain = bank(measured, folder)
    assert torch.equal(plain[1]["image"], plain[1 + len(plain)]["image"])


def test_mirrored_scan_has_the_centroid_that_its_mirrored_label_map_has(
    measured: MeasuredStudy, folder: Path
) -> None:
    scans, plain = bank(measured, folder, augmentation=always(mirror=True)), bank(measured, folder)
    index = mirrored_index(scans)
    assert torch.equal(scans[index]["image"], plain[0]["image"].flip(1))
    assert torch.equal(scans[index]["tumour"], plain[0]["tumour"].flip(1))
    column = FEATURES.index("wt.centroid_r_mm")
    fitted = measured.normalizer.fitted
    here, there = (float(item["targets"][column]) for item in (plain[0], scans[index]))
    centre, scale = fitted.centre[column], fitted.scale[column]
    assert np.isclose(there * scale + centre, -(here * scale + centre), atol=1e-4)
    others = [i for i in range(len(FEATURES)) if i != column]
    assert torch.allclose(scans[index]["targets"][others], plain[0]["targets"][others])


def test_mirrored_values_are_those_of_the_mirrored_label_map() -> None:
    label = np.zeros((20, 18, 16), dtype=np.uint8)
    label[3:9, 4:10, 5:12] = 2
    affine = np.diag((2.0, 2.0, 2.0, 1.0))
    here, there = (extract_tumour_features(one, affine=affine).values for one in (label, label[::-1].copy()))
    expected = mirrored_values(here)
    assert all(np.isclose(there[name], expected[name], equal_nan=True) for name in there)


def test_mirror_is_refused_where_centroids_are_in_the_scanner(measured: MeasuredStudy, folder: Path) -> None:
    table = replace(measured.table, settings={**measured.table.settings, "origin": "world"})
    with pytest.raises(SystemExit, match="mirror must be off"):
        bank(replace(measured, table=table), folder, augmentation=Augmentation())


def test_blanked_pulses_are_told_and_never_all(measured: MeasuredStudy, folder: Path) -> None:
    scans = bank(measured, folder, augmentation=always(mirror=False, drop_pulse=0.8))
    seen = torch.stack([scans[i]["available"] for i in range(40)])
    assert seen.any(dim=1).all()
    assert not seen.all()
    assert all(scans[i]["measured"].all() for i in range(4))


def test_cubes_are_kept_and_made_again_when_a_file_changes(measured: MeasuredStudy, folder: Path) -> None:
    files = {file.path: file.path.stat().st_mtime_ns for file in bank(measured, folder).files}
    assert all(path.stat().st_mtime_ns == made for path, made in files.items())
    changed = replace(
        measured,
        table=replace(measured.table, rows=tuple({**r, "sha256": "0" * 64} for r in measured.table.rows)),
    )
    assert not files.keys() & {file.path for file in bank(changed, folder).files}


def test_half_written_cube_is_no_cube(measured: MeasuredStudy, folder: Path) -> None:
    scans = bank(measured, folder)
    whole = scans.files[0].path.read_bytes()
    scans.files[0].path.unlink()
    scans.files[0].path.with_name(".x.partial.pt").write_bytes(whole[:100])
    assert torch.equal(bank(measured, folder)[0]["image"], scans[0]["image"])


def test_patient_of_the_wrong_split_is_refused(measured: MeasuredStudy, folder: Path) -> None:
    swapped = Fold(name="swapped", train=measured.fold.test, val=[], test=[])
    with pytest.raises(ValueError, match="must be used as the normalizer knows it"):
        bank(replace(measured, fold=swapped), folder)[0]


def test_scan_without_images_and_empty_split_are_refused(measured: MeasuredStudy, folder: Path) -> None:
    nobody = measured.fold.model_copy(update={"test": []})
    with pytest.raises(SystemExit, match="scans of split test must have images, got no scan"):
        bank(replace(measured, fold=nobody), folder, split="test")
    blind = [scan.model_copy(update={"images": {}}) for scan in measured.study.scans]
    study = measured.study.model_copy(update={"scans": blind})
    with pytest.raises(SystemExit, match="got none for phantom"):
        bank(replace(measured, study=study), folder)


def test_limit_spreads_over_the_split(measured: MeasuredStudy, folder: Path) -> None:
    few = bank(measured, folder, limit=2)
    everyone = [file.scan.scan_id for file in bank(measured, folder).files]
    assert [file.scan.scan_id for file in few.files] == [everyone[0], everyone[-1]]


@pytest.mark.parametrize("wrong", [{"drop_pulse": 1.0}, {"gain": -0.1}])
def test_impossible_chances_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Augmentation(**wrong)

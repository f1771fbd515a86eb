"""Patches: pairs that belong together, drawn anew every epoch, the same for the same seed."""

import pytest
import torch

from ct_study import write_ct_study
from revoxel.ct.consistency import block_mean
from revoxel.ct.learning.patches import PatchBank, PatchRecipe
from revoxel.ct.learning.training import training_record, training_rows, validation_rows
from revoxel.ct.scans.coarse import CoarseMode
from revoxel.ct.scans.study import load_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_study(write_ct_study(tmp_path_factory.mktemp("study")))


def bank(study, recipe=None, **options):
    return PatchBank(study, study.rows, recipe or PatchRecipe(size=16), 4, **options)


def test_coarse_patch_is_the_block_mean_of_the_fine_one(study):
    patches = bank(study, PatchRecipe(size=16, zooms=(1.0, 2.0), intensity=0.2), seed=3)
    for index in range(8):
        item = patches[index]
        assert item["label"].shape == (1, 16, 16, 16)
        assert torch.allclose(block_mean(item["label"][None])[0], item["image"], atol=1e-3)


def test_an_item_depends_on_seed_and_index_alone(study):
    one, two = bank(study, seed=1), bank(study, seed=1)
    one[3]
    assert torch.equal(one[9]["label"], two[9]["label"])
    assert not torch.equal(one[9]["label"], bank(study, seed=2)[9]["label"])
    assert not torch.equal(one[1]["label"], one[5]["label"])


def test_validation_patches_stay_as_they_are(study):
    patches = bank(study, augment=False)
    assert torch.equal(patches[1]["label"], patches[5]["label"])


def test_volumes_smaller_than_a_patch_are_filled_with_air(study):
    item = bank(study, PatchRecipe(size=64))[0]
    assert item["label"].shape == (1, 64, 64, 64)
    assert float((item["label"] == 0).float().mean()) > 0.5


def test_rows_of_a_fold_never_hold_whom_it_leaves_out(study):
    assert [row.patient_id for row in training_rows(study, "without-p1")] == ["p0"]
    assert [row.patient_id for row in validation_rows(study, "without-p1")] == ["p0"]
    assert len(training_rows(study, "all")) == 2
    assert training_record(study.rows)["patients"] == ["p0", "p1"]
    with pytest.raises(SystemExit, match="fold must be one of"):
        training_rows(study, "without-p9")


@pytest.mark.parametrize(("size", "message"), [(12, "at least 16"), (18, "divisible by 4")])
def test_patch_sizes_that_do_not_fit_are_refused(study, size, message):
    with pytest.raises(ValueError, match=message):
        bank(study, PatchRecipe(size=size))


def test_other_spacings_need_block_means(study):
    corrupted = study.model_copy(update={"mode": CoarseMode.CORRUPT})
    with pytest.raises(ValueError, match="zooms must be"):
        bank(corrupted, PatchRecipe(size=16, zooms=(1.0, 2.0)))
    with pytest.raises(ValueError, match="rows to learn from"):
        PatchBank(study, [], PatchRecipe(size=16), 4)

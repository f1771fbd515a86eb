"""Folds are drawn by patient, and studies that would mix patients are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoxel.core.folds import (
    Fold,
    automatic_folds,
    fold_named,
    refuse_repeats,
    refuse_shared,
    refuse_strangers,
)


@given(n_patients=st.integers(3, 30), n_folds=st.integers(3, 10), seed=st.integers(0, 99))
def test_automatic_folds_test_every_patient_once_and_never_mix(
    n_patients: int, n_folds: int, seed: int
) -> None:
    patients = [f"p{i}" for i in range(n_patients)]
    if n_folds > n_patients:
        with pytest.raises(ValueError, match="number of folds"):
            automatic_folds(patients, n_folds, seed=seed)
        return
    folds = automatic_folds(patients, n_folds, seed=seed)
    assert sorted(patient for fold in folds for patient in fold.test) == sorted(patients)
    for fold in folds:
        assert sorted([*fold.train, *fold.val, *fold.test]) == sorted(patients)
        assert fold.train
    assert folds == automatic_folds(patients[::-1], n_folds, seed=seed)


def test_what_belongs_to_two_patients_is_refused_with_both_places() -> None:
    refuse_shared([("row a", "x.nii", "p1"), ("row b", "x.nii", "p1"), ("row c", "y.nii", "p2")])
    with pytest.raises(ValueError, match=r"row b must belong to one patient.*'p1' \(row a\) and 'p2'"):
        refuse_shared([("row a", "x.nii", "p1"), ("row b", "x.nii", "p2")])


def test_repeats_strangers_and_unknown_folds_are_refused() -> None:
    fold = Fold(name="fold0", train=["p1"], val=["p9"])
    with pytest.raises(ValueError, match=r"names must be distinct, got \['a'\]"):
        refuse_repeats(["a", "b", "a"])
    with pytest.raises(ValueError, match=r"fold0 must name patients of rows, got \['p9'\]"):
        refuse_strangers([fold], ["p1"], "rows")
    assert fold_named([fold], "fold0") is fold
    with pytest.raises(ValueError, match=r"fold must be one of \['fold0'\], got 'other'"):
        fold_named([fold], "other")

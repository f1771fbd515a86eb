"""Patient-wise folds, and what a study must hold so that no patient gets onto both sides of one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from revoxel.core.strict_json import Strict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

Split = Literal["train", "val", "test"]
MIN_FOLDS = 3


class Fold(Strict):
    """A patient-wise split; every list holds patients, not subjects."""

    name: Annotated[str, Field(min_length=1)]
    train: list[str]
    val: list[str]
    test: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            shared = sorted(set(getattr(self, first)) & set(getattr(self, second)))
            if shared:
                msg = f"{first} and {second} must be disjoint, got {shared}; keep a patient in one list"
                raise ValueError(msg)
        return self


def refuse_repeats(names: Sequence[str], what: str = "names") -> None:
    """Refuse a name that stands twice.

    Args:
        names: of one kind.
        what: what they are, for the message.

    Raises:
        ValueError: If a name repeats.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{what} must be distinct, got {twice} more than once; rename or remove one"
        raise ValueError(msg)


def refuse_shared(belongings: Iterable[tuple[str, str, str]]) -> None:
    """Refuse a file, or whatever tells one, that stands under two patients.

    Args:
        belongings: place in the study, thing and patient.

    Raises:
        ValueError: If a thing belongs to two patients.
    """
    owners: dict[str, tuple[str, str]] = {}
    for place, thing, patient in belongings:
        first, owner = owners.setdefault(thing, (place, patient))
        if patient != owner:
            msg = (
                f"{place} must belong to one patient, got {thing!r} for {owner!r} ({first}) and {patient!r}; "
            )
            msg += "folds would mix them: correct the patient of one"
            raise ValueError(msg)


def refuse_strangers(folds: Iterable[Fold], patients: Collection[str], entries: str) -> None:
    """Refuse a fold that names a patient of whom the study holds nothing.

    Args:
        folds: of the study.
        patients: of the study.
        entries: what the study calls its entries, for the message.

    Raises:
        ValueError: If there is such a patient.
    """
    for fold in folds:
        missing = sorted({*fold.train, *fold.val, *fold.test} - set(patients))
        if missing:
            known = sorted(set(patients))
            msg = f"fold {fold.name} must name patients of {entries}, got {missing}; known are {known}"
            raise ValueError(msg)


def fold_named(folds: Sequence[Fold], name: str) -> Fold:
    """The fold of that name.

    Args:
        folds: of a study.
        name: of one.

    Raises:
        ValueError: If there is none.
    """
    for fold in folds:
        if fold.name == name:
            return fold
    names = [fold.name for fold in folds]
    msg = f"fold must be one of {names}, got {name!r}; choose one, or add folds to the study."
    raise ValueError(msg)


def automatic_folds(patients: Sequence[str], n_folds: int, *, seed: int = 0) -> list[Fold]:
    """Draw patient-wise folds: fold k tests on block k, validates on block k + 1, trains on the rest.

    Args:
        patients: distinct patients.
        n_folds: number of blocks, at least 3 so that something is left to train on.
        seed: seed of the shuffle.

    Returns:
        `n_folds` folds named `fold0`, `fold1`, ...

    Raises:
        ValueError: If there are fewer than 3 folds or fewer patients than folds.
    """
    distinct = sorted(set(patients))
    if not MIN_FOLDS <= n_folds <= len(distinct):
        msg = (
            f"number of folds must be between {MIN_FOLDS} and the number of patients ({len(distinct)}), "
            f"got {n_folds}; add patients or write the folds by hand."
        )
        raise ValueError(msg)
    random.Random(seed).shuffle(distinct)  # noqa: S311 -- a reproducible split, not a secret
    blocks = [sorted(distinct[start::n_folds]) for start in range(n_folds)]
    return [_fold(blocks, index) for index in range(n_folds)]


def _fold(blocks: list[list[str]], index: int) -> Fold:
    validation = (index + 1) % len(blocks)
    train = [p for i, block in enumerate(blocks) if i not in {index, validation} for p in block]
    return Fold(name=f"fold{index}", train=sorted(train), val=blocks[validation], test=blocks[index])

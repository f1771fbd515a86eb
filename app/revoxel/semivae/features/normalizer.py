"""Features as a network sees them: centred and scaled by the training patients alone, NaN kept as a mask."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revoxel.core.volumes import atomic_path
from revoxel.semivae.features.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.core.folds import Split
    from revoxel.semivae.features.table import FeatureTable

_IQR_PER_STD = 1.349  # of a normal distribution
_SMALLEST_RELATIVE_SCALE = 1e-9


class Method(StrEnum):
    """Centre and scale: mean and standard deviation, or median and quartiles."""

    ZSCORE = "zscore"
    ROBUST = "robust"


class FittedStatistics(BaseModel):
    """What was learnt from the training patients; all that the JSON file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["1"] = SCHEMA_VERSION
    method: Method
    features: Annotated[list[str], Field(min_length=1)]
    residualize: dict[str, str]
    min_count: int
    centre: list[float]
    scale: list[Annotated[float, Field(gt=0)]]
    intercept: list[float]
    slope: list[float]
    train_ids: list[str]
    train_sha256: str


class FeatureNormalizer:
    """Turn feature values into targets and back.

    A residualised feature is what its covariate does not tell: value - (intercept + slope * covariate), the
    line fitted on the training patients.

    Args:
        features: Which, in the order of the targets.
        method: `zscore` or `robust`.
        residualize: Covariate by feature, such as `{"wt.log_surface": "wt.log_volume"}`; both are features.
        min_count: Training scans that must have a feature.

    Raises:
        ValueError: If a feature comes twice, or a covariate is no feature or is residualised itself.
    """

    def __init__(
        self,
        features: Sequence[str],
        method: Method | str = Method.ZSCORE,
        residualize: Mapping[str, str] | None = None,
        min_count: int = 20,
    ) -> None:
        self.features, self.method, self.min_count = tuple(features), Method(method), min_count
        self.residualize = dict(residualize or {})
        self._fitted: FittedStatistics | None = None
        if not self.features or len(set(self.features)) != len(self.features):
            msg = f"features must be distinct names, got {list(features)}; name each once."
            raise ValueError(msg)
        for name, covariate in self.residualize.items():
            if not {name, covariate} <= set(self.features) or covariate in self.residualize:
                msg = (
                    f"residualize must map a feature to another that stays, got {name!r}: {covariate!r}; "
                    "add both to features."
                )
                raise ValueError(msg)

    @property
    def fitted(self) -> FittedStatistics:
        """What was learnt.

        Raises:
            ValueError: Before `fit`.
        """
        if self._fitted is None:
            msg = "normalizer must be fitted first, got none; call fit or read one with from_json."
            raise ValueError(msg)
        return self._fitted

    def fit(
        self, table: FeatureTable, train_ids: Sequence[str], eval_ids: Collection[str] = ()
    ) -> FeatureNormalizer:
        """Learn centre, scale and lines from the training patients.

        Args:
            table: Of the whole study; rows of other patients are not looked at.
            train_ids: Patients to learn from; all their visits count.
            eval_ids: Patients of validation and test, to be refused among `train_ids`.

        Returns:
            Itself.

        Raises:
            ValueError: If a patient comes twice, is unknown or is in both lists; or a feature is constant, or
                defined in too few training scans.
        """
        _check_ids(table, train_ids, eval_ids)
        wanted = set(train_ids)
        rows = [row for row in table.rows if row["patient_id"] in wanted]
        values = table.values(self.features, rows)
        self._check_counts(values)
        lines = [self._line(values, name) for name in self.features]
        residuals = self._residuals(values, *np.array(lines).T)
        centre, scale = _centre_and_scale(residuals, self.method)
        self._check_scale(centre, scale)
        self._fitted = FittedStatistics(
            method=self.method,
            features=list(self.features),
            residualize=self.residualize,
            min_count=self.min_count,
            centre=centre.tolist(),
            scale=scale.tolist(),
            intercept=[line[0] for line in lines],
            slope=[line[1] for line in lines],
            train_ids=sorted(wanted),
            train_sha256=_digest([row["scan_id"] for row in rows], values),
        )
        return self

    def transform(
        self, values: Mapping[str, float], *, patient_id: str | None = None, split: Split | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn one scan's values into targets.

        Args:
            values: Value by feature.
            patient_id: Whose; checked together with `split`.
            split: What the patient is used for.

        Returns:
            `(feature,)` targets, 0 where not defined, and `(feature,)` which are defined.

        Raises:
            ValueError: If it is not fitted, a value is missing, or a training patient is used as `val` or
                `test`, or another one as `train`.
        """
        fitted = self.fitted
        _check_split(fitted, patient_id, split)
        missing = [name for name in self.features if name not in values]
        if missing:
            msg = f"values must have the features {list(self.features)}, got none of {missing}; measure them."
            raise ValueError(msg)
        raw = np.array([[values[name] for name in self.features]], dtype=np.float64)
        targets = (self._residuals(raw, fitted.intercept, fitted.slope) - fitted.centre) / fitted.scale
        known = np.isfinite(targets[0])
        return np.where(known, targets[0], 0.0).astype(np.float32), known

    def inverse_transform(
        self, targets: NDArray[np.floating[Any]], known: NDArray[np.bool_] | None = None
    ) -> dict[str, float]:
        """Turn targets or predictions back into values in their units.

        Args:
            targets: `(feature,)`.
            known: Which of them mean something; default: all.

        Returns:
            Value by feature, NaN where not known.

        Raises:
            ValueError: If it is not fitted, or the number of targets is another.
        """
        fitted = self.fitted
        if targets.shape != (len(self.features),):
            msg = f"targets must be ({len(self.features)},), got {targets.shape}; give one scan's targets."
            raise ValueError(msg)
        residuals = np.asarray(targets, dtype=np.float64) * fitted.scale + fitted.centre
        residuals = residuals if known is None else np.where(known, residuals, np.nan)
        values = dict(zip(self.features, residuals.tolist(), strict=True))
        for name, covariate in self.residualize.items():
            at = self.features.index(name)
            values[name] += fitted.intercept[at] + fitted.slope[at] * values[covariate]
        return values

    def to_json(self, path: Path, *, overwrite: bool = False) -> Path:
        """Write what was learnt; the same training rows give the same bytes.

        Args:
            path: JSON file.
            overwrite: Replace a file that exists.

        Returns:
            `path`.

        Raises:
            ValueError: If it is not fitted.
            FileExistsError: If `path` exists and `overwrite` is false.
            OSError: If it cannot be written.
        """
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(self.to_text(), encoding="utf-8")
        return path

    def to_text(self) -> str:
        """What was learnt, as the JSON file holds it.

        Raises:
            ValueError: If it is not fitted.
        """
        return json.dumps(self.fitted.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> FeatureNormalizer:
        """Read a fitted normaliser.

        Args:
            path: Of `to_json`.

        Returns:
            Ready to transform.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is none.
        """
        return cls.from_text(path.read_bytes(), path)

    @classmethod
    def from_text(cls, text: str | bytes, path: Path) -> FeatureNormalizer:
        """Read a fitted normaliser from what `to_text` gave.

        Args:
            text: JSON.
            path: File that it stood in, for the error.

        Returns:
            Ready to transform.

        Raises:
            ValueError: If it is none.
        """
        try:
            fitted = FittedStatistics.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "file"
            msg = f"{path} must be a fitted normalizer, got {where}: {first['msg']}; fit it again."
            raise ValueError(msg) from error
        normalizer = cls(fitted.features, fitted.method, fitted.residualize, fitted.min_count)
        normalizer._fitted = fitted
        return normalizer

    def _check_counts(self, values: NDArray[np.float64]) -> None:
        for name, count in zip(self.features, np.isfinite(values).sum(axis=0), strict=True):
            if count < self.min_count:
                msg = (
                    f"{name} must be defined in at least {self.min_count} training scans, got {count}; "
                    "leave the feature out, or lower min_count."
                )
                raise ValueError(msg)

    def _check_scale(self, centre: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        constant = scale <= _SMALLEST_RELATIVE_SCALE * np.maximum(np.abs(centre), 1.0)
        if constant.any():
            at = int(np.argmax(constant))
            msg = f"{self.features[at]} must vary, got the constant {centre[at]:g}; leave the feature out."
            raise ValueError(msg)

    def _line(self, values: NDArray[np.float64], name: str) -> tuple[float, float]:
        if name not in self.residualize:
            return 0.0, 0.0
        y = values[:, self.features.index(name)]
        x = values[:, self.features.index(self.residualize[name])]
        both = np.isfinite(x) & np.isfinite(y)
        slope, intercept = np.polyfit(x[both], y[both], 1)
        return float(intercept), float(slope)

    def _residuals(
        self,
        values: NDArray[np.float64],
        intercept: NDArray[np.float64] | list[float],
        slope: NDArray[np.float64] | list[float],
    ) -> NDArray[np.float64]:
        covariates = np.zeros_like(values)
        for name, covariate in self.residualize.items():
            covariates[:, self.features.index(name)] = values[:, self.features.index(covariate)]
        return values - np.asarray(intercept) - np.asarray(slope) * covariates


def _centre_and_scale(
    values: NDArray[np.float64], method: Method
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if method is Method.ZSCORE:
        return np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
    low, middle, high = np.nanpercentile(values, (25, 50, 75), axis=0)
    return middle, (high - low) / _IQR_PER_STD


def _check_ids(table: FeatureTable, train_ids: Sequence[str], eval_ids: Collection[str]) -> None:
    known = {row["patient_id"] for row in table.rows}
    twice = sorted({one for one in train_ids if list(train_ids).count(one) > 1})
    unknown = sorted(set(train_ids) - known)
    shared = sorted(set(train_ids) & set(eval_ids))
    for found, words, fix in (
        (twice, "be distinct", "name each patient once"),
        (unknown, "be in the table", "measure them or leave them out"),
        (shared, "not be evaluated on", "keep a patient in one split"),
        ([] if train_ids else ["none"], "name a patient", "give the patients of the training split"),
    ):
        if found:
            msg = f"train_ids must {words}, got {found}; {fix}."
            raise ValueError(msg)


def _check_split(fitted: FittedStatistics, patient_id: str | None, split: str | None) -> None:
    if patient_id is None or split is None:
        return
    learnt = patient_id in fitted.train_ids
    if learnt != (split == "train"):
        where = "was" if learnt else "was not"
        msg = (
            f"patient {patient_id!r} must be used as the normalizer knows it, got split {split!r} though "
            f"it {where} among its training patients; refit on this split's training patients."
        )
        raise ValueError(msg)


def _digest(scan_ids: list[str], values: NDArray[np.float64]) -> str:
    """Fingerprint of the rows that were learnt from, independent of their order."""
    lines = sorted(
        f"{name}:{','.join(repr(float(value)) for value in row)}"
        for name, row in zip(scan_ids, values, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

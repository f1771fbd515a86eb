"""What a run predicts: features of its study, and a normaliser of its training patients, kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from revoxel.core.folds import Fold
from revoxel.core.one_line import one_line_errors
from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.precompute import PrecomputeSettings, precompute_features
from revoxel.semivae.features.record import Origin
from revoxel.semivae.features.table import FeatureTable, read_table
from revoxel.semivae.study import TumourStudy, read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from revoxel.core.folds import Split
    from revoxel.semivae.study import TumourScan

#: Fold that trains on every patient.
ALL = "all"
STUDY = "study.json"
KEPT_TABLE, KEPT_NORMALIZER = "features.json", "normalizer.json"


@dataclass(frozen=True, eq=False)
class MeasuredStudy:
    """Scans, splits and targets of one run.

    Attributes:
        study: Whose scans.
        fold: Who is trained on, watched and left out.
        table: Features of every scan.
        normalizer: Fitted on the fold's training patients and on nobody else.
    """

    study: TumourStudy
    fold: Fold
    table: FeatureTable
    normalizer: FeatureNormalizer

    def scans(self, split: Split) -> list[TumourScan]:
        """Scans of one split that have images; without validation patients those of the training.

        Args:
            split: `train`, `val` or `test`.

        Raises:
            ValueError: If a scan has no image, or the split no scan.
        """
        chosen = self.study.scans_of(getattr(self.fold, split) or (self.fold.train if split == "val" else []))
        blind = [scan.scan_id for scan in chosen if not scan.images]
        if blind or not chosen:
            found = f"none for {', '.join(blind)}" if blind else "no scan"
            msg = f"scans of split {split} must have images, got {found}; add them, or choose another fold."
            raise ValueError(msg)
        return chosen

    @property
    def mirrors(self) -> bool:
        """Whether a mirrored scan's features are known without measuring it again."""
        return self.table.settings["origin"] == Origin.IMAGE_CENTER


def study_file(path: str | Path) -> Path:
    """A study file itself, or `study.json` of a folder.

    Args:
        path: File or folder.
    """
    return Path(path) / STUDY if Path(path).is_dir() else Path(path)


def opened_fold(path: str | Path | None, fold: str | None) -> tuple[TumourStudy, Fold]:
    """Read a study and who is in which split.

    Args:
        path: Study file or its folder.
        fold: Name of a fold; `all`, the default, trains on every patient.

    Raises:
        ValueError: If there is no study or no such fold.
        FileNotFoundError: If the file is missing.
    """
    if path is None:
        msg = "study must be given, got none; give --study FOLDER (revoxel semivae synthesise makes one)."
        raise ValueError(msg)
    study = read_study(study_file(path))
    if fold in {None, ALL}:
        return study, Fold(name=ALL, train=sorted({scan.patient_id for scan in study.scans}), val=[])
    return study, study.fold(str(fold))


def measured_study(  # noqa: PLR0913 - one line of the bundle's configuration each
    study: str | Path | None,
    fold: str | None,
    folder: str | Path,
    features: Sequence[str],
    *,
    table: str | Path | None = None,
    normalizer: str | Path | None = None,
    min_count: int = 20,
    residualize: Mapping[str, str] | None = None,
) -> MeasuredStudy:
    """Open the study of a run; what is not given is measured and fitted, and kept beside the run.

    Args:
        study: Study file or its folder.
        fold: Name of a fold, or `all`.
        folder: Of the run.
        features: Those to predict, in the order of the targets.
        table: Feature table of `revoxel semivae features`; None measures.
        normalizer: Fitted normaliser; None fits one.
        min_count: Training scans that must have a feature.
        residualize: Covariate by feature, when a normaliser is fitted: what the covariate tells is taken out.
            Features that are not among those to predict are passed over.

    Raises:
        SystemExit: With one line, if something is missing, cannot be measured or leaks between splits.
    """
    with one_line_errors():
        opened, chosen = opened_fold(study, fold)
        measured = read_table(Path(table)) if table else _measured(opened, Path(folder))
        if normalizer:
            fitted = FeatureNormalizer.from_json(Path(normalizer))
        else:
            lines = {name: other for name, other in (residualize or {}).items() if name in features}
            fitted = FeatureNormalizer(features, residualize=lines, min_count=min_count)
            fitted.fit(measured, chosen.train, eval_ids=[*chosen.val, *chosen.test])
        _check_normalizer(fitted, chosen, features)
        fitted.to_json(Path(folder) / KEPT_NORMALIZER, overwrite=True)
        return MeasuredStudy(opened, chosen, measured, fitted)


def mirrored_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Features of a scan after left and right are exchanged about its middle.

    Args:
        values: By name; centroids relative to the middle of the image.
    """
    return {name: -value if name.endswith(".centroid_r_mm") else value for name, value in values.items()}


def _measured(study: TumourStudy, folder: Path) -> FeatureTable:
    with tqdm(total=len(study.scans), desc="features", leave=False, disable=None) as bar:
        result = precompute_features(
            study, folder / KEPT_TABLE, PrecomputeSettings(grid=None), _advances(bar, len(study.scans))
        )
    if result.failed:
        name, reason = next(iter(result.failed.items()))
        msg = f"all scans must be measured, got {len(result.failed)} that could not; first {name}: {reason}"
        raise ValueError(msg)
    return result.table


def _advances(bar: Any, total: int) -> Callable[[float], None]:
    return lambda share: bar.update(round(share * total) - bar.n)


def _check_normalizer(fitted: FeatureNormalizer, fold: Fold, features: Sequence[str]) -> None:
    learnt = sorted(fitted.fitted.train_ids)
    if learnt != sorted(set(fold.train)):
        strangers = sorted(set(learnt) ^ set(fold.train))[:5]
        msg = (
            f"normalizer must be fitted on the training patients of fold {fold.name}, got others "
            f"(such as {', '.join(strangers)}); fit it on this fold."
        )
        raise ValueError(msg)
    if tuple(fitted.features) != tuple(features):
        msg = (
            f"normalizer must have the features of the partition, {', '.join(features)}, got "
            f"{', '.join(fitted.features)}; fit it with --features {','.join(features)}."
        )
        raise ValueError(msg)

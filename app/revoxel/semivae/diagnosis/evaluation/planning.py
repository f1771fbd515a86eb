"""Before an evaluation: whose scans, whether the network has seen them, and what was made before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.folds import Fold
from revoxel.core.provenance import sha256_of
from revoxel.semivae.diagnosis.evaluation.outputs import EvaluationPaths
from revoxel.semivae.network.models import patients_digest

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.study import TumourScan, TumourStudy

_FEWEST_TEST = 3
#: More make probes slower, not much better.
PROBE_PATIENTS = 200


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation that can begin.

    Args:
        study: Whose scans.
        fold: `test`: patients to evaluate; `train`: patients that probes are fitted on and that the network
            knows; `val`: such patients that it does not know.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        why: Why it has to be made; empty if these very results exist already.
        warnings: What must stand beside the figures.
    """

    study: TumourStudy
    fold: Fold
    paths: EvaluationPaths
    request: dict[str, Any]
    why: str
    warnings: tuple[str, ...] = ()

    @property
    def test(self) -> list[TumourScan]:
        """Scans to evaluate."""
        return self.study.scans_of(self.fold.test)

    @property
    def probes(self) -> list[TumourScan]:
        """Scans that probes are fitted on."""
        return self.study.scans_of([*self.fold.train, *self.fold.val])


def plan_evaluation(
    study: TumourStudy,
    fold: str | None,
    model: SemiVaeModel,
    out: Path,
    *,
    n_probe_patients: int = PROBE_PATIENTS,
    overwrite: bool = False,
) -> EvaluationPlan:
    """Choose patients and check everything that can be known before images are read.

    Args:
        study: Whose scans.
        fold: Its test patients are evaluated, its training patients serve for probes; None takes the study's
            only fold, or all patients of a study without folds.
        model: The network.
        out: Output folder.
        n_probe_patients: Training patients that probes are fitted on, at most; 0 fits none.
        overwrite: Replace results that exist.

    Returns:
        The plan.

    Raises:
        FileExistsError: If other results exist that may not be replaced.
        FileNotFoundError: If a file is missing.
        ValueError: If the fold is unknown or has too few test patients, the network was trained on one of
            them, or a scan has no image.
    """
    chosen = _chosen(study, fold)
    refuse_seen(chosen.test, model)
    known = set(model.normalizer.fitted.train_ids)
    # Evenly spread: patients may be listed by site or date.
    step = max(1.0, len(chosen.train) / max(n_probe_patients, 1))
    probes = [chosen.train[int(step * at)] for at in range(min(n_probe_patients, len(chosen.train)))]
    split = Fold(
        name=chosen.name,
        train=[patient for patient in probes if patient in known],
        val=[patient for patient in probes if patient not in known],
        test=chosen.test,
    )
    scans = study.scans_of([*probes, *chosen.test])
    _check_files(study, scans)
    files = {f"{scan.scan_id} {role}": path for scan in scans for role, path in _files(study, scan).items()}
    request = as_plain(
        {
            "fold": split.model_dump(),
            "sha256": {
                "network": sha256_of(model.path),
                **{role: sha256_of(path) for role, path in files.items()},
            },
        }
    )
    paths = EvaluationPaths(out)
    existing = paths.existing()
    why = why_not_done(paths.metrics, existing, request)
    refuse_other_results(paths.metrics, existing, why, overwrite=overwrite)
    return EvaluationPlan(study, split, paths, request, why, tuple(_warnings(split, model)))


def refuse_seen(patients: list[str], model: SemiVaeModel) -> None:
    """Keep patients that a network was trained on out of a table of results.

    Args:
        patients: To evaluate.
        model: The network; its normaliser names its training patients, its record has their digest.

    Raises:
        ValueError: If there are any, or the network does not say whom it was trained on.
    """
    trained = model.normalizer.fitted.train_ids
    digest = (model.record.get("training") or {}).get("patients_sha256")
    if digest is not None and digest != patients_digest(trained):
        msg = (
            f"{model.path} must name the patients it was trained on, got a list of others (their digest "
            "differs); train it again."
        )
        raise ValueError(msg)
    seen = sorted(set(patients) & set(trained))
    if seen:
        names = ", ".join(seen[:5]) + (f" and {len(seen) - 5} more" if len(seen) > 5 else "")
        msg = (
            f"patients to evaluate must not be among those that {model.path.name} learnt from, got {names}; "
            "name the fold of the training with --fold, or evaluate another study."
        )
        raise ValueError(msg)


def _chosen(study: TumourStudy, fold: str | None) -> Fold:
    if fold is None and not study.folds:
        patients = sorted({scan.patient_id for scan in study.scans})
        chosen = Fold(name="all patients", train=[], val=[], test=patients)
    elif fold is None and len(study.folds) > 1:
        names = ", ".join(one.name for one in study.folds)
        msg = f"--fold must name one of {names}, got none; choose that of the training."
        raise ValueError(msg)
    else:
        chosen = study.folds[0] if fold is None else study.fold(fold)
    if len(chosen.test) < _FEWEST_TEST:
        msg = (
            f"{chosen.name} must have at least {_FEWEST_TEST} test patients, got {len(chosen.test)}; R2 and "
            "exchanges between scans mean nothing on fewer."
        )
        raise ValueError(msg)
    return chosen


def _check_files(study: TumourStudy, scans: list[TumourScan]) -> None:
    for scan in scans:
        if not scan.images:
            msg = f"{scan.scan_id} must have an image to evaluate, got none; name its images in the study."
            raise ValueError(msg)
        for role, path in _files(study, scan).items():
            if not path.is_file():
                msg = f"{path} ({role} of {scan.scan_id}) must be an existing file, got nothing; check it."
                raise FileNotFoundError(msg)


def _files(study: TumourStudy, scan: TumourScan) -> dict[str, Path]:
    files = {pulse.value: study.resolve(path) for pulse, path in scan.images.items()}
    return {**files, "label": study.resolve(scan.label)}


def _warnings(split: Fold, model: SemiVaeModel) -> list[str]:
    found = []
    if not (split.train or split.val):
        found.append(
            "no training patients to fit probes on: cross-probe matrix, shuffled targets, MIG, SAP and DCI "
            "are left out; give the study a fold."
        )
    if not (model.record.get("training") or {}).get("patients_sha256"):
        found.append("the weights have no digest of their training patients; only their names were compared.")
    return found

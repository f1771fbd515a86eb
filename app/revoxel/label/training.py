"""Training on the server: a manifest of its own images and truths, and the bundle's own `training`."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
from nibabel.filebasedimages import ImageFileError

from revoxel.core.bundles import bundle_folder
from revoxel.core.folds import MIN_FOLDS, Fold
from revoxel.core.geometry import Grid, slice_axis
from revoxel.core.handlers import read_epoch_log
from revoxel.core.manifest import Manifest, save_manifest
from revoxel.core.pulse_names import pulse_of
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import atomic_path
from revoxel.label.cache import ExpertCache, logged
from revoxel.label.models import Model, subject_of
from revoxel.label.refusals import unusable
from revoxel.sagnef.study.build import StudySettings, build_study
from revoxel.sagnef.study.layouts import patient_of
from revoxel.sagnef.study.rows import Row, Wanted
from revoxel.sagnef.training import model_folder

if TYPE_CHECKING:
    from revoxel.label.wishes import TrainWishes

logger = logging.getLogger(__name__)

MIN_PATIENTS = 2
_MAX_FOLDS = 5
_FOLD = "fold0"
_STATE = "run.json"


@dataclass(frozen=True)
class Pair:
    """A scan of the datastore and its truth.

    Attributes:
        scan: Thick-slice scan.
        truth: High-resolution volume that a client saved as its label.
    """

    scan: Path
    truth: Path

    @property
    def patient(self) -> str:
        """Patient that the name of the scan states."""
        return patient_of(subject_of(self.scan))[0]


@dataclass(frozen=True)
class Run:
    """One training: its folder is named after what it learns from, so that the same request goes on.

    Attributes:
        folder: Where manifest and state lie.
        spacing: Spacing of the model.
        pulse: Pulse of the model.
    """

    folder: Path
    spacing: Spacing
    pulse: Pulse

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints and the log."""
        return Path(model_folder(self.folder, self.spacing, self.pulse, _FOLD))

    @property
    def manifest(self) -> Path:
        """Manifest that it is trained on."""
        return self.folder / "manifest.json"

    def note(self, **state: Any) -> None:
        """Keep what the server tells about this run.

        Args:
            **state: Values that JSON knows; those noted before stay.
        """
        with atomic_path(self.folder / _STATE, overwrite=True) as temporary:
            temporary.write_text(json.dumps(self.state() | state), encoding="utf-8")

    def state(self) -> dict[str, Any]:
        """What was noted."""
        path = self.folder / _STATE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def stats(self) -> dict[str, Any]:
        """Progress under the names that the clients read."""
        log, state = read_epoch_log(self.checkpoints / "training_log.csv"), self.state()
        seconds = sum(float(row["seconds"]) for row in log)
        finished = {"total_time": f"{seconds:.0f} s"} if state.get("finished") else {}
        losses = [float(row["val_total"]) for row in log if row["val_total"]]
        return {
            "start_ts": state.get("start_ts"),
            "epoch": int(log[-1]["epoch"]) if log else 0,
            "total_epochs": state.get("epochs", 0),
            "train_loss": float(log[-1]["train_total"]) if log else None,
            "best_val_loss": min(losses, default=None),
            "n_cases": state.get("n_cases", 0),
            **finished,
        }


def runs_of(work: Path, spacing: Spacing, pulse: Pulse) -> list[Run]:
    """Trainings of a model on this server, the newest first.

    Args:
        work: Folder that the server writes to.
        spacing: Spacing of the model.
        pulse: Pulse of the model.
    """
    states = sorted(_folder(work, spacing, pulse).glob(f"*/{_STATE}"), key=_changed, reverse=True)
    return [Run(state.parent, spacing, pulse) for state in states]


def fitting_pairs(pairs: Sequence[Pair], model: Model) -> list[Pair]:
    """Pairs that a model can learn from.

    Args:
        pairs: Scans with truths.
        model: The model.

    Raises:
        RefusedError: If they are of fewer than two patients: one to train on and one to validate on.
    """
    fitting = [pair for pair in pairs if _kind(pair.scan) == (model.spacing, model.pulse)]
    patients = {pair.patient for pair in fitting}
    if len(patients) < MIN_PATIENTS:
        msg = (
            f"training {model.name} takes {model.spacing} {model.pulse} scans of {MIN_PATIENTS} patients "
            f"or more with a truth saved as label final, got {len(patients)}; save more truths."
        )
        raise unusable(msg)
    return fitting


def prepare_run(pairs: Sequence[Pair], model: Model, wishes: TrainWishes, cache: ExpertCache) -> Run:
    """Make missing experts and write the manifest.

    Args:
        pairs: From `fitting_pairs`.
        model: What to train.
        wishes: How.
        cache: Where experts are found and kept.

    Returns:
        The run; one that was begun with the same data and values goes on.

    Raises:
        RefusedError: If too few pairs fit together.
        ValueError: If no pair can be used.
    """
    rows = [_row(pair, model, cache) for pair in pairs]
    study = build_study(rows, Wanted(), StudySettings(n_folds=0))
    for line in (*study.problems(), *study.warnings()):
        logger.warning("%s", line)
    manifest = _with_fold(study.manifest, wishes.seed)
    content = manifest.model_dump_json() + f"{wishes.learning_rate} {wishes.seed}"
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    run = Run(_folder(cache.work, model.spacing, model.pulse) / name, model.spacing, model.pulse)
    run.folder.mkdir(parents=True, exist_ok=True)
    save_manifest(manifest, run.manifest)
    run.note(
        epochs=wishes.max_epochs,
        n_cases=len(manifest.cases),
        start_ts=time.strftime("%Y-%m-%d %H:%M:%S"),
        finished=False,
    )
    return run


def run_training(run: Run, model: Model, wishes: TrainWishes) -> dict[str, Any]:
    """Run the bundle's own training from its shipped weights, or go on where it was stopped.

    Args:
        run: From `prepare_run`.
        model: What to train.
        wishes: How.

    Returns:
        Progress at the end.
    """
    from monai.bundle import create_workflow

    folder = bundle_folder(model.name)
    values = _graph_values(run, model, wishes, folder)
    with warnings.catch_warnings():
        # The configuration is shipped with this package; no client can name another.
        warnings.filterwarnings("ignore", message="parsing config_file")
        workflow = create_workflow(
            config_file=str(folder / "configs" / "train.json"),
            logging_file=False,
            run_id="training",
            workflow_type="train",
            **values,
        )
    workflow.run()
    workflow.finalize()
    run.note(finished=True)
    return run.stats()


def _graph_values(run: Run, model: Model, wishes: TrainWishes, folder: Path) -> Mapping[str, Any]:
    return {
        **wishes.values(),
        "bundle_root": str(folder),
        "manifest": str(run.manifest),
        "fold": _FOLD,
        "out_root": str(run.folder),
        "simplex_start": False,
        "start_from": str(model.weights),
        "tensorboard": False,
    }


def _row(pair: Pair, model: Model, cache: ExpertCache) -> Row:
    experts = cache.ensure(pair.scan, logged(pair.scan.name))
    subject = subject_of(pair.scan)
    patient, timepoint = patient_of(subject)
    fields = {"subject": subject, "patient": patient, "timepoint": timepoint, "pulse": model.pulse.value}
    return Row(fields, pair.scan, pair.truth, experts)


def _with_fold(manifest: Manifest, seed: int) -> Manifest:
    """Patient-wise: validate on one share of the patients, train on the others."""
    patients = sorted({case.patient for case in manifest.cases})
    if len(patients) < MIN_PATIENTS:
        msg = f"training takes usable scans of {MIN_PATIENTS} patients, got {patients}; see the log."
        raise unusable(msg)
    if len(patients) < MIN_FOLDS:
        return manifest.model_copy(update={"folds": [Fold(name=_FOLD, train=patients[:1], val=patients[1:])]})
    fold = manifest.model_copy(update={"seed": seed}).with_folds(min(_MAX_FOLDS, len(patients))).folds[0]
    # No test set here: what is learned on a server is judged by a study of its own.
    joined = fold.model_copy(update={"train": sorted([*fold.train, *fold.test]), "test": []})
    return manifest.model_copy(update={"folds": [joined]})


def _kind(scan: Path) -> tuple[Spacing, Pulse] | None:
    """What a scan is, or None for one that no model takes."""
    try:
        image = nibabel.load(scan)
        grid = Grid(image.shape[:3], image.affine)
        return Spacing.from_separation(grid.spacing_mm[slice_axis(grid)]), pulse_of(scan)
    except (ValueError, OSError, ImageFileError):
        return None


def _folder(work: Path, spacing: Spacing, pulse: Pulse) -> Path:
    return work / "training" / f"{spacing}_{pulse}"


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns

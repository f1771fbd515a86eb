"""What the bundle's evaluation and inference call by name: the verbs `evaluate` and `encode`."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from revoxel.core.one_line import one_line_errors
from revoxel.semivae.diagnosis.evaluation.planning import plan_evaluation
from revoxel.semivae.diagnosis.evaluation.run import evaluate
from revoxel.semivae.encoding.planning import EncodeSettings, plan_encoding
from revoxel.semivae.encoding.run import encode
from revoxel.semivae.encoding.visits import find_visits
from revoxel.semivae.learning.measures import opened_fold
from revoxel.semivae.network.models import load_model


def evaluate_bundle(checkpoint: str, study: str | None, fold: str | None, folder: str) -> None:
    """Judge weights on the test patients of a fold; writes `metrics.json` and a picture.

    Args:
        checkpoint: Weights.
        study: Study file or its folder.
        fold: Name of a fold; None takes the study's only one.
        folder: Where results go.

    Raises:
        SystemExit: With one line, if something is missing, or a patient was trained on.
    """
    with one_line_errors():
        model = load_model(checkpoint)
        opened, _ = opened_fold(study, None)
        plan = plan_evaluation(opened, fold, model, Path(folder))
        if plan.why:
            with tqdm(desc="evaluate", leave=False, disable=None) as bar:
                evaluate(plan, model, lambda stage, _share: bar.set_postfix_str(stage))


def encode_bundle(checkpoint: str, dataset_dir: str | None, folder: str, device: str) -> None:
    """Encode the visits of a folder or a study; writes `{visit}_latent.json` and a picture of each.

    Args:
        checkpoint: Weights.
        dataset_dir: Folder of scans whose names state the pulse, or of a study.
        folder: Where results go; what was made from the same files before is kept.
        device: Where to compute.

    Raises:
        SystemExit: With one line, if there is no visit, or one cannot be encoded.
    """
    with one_line_errors():
        if dataset_dir is None:
            msg = "dataset_dir must be given, got none; give --dataset_dir FOLDER."
            raise ValueError(msg)
        model = load_model(checkpoint, device)
        settings = EncodeSettings(model.path)
        plans = [plan_encoding(visit, Path(folder), settings) for visit in find_visits([Path(dataset_dir)])]
        for plan in tqdm([plan for plan in plans if plan.why], desc="encode", leave=False, disable=None):
            encode(plan, model)

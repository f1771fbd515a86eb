"""Train and score the models of a plan, one after the other, and say what became of each."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from monai.bundle import ConfigParser, create_workflow

from revoxel.core.checkpoints import best_checkpoint
from revoxel.core.handlers import LAST, read_epoch_log
from revoxel.core.reasons import reason_of
from revoxel.sagnef.campaign.plan import REPORT, PlannedModel

logger = logging.getLogger(__name__)

FAILURE = "failure.txt"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a model.

    Attributes:
        model: the model.
        reason: why it failed, empty if it did not.
        n_epochs: epochs in its log.
        val_loss: validation loss of its best checkpoint, None if there is none.
        psnr_db: mean PSNR over the test cases by method, in the report's last region; empty without a report.
        seconds: time of training, all sessions together.
    """

    model: PlannedModel
    reason: str
    n_epochs: int
    val_loss: float | None
    psnr_db: Mapping[str, float]
    seconds: float


def run_campaign(
    models: list[PlannedModel],
    *,
    overwrite: bool = False,
    started: Callable[[PlannedModel], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Train and evaluate one model after the other.

    Args:
        models: plan of the campaign.
        overwrite: remove a run that is there and begin anew.
        started: called with each model before its turn.

    Yields:
        What became of each model.
    """
    for model in models:
        started(model)
        yield run_model(model, overwrite=overwrite)


def run_model(model: PlannedModel, *, overwrite: bool = False, n_processes: int = 1) -> Outcome:
    """Train and evaluate one model.

    Args:
        model: from the plan of a campaign.
        overwrite: remove a run that is there and begin anew.
        n_processes: processes that may share the training, one per GPU; see `distributed_command`.

    Returns:
        What became of it.
    """
    if overwrite and not model.problem:
        remove_run(model.folder)
    reason = model.problem or _reason_of_failure(model, n_processes)
    # Engines and handlers refer to each other and hold the training volumes.
    gc.collect()
    return outcome_of(model, reason)


def _reason_of_failure(model: PlannedModel, n_processes: int) -> str:
    try:
        if not model.trained:
            _train(model, n_processes)
        if model.n_cases["test"] and not model.evaluated:
            best = {"ckpt_path": str(best_checkpoint(model.folder))}
            _run_graph(model, "evaluate", "evaluating", best)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one failed model does not stop the rest
        _note_failure(model.folder)
        return reason_of(error).removeprefix("error: ")
    (model.folder / FAILURE).unlink(missing_ok=True)
    return ""


def _note_failure(folder: Path) -> None:
    """Keep the traceback beside the model; a full disk must not hide the reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE).write_text(traceback.format_exc(), encoding="utf-8")
    except OSError as error:
        logger.warning("no traceback kept: %s", error)


def _train(model: PlannedModel, n_processes: int) -> None:
    share = _n_sharing(model, n_processes)
    if share == 1:
        _run_graph(model, "train", "training")
        return
    with TemporaryDirectory(prefix="revoxel-") as folder:
        command = distributed_command(model, share, Path(folder) / "values.json")
        ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if "Error: " in line]
        msg = lines[0].strip() if lines else f"torchrun ended with {ended.returncode}: {ended.stderr[-300:]}"
        raise RuntimeError(msg)


def _n_sharing(model: PlannedModel, n_processes: int) -> int:
    """Most processes that share a batch evenly: a larger batch would be another training."""
    batch_size = _batch_size(model)
    return max(n for n in range(1, n_processes + 1) if batch_size % n == 0)


def _batch_size(model: PlannedModel) -> int:
    graph = ConfigParser.load_config_file(_configs(model) / "train.json")
    return int({**graph, **model.values["train"]}["batch_size"])


def distributed_command(model: PlannedModel, n_processes: int, values: Path) -> list[str]:
    """Command line that trains a model in several processes, one per GPU, by torchrun.

    The batch of the recipe is shared out, so that the run can be continued with any number of processes.

    Args:
        model: the model.
        n_processes: processes; they divide the batch size.
        values: JSON file to write: what the campaign changes in the bundle's graph.

    Returns:
        The command.

    Raises:
        OSError: If the file cannot be written.
    """
    batch_size = _batch_size(model)
    shared = {"batch_size": batch_size // n_processes, "recipe#batch_size": batch_size}
    own = {key: value for key, value in model.values["train"].items() if key != "device"}
    values.write_text(json.dumps({**own, **shared}), encoding="utf-8")
    files = [_configs(model) / name for name in ("train.json", "multi_gpu_train.json")]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"),
        *("-m", "monai.bundle", "run", "training"),
        *("--config_file", str([str(path) for path in (*files, values)])),
        *("--bundle_root", model.values["train"]["bundle_root"]),
    ]


def _configs(model: PlannedModel) -> Path:
    return Path(model.values["train"]["bundle_root"]) / "configs"


def _run_graph(
    model: PlannedModel, graph: str, run_id: str, further: Mapping[str, Any] | None = None
) -> None:
    values = {**model.values[graph], **(further or {})}
    kind = "train" if graph == "train" else "infer"
    config = _configs(model) / f"{graph}.json"
    with warnings.catch_warnings():
        # The configs are our own; the file of the bundle for logging would replace the caller's handlers.
        warnings.filterwarnings("ignore", message="parsing config_file")
        workflow = create_workflow(
            config_file=str(config), logging_file=False, run_id=run_id, workflow_type=kind, **values
        )
    workflow.run()
    workflow.finalize()


def remove_run(folder: Path) -> None:
    """Remove what a training left in its folder, and nothing else.

    Args:
        folder: folder of one model.
    """
    for pattern in ("model_epoch*_val*.pt", LAST, "training_log.csv", "simplex.json", REPORT, FAILURE):
        for path in folder.glob(pattern):
            path.unlink()
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def outcome_of(model: PlannedModel, reason: str) -> Outcome:
    """What a model's folder says.

    Args:
        model: the model.
        reason: why it failed, empty if it did not.
    """
    log = read_epoch_log(model.folder / "training_log.csv")
    losses = [float(row["val_total"]) for row in log if row["val_total"]]
    return Outcome(
        model=model,
        reason=reason,
        n_epochs=len(log),
        val_loss=min(losses, default=None),
        psnr_db=_mean_psnr_db(model.folder / REPORT),
        seconds=sum(float(row["seconds"]) for row in log),
    )


def _mean_psnr_db(report: Path) -> dict[str, float]:
    if not report.is_file():
        return {}
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"]
    methods = [list(case["scores"].values())[-1] for case in cases]
    return {name: fmean(case[name]["psnr_db"] for case in methods) for name in methods[0]}

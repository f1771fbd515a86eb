"""What a run ends with: its best weights with all that later steps ask of them, judged on validation."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from torch.utils.data import DataLoader

from revoxel.core.checkpoints import best_checkpoint, fill_network, load_checkpoint, save_checkpoint
from revoxel.core.one_line import one_line_errors
from revoxel.core.provenance import write_sidecar
from revoxel.semivae.diagnosis.coverage import LatentBank
from revoxel.semivae.diagnosis.encoding import BATCH_SIZE, encode_scans
from revoxel.semivae.diagnosis.gates import judge_gates
from revoxel.semivae.diagnosis.validation import validation_figures
from revoxel.semivae.learning.bank import ScanBank
from revoxel.semivae.network.models import patients_digest, semivae_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.core.folds import Split
    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.learning.measures import MeasuredStudy
    from revoxel.semivae.network.semivae import SemiVAE

#: Best weights of a run with the bank of its training latents, and what validation said of them.
FINISHED, VALIDATED = "model.pt", "validation.json"

# Images of weights: a third of the file, and exact to a thousandth in half precision.
_IMAGES = ("decoder.template", "decoder.modes")

logger = logging.getLogger(__name__)


def training_protocol(
    arguments: Mapping[str, Any],
    grid: NetworkGrid,
    measured: MeasuredStudy,
    free_bits: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What weights are for, as it stands in every checkpoint of a run.

    Args:
        arguments: Of `SemiVAE`.
        grid: The network's cube.
        measured: Study, fold and normaliser.
        free_bits: Nats per latent by part that the objective did not ask back.
    """
    fold = measured.fold
    training = {
        "fold": fold.name,
        "n_patients": len(set(fold.train)),
        "patients_sha256": patients_digest(fold.train),
        "free_bits": dict(free_bits or {}),
    }
    return semivae_protocol(arguments, grid, measured.normalizer, training)


def finish_run(
    folder: str | Path, network: SemiVAE, measured: MeasuredStudy, grid: NetworkGrid, cubes: str | Path
) -> Path:
    """Write a run's best weights with the bank of its training latents, and judge them on validation.

    Args:
        folder: Of the run.
        network: Filled with the best weights.
        measured: Study, fold and normaliser.
        grid: The network's cube.
        cubes: Folder where they are kept.

    Returns:
        `model.pt` of the run; `validation.json` beside it holds figures and gates.

    Raises:
        SystemExit: With one line, if a file cannot be read or written.
    """
    folder = Path(folder)
    if idist.get_rank() != 0:
        return folder / FINISHED
    with one_line_errors():
        best = load_checkpoint(best_checkpoint(folder))
        fill_network(network, best)

        def batches(split: Split) -> DataLoader[Any]:
            return DataLoader(
                ScanBank(measured, split, grid, network.partition, cubes), batch_size=BATCH_SIZE
            )

        bank = LatentBank.fit(encode_scans(network, network.partition, batches("train")).mu)
        fitted = {"mean": bank.mean.tolist(), "covariance": bank.covariance.tolist()}
        weights = {
            name: value.half() if name in _IMAGES else value for name, value in network.state_dict().items()
        }
        save_checkpoint(folder / FINISHED, {"model": weights}, {**best.protocol, "bank": fitted})
        _judge(folder, network, list(batches("val")), bank, best.protocol["training"]["free_bits"])
    return folder / FINISHED


def _judge(
    folder: Path,
    network: SemiVAE,
    batches: list[Mapping[str, Any]],
    bank: LatentBank,
    free_bits: Mapping[str, float],
) -> None:
    figures = validation_figures(network, network.partition, batches, free_bits, bank)
    gates = judge_gates(figures)
    record = {"split": "validation", "figures": figures, "gates": [asdict(gate) for gate in gates]}
    write_sidecar(folder / VALIDATED, record, overwrite=True)
    for gate in gates:
        logger.info(
            "%s %s: %.3f, wanted %s %g",
            *("passed" if gate.passed else "MISSED", gate.metric, gate.value, gate.rule, gate.limit),
        )

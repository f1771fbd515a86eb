"""Why a residual latent collapses: our loss beside the one this project began with, same network, same data.

The original loss is the mean squared error over all voxels plus the KL of the residual part, behind a
tanh: a Gaussian of variance N/2 for N voxels, under which no direction of a brain is worth a latent. Semantic
heads are trained alike in both. Prints one table; see docs/semivae_training.md.

    python benchmarks/semivae_collapse.py --seconds 240

takes twice that on one core, after two minutes for the phantoms.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from revoxel.core.iterations import Precision
from revoxel.core.training import default_sections
from revoxel.semivae.diagnosis.epoch import epoch_diagnostics
from revoxel.semivae.features.resampled import NetworkGrid
from revoxel.semivae.learning.bank import ScanBank
from revoxel.semivae.learning.batch import SemiVaeBatch
from revoxel.semivae.learning.configuration import architecture
from revoxel.semivae.learning.measures import measured_study
from revoxel.semivae.learning.objective import ObjectiveSettings, SemiVaeObjective
from revoxel.semivae.learning.start import standardise_latents, start_at_components
from revoxel.semivae.network.models import build_network
from revoxel.semivae.network.semivae import SemiVAE
from revoxel.semivae.objective.kl import kl_per_dimension
from revoxel.semivae.simulation.cohort import CohortRecipe, write_cohort
from revoxel.semivae.simulation.phantom import PhantomSettings

CPU = torch.device("cpu")
ROWS = {
    "residual units that are active": "diag/au_count_residual",
    "KL of the residual, nats": "diag/kl_residual",
    "MSE, whole latent": "diag/recon_mu_mse",
    "MSE, residual at its mean over scans": "diag/recon_without_residual_mse",
    "MSE, residual of another scan": "diag/recon_other_residual_mse",
    "MSE, z = 0": "diag/recon_z0_mse",
    "MSE, mean image": "diag/recon_mean_image_mse",
    "R2 of log volume": "sem/wt.log_volume_r2",
}


class OriginalLoss:
    """Mean squared error on a bounded output, KL of the residual in full nats, and our semantic part."""

    def __init__(self, network: SemiVAE) -> None:
        self.ours = SemiVaeObjective(network, settings({"semantic": {"target": 1.0}}))
        self.residual = network.partition.slices["residual"]

    def __call__(self, prediction: dict[str, Any], truth: dict[str, Any]) -> torch.Tensor:
        """Loss of a batch."""
        semantic = self.ours.parts["semantic"](
            prediction["predictions"], truth["targets"], truth["target_mask"]
        )[0]
        error = (prediction["recon"] - truth["image"]).square().mean()
        nats = kl_per_dimension(prediction["mu"], prediction["logvar"])[:, self.residual].sum(dim=1).mean()
        return error + nats + semantic


class BoundedVAE(SemiVAE):
    """The network under a tanh, as the original had it."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return torch.tanh(super().decode(z))


def settings(schedules: dict[str, Any]) -> ObjectiveSettings:
    """Our objective without the parts that cost time and change nothing about the collapse."""
    shipped = default_sections("semivae_brats")["loss"]
    kept = ("tumour_weight", "air_weight", "semantic_weights")
    return ObjectiveSettings(schedules=schedules, **{key: shipped[key] for key in kept})


def trained(
    network: SemiVAE, loss: Any, bank: ScanBank, seconds: float, learning_rate: float, size: int = 16
) -> int:
    """Train for some seconds of computing; gives the number of steps."""
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    prepare, precision, rng = SemiVaeBatch(), Precision(), np.random.default_rng(0)
    start, steps = time.process_time(), 0
    while (done := (time.process_time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, done / 0.02 + 1e-3) * 0.5 * (1 + np.cos(np.pi * done))
        batch = default_collate([bank[int(index)] for index in rng.integers(0, 10**6, size)])
        image, truth, _, named = prepare(batch, CPU)
        if hasattr(loss, "advance"):
            loss.advance(done)
        with precision.autocast(CPU):
            value = loss(network.train()(precision.layout(image), **named), truth)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return steps


def main() -> None:
    """Train both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--study", type=Path, help="Use this study instead of making phantoms.")
    parser.add_argument("--cubes", type=Path, help="Where its cubes are kept.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sections = default_sections("semivae_brats")
    arguments = architecture(*(sections["network"][key] for key in ("size", "partition", "arguments")))
    grid = NetworkGrid(sections["data"]["voxel_mm"], arguments["spatial_size"])
    with TemporaryDirectory() as folder:
        study = options.study or Path(folder) / "phantoms"
        if options.study is None:
            write_cohort(study, CohortRecipe(options.patients, PhantomSettings(voxel_mm=4.0)))
        cubes = options.cubes or Path(folder) / "cubes"
        partition = build_network(arguments).partition
        table = study / "features.json"
        measured = measured_study(
            study,
            "fold0",
            folder,
            partition.features,
            table=table if table.is_file() else None,
            residualize=sections["data"]["residualize"],
        )
        bank, held = (ScanBank(measured, split, grid, partition, cubes) for split in ("train", "test"))
        batches = [default_collate([held[i] for i in rows]) for rows in np.array_split(range(len(held)), 8)]
        figures = {}
        for name in ("ours", "original"):
            torch.manual_seed(0)
            network = build_network(arguments).to(memory_format=torch.channels_last_3d)
            ours = {"beta": sections["loss"]["beta"], "semantic": {"target": 1.0}}
            start_at_components(network, bank)
            standardise_latents(network, bank)
            if name == "original":
                network.__class__ = BoundedVAE
            loss = OriginalLoss(network) if name == "original" else SemiVaeObjective(network, settings(ours))
            steps = trained(network, loss, bank, options.seconds, sections["train"]["lr"])
            figures[name] = epoch_diagnostics(network, partition, batches) | {"steps": steps}
    print(f"{len(held)} test phantoms, {options.seconds:g} s of computing each, one core\n")
    print("| | ours | original loss |\n|---|---|---|")
    for title, key in {**ROWS, "steps": "steps"}.items():
        print(f"| {title} | {figures['ours'][key]:.4g} | {figures['original'][key]:.4g} |")


if __name__ == "__main__":
    main()

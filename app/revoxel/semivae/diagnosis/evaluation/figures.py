"""All figures of one evaluation; scans are gone through a few times, a few in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.diagnosis.ceiling import noise_ceiling, resampled_targets
from revoxel.semivae.diagnosis.coverage import LatentBank
from revoxel.semivae.diagnosis.disentanglement import dci, mig, sap
from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.epoch import latent_diagnostics, reconstruction_names, shift_sensitivity
from revoxel.semivae.diagnosis.gates import judge_gates
from revoxel.semivae.diagnosis.probing import cross_probe_matrix
from revoxel.semivae.diagnosis.reconstruction import residual_alive
from revoxel.semivae.diagnosis.regression import bootstrap_interval, r2_masked
from revoxel.semivae.diagnosis.tumour_images import tumour_images
from revoxel.semivae.diagnosis.validation import brains, coverage_figures, exchange_figures, image_figures
from revoxel.semivae.diagnosis.validity import blanking_drop, permutation_r2
from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from revoxel.semivae.diagnosis.evaluation.scans import ScanBatches
    from revoxel.semivae.diagnosis.gates import Gate
    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.diagnosis.matrix import NamedMatrix
    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.study import TumourStudy

    Progress = Callable[[str, float], None]

_VOLUME = "wt.log_volume"


@dataclass(eq=False)
class Evaluation:
    """What was found.

    Attributes:
        latents: Of the scans evaluated.
        metrics: Figure by log name.
        matrices: `intervention`, and `cross_probe` where there were patients to fit on.
        intervals: 95 % interval over patients of each feature's R2.
        ceilings: Squared correlation of each feature with that of the label map at the network's grid.
        scans: Figures of single scans, in the order of the latents.
    """

    latents: Latents
    metrics: dict[str, float] = field(default_factory=dict)
    matrices: dict[str, NamedMatrix] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    ceilings: dict[str, float] = field(default_factory=dict)
    scans: list[dict[str, float]] = field(default_factory=list)

    @property
    def gates(self) -> list[Gate]:
        """The figures judged."""
        return judge_gates(self.metrics)


def evaluate_scans(
    model: SemiVaeModel, study: TumourStudy, test: ScanBatches, probes: ScanBatches | None, report: Progress
) -> Evaluation:
    """Measure everything once.

    Args:
        model: The network.
        study: Where label maps are found.
        test: Scans to evaluate.
        probes: Scans of other patients to fit probes on.
        report: Called with a stage's name and its share done.

    Returns:
        All figures.

    Raises:
        ValueError: If a scan cannot be used.
    """
    found = Evaluation(encode_scans(model.network, model.partition, test.during("encode")))
    _latent_figures(found, model)
    _image_figures(found, model, test)
    _exchange_figures(found, model, test, report)
    report("probes", 0.0)
    train = None if probes is None else encode_scans(model.network, model.partition, probes.during("probes"))
    if train is not None:
        _probe_figures(found, model, train)
    _coverage_figures(found, model, train, report)
    _ceilings(found, model, study, test, report)
    return found


def _latent_figures(found: Evaluation, model: SemiVaeModel) -> None:
    """Predictions with their intervals, activity, dependence."""
    latents = found.latents
    found.metrics |= latent_diagnostics(latents, model.partition, free_bits_of(model))

    def r2(rows: np.ndarray) -> np.ndarray:
        return r2_masked(latents.targets[rows], latents.predicted[rows], latents.known[rows])

    low, high = bootstrap_interval(r2, latents.patients)
    names = model.partition.features
    found.intervals = {name: (float(low[at]), float(high[at])) for at, name in enumerate(names)}


def free_bits_of(model: SemiVaeModel) -> dict[str, float]:
    """Free bits by part that weights were trained with; none if their record does not tell.

    Args:
        model: The network and its record.
    """
    return dict((model.record.get("training") or {}).get("free_bits") or {})


def _image_figures(found: Evaluation, model: SemiVaeModel, test: ScanBatches) -> None:
    """Reconstructions, and whether the network reads the tumour."""
    network, partition, latents = model.network, model.partition, found.latents
    if RESIDUAL in partition.slices:
        alive = residual_alive(network, partition, test.during("decode"), latents)
        found.metrics |= reconstruction_names(alive)
    found.metrics["latent_diag/shift_sensitivity"] = shift_sensitivity(network, next(iter(test.during(""))))
    found.scans = list(tumour_images(network, test.during("tumours"), latents))
    found.metrics |= image_figures(found.scans)
    if _VOLUME in partition.features:
        drop = blanking_drop(network, partition, test.during("blank"), latents)
        found.metrics["leakage/blanking_drop"] = drop


def _exchange_figures(found: Evaluation, model: SemiVaeModel, test: ScanBatches, report: Progress) -> None:
    report("exchange", 0.0)
    brain = brains(test.during(""))
    figures, matrix = exchange_figures(model.network, model.partition, found.latents.mu, brain)
    report("exchange", 1.0)
    found.matrices["intervention"] = matrix
    found.metrics |= figures


def _probe_figures(found: Evaluation, model: SemiVaeModel, train: Latents) -> None:
    """What stands where, read by probes fitted on other patients."""
    partition, latents = model.partition, found.latents
    found.matrices["cross_probe"] = cross_probe_matrix(partition, train, latents)
    found.metrics["leakage/permutation_r2"] = permutation_r2(train, latents)
    both = (train.mu, train.targets, train.known), (latents.mu, latents.targets, latents.known)
    found.metrics["disentanglement/mig"] = mig(*both[0])
    found.metrics["disentanglement/sap"] = sap(*both[0])
    for kind, groups in (("dci", None), ("dci_parts", partition.slices)):
        found.metrics |= {f"{kind}/{name}": value for name, value in vars(dci(*both, groups)).items()}


def _coverage_figures(
    found: Evaluation, model: SemiVaeModel, train: Latents | None, report: Progress
) -> None:
    bank = model.bank if train is None else LatentBank.fit(train.mu)
    if bank is None:
        return
    report("drift", 0.0)
    mu = found.latents.mu
    found.metrics |= coverage_figures(model.network, mu, bank)
    for scan, distance in zip(found.scans, bank.distances(mu), strict=True):
        scan["distance"] = float(distance / np.sqrt(mu.shape[1]))
    report("drift", 1.0)


def _ceilings(
    found: Evaluation, model: SemiVaeModel, study: TumourStudy, test: ScanBatches, report: Progress
) -> None:
    resampled = []
    for at, scan in enumerate(test.scans, start=1):
        resampled.append(resampled_targets(study.resolve(scan.label), model.grid, model.normalizer))
        report("ceiling", at / len(test.scans))
    ceiling = noise_ceiling(found.latents, resampled)
    found.ceilings = dict(zip(model.partition.features, ceiling.tolist(), strict=True))

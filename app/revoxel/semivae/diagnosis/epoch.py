"""All figures that a training logs at each validation, under the names of the original project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.semivae.diagnosis.activity import active_units, floors_nats, signal_nats
from revoxel.semivae.diagnosis.dependence import part_dependence
from revoxel.semivae.diagnosis.encoding import encode_scans, frozen
from revoxel.semivae.diagnosis.reconstruction import residual_alive
from revoxel.semivae.diagnosis.regression import feature_scores, mean_known
from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

_READINESS = {"vol": 0.5, "loc": 0.25}
_READINESS_APART = 0.25


def epoch_diagnostics(
    network: SemiVAE,
    partition: LatentPartition,
    batches: Sequence[Mapping[str, Any]],
    free_bits: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Everything at once.

    Args:
        network: As it is now; its mode is left as it was.
        partition: Of its latent.
        batches: Of validation: `image`, `available`, `targets`, `target_mask`; gone through twice.
        free_bits: Nats per latent by part that the objective does not ask back.

    Returns:
        Numbers by log name; NaN where the validation says nothing, such as a feature that no scan has.
    """
    latents = encode_scans(network, partition, batches)
    logged = latent_diagnostics(latents, partition, free_bits)
    if RESIDUAL in partition.slices:
        alive = residual_alive(network, partition, batches, latents)
        logged |= reconstruction_names(alive)
    logged["latent_diag/shift_sensitivity"] = shift_sensitivity(network, batches[0])
    return logged


def latent_diagnostics(
    latents: Latents, partition: LatentPartition, free_bits: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Figures that need no decoder.

    Args:
        latents: Of scans.
        partition: Of the latent.
        free_bits: As of `epoch_diagnostics`.

    Returns:
        `sem/*`, `semivae/*`, `dcor/*`, `diag/*`, `latent_diag/*` and `val_epoch/ode_readiness`.
    """
    logged = semantic_scores(latents, partition)
    logged |= _activity(latents, partition, free_bits or {})
    logged |= part_dependence(latents.mu, partition.slices)
    logged |= _covariance(latents)
    logged["val_epoch/ode_readiness"] = ode_readiness(logged)
    return logged


def semantic_scores(latents: Latents, partition: LatentPartition) -> dict[str, float]:
    """How well the heads predict, per feature, and the mean over the features of a part.

    Args:
        latents: Of scans.
        partition: Of the latent.

    Returns:
        `sem/<feature>_<score>` and `sem/<part>_<score>`, scores r2, mse, rmse and pearson; a part's rmse is
        the root of its mse.
    """
    scores = feature_scores(latents.targets, latents.predicted, latents.known)
    logged = {
        f"sem/{name}_{kind}": float(values[index])
        for kind, values in scores.items()
        for index, name in enumerate(partition.features)
    }
    for part, columns in partition.feature_slices.items():
        logged |= {f"sem/{part}_{kind}": mean_known(values[columns]) for kind, values in scores.items()}
        logged[f"sem/{part}_rmse"] = float(np.sqrt(logged[f"sem/{part}_mse"]))
    return logged


def ode_readiness(logged: Mapping[str, float]) -> float:
    """How far growth could be modelled in the latent: 0.5 vol R2 + 0.25 loc R2 + 0.25 (1 - max|corr|).

    Parts that a partition lacks are left out and the rest is weighted up.

    Args:
        logged: Of `semantic_scores` and `part_dependence`.
    """
    found = {part: logged[f"sem/{part}_r2"] for part in _READINESS if f"sem/{part}_r2" in logged}
    terms = [(_READINESS[part], r2) for part, r2 in found.items()]
    apart = [abs(value) for name, value in logged.items() if name.startswith("semivae/corr_")]
    if apart:
        terms.append((_READINESS_APART, 1 - max(apart)))
    return sum(weight * value for weight, value in terms) / sum(weight for weight, _ in terms)


def reconstruction_names(alive: Mapping[str, float]) -> dict[str, float]:
    """Log names of the reconstruction figures.

    Args:
        alive: Of `residual_alive`.
    """
    return {
        "diag/recon_mu_mse": alive["mse_mu"],
        "diag/recon_z0_mse": alive["mse_z0"],
        "diag/recon_mean_image_mse": alive["mse_mean_image"],
        "diag/recon_without_residual_mse": alive["mse_without_residual"],
        "diag/recon_other_residual_mse": alive["mse_other_residual"],
        "diag/residual_gain": 1 - alive["mse_mu"] / alive["mse_without_residual"],
        "diag/gain_over_mean_image": 1 - alive["mse_mu"] / alive["mse_mean_image"],
        "diag/gain_over_z0": 1 - alive["mse_mu"] / alive["mse_z0"],
        "diag/kl_residual": alive["kl_residual"],
    }


def shift_sensitivity(network: SemiVAE, batch: Mapping[str, Any]) -> float:
    """How far latents move when the image moves by one voxel, over how far they differ between scans.

    Args:
        network: With an encoder.
        batch: `image` and `available` of 2 scans or more.

    Returns:
        Root mean square over latents and the three axes; NaN of a single scan.
    """
    with frozen(network) as device:
        image, there = batch["image"].to(device), batch["available"].to(device)

        def mean_of(moved: torch.Tensor) -> torch.Tensor:
            return network.encode(moved, there)[0].double()

        here = mean_of(image)
        steps = [mean_of(image.roll(1, dims=axis)) - here for axis in (2, 3, 4)]
        moved = sum(float(step.square().mean()) for step in steps) / len(steps)
        spread = float(here.var(dim=0, correction=0).mean())
    return float(np.sqrt(moved / spread)) if len(image) > 1 and spread > 0 else float("nan")


def _activity(
    latents: Latents, partition: LatentPartition, free_bits: Mapping[str, float]
) -> dict[str, float]:
    kl_nats = latents.kl_nats.mean(axis=0)
    active = active_units(latents.mu, kl_nats, floors_nats(partition, free_bits))
    signal = signal_nats(latents.mu, latents.logvar)
    logged = {}
    for name, part in partition.slices.items():
        logged[f"diag/z_{name}_var"] = float(latents.mu[:, part].var(axis=0).mean())
        logged[f"semivae/z_{name}_mu_std"] = float(latents.mu[:, part].std(axis=0).mean())
        logged[f"semivae/z_{name}_au_frac"] = float(active[part].mean())
        logged[f"semivae/z_{name}_kl"] = float(kl_nats[part].sum())
        logged[f"diag/z_{name}_signal"] = float(signal[part].sum())
    if RESIDUAL in partition.slices:
        residual = active[partition.slices[RESIDUAL]]
        logged["diag/au_count_residual"] = float(residual.sum())
        logged["diag/au_frac_residual"] = float(residual.mean())
        logged["diag/free_bits_residual"] = float(free_bits.get(RESIDUAL, 0.0))
    return logged


def _covariance(latents: Latents) -> dict[str, float]:
    centred = latents.mu - latents.mu.mean(axis=0)
    covariance = centred.T @ centred / max(len(centred) - 1, 1)
    scale = np.sqrt(np.diag(covariance))
    moving = scale > 0
    correlation = covariance[np.ix_(moving, moving)] / np.outer(scale[moving], scale[moving])
    beside = correlation[~np.eye(len(correlation), dtype=bool)]
    return {
        "latent_diag/covariance_trace": float(np.trace(covariance)),
        "latent_diag/correlation_off_diagonal_rms": float(np.sqrt(np.mean(beside**2)))
        if beside.size
        else 0.0,
    }

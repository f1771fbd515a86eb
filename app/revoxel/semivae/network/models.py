"""Trained networks by their checkpoint: what weights are for, and predictions in physical units."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from revoxel.core.bundles import METADATA, WEIGHTS, bundle_folder
from revoxel.core.checkpoints import fill_network, load_checkpoint
from revoxel.core.compute import resolve_device
from revoxel.core.pulses import Pulse
from revoxel.core.training import checkpoint_of
from revoxel.semivae.diagnosis.coverage import LatentBank
from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.resampled import NetworkGrid
from revoxel.semivae.network.partition import LatentPartition, as_partition
from revoxel.semivae.network.semivae import SemiVAE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from revoxel.core.checkpoints import Checkpoint

    Numbers = NDArray[np.float64]

SYSTEM = "semivae"
#: The bundle whose weights are shipped.
SHIPPED = "semivae_brats"
_DEFAULT_PARTITION = "seed"


class Estimate(NamedTuple):
    """A feature as the latent tells it.

    Attributes:
        value: At the posterior's mean, in the feature's unit.
        sd: Standard deviation over the posterior: how sure the encoder is, not how far it is off.
    """

    value: float
    sd: float


def build_network(
    arguments: Mapping[str, Any], residual_encoder: Callable[[Tensor], Tensor] | None = None
) -> SemiVAE:
    """Build the network.

    Args:
        arguments: Of `SemiVAE`, plain values.
        residual_encoder: Its other encoder, if it has one.

    Raises:
        ValueError: If it does not take these arguments.
    """
    try:
        return SemiVAE(**arguments, residual_encoder=residual_encoder)
    except TypeError as error:
        msg = f"network must hold arguments of SemiVAE, got {dict(arguments)}: {error}; correct the config."
        raise ValueError(msg) from error


def semivae_protocol(
    arguments: Mapping[str, Any],
    grid: NetworkGrid | Mapping[str, Any],
    normalizer: FeatureNormalizer | None = None,
    training: Mapping[str, Any] | None = None,
    bank: LatentBank | None = None,
) -> dict[str, Any]:
    """Say what weights are for, as it stands in every checkpoint.

    The last three are left out where weights are asked for, whoever they were trained on.

    Args:
        arguments: Of `SemiVAE`, plain values.
        grid: The cube that it sees, or its `voxel_mm` and `size`.
        normalizer: Fitted on the training patients; its features are the partition's.
        training: Whom it is trained on, such as `patients_sha256` of `patients_digest`.
        bank: Where the latents of the training patients lie.

    Raises:
        ValueError: If the cube is not of the network's size, or the normaliser is of other features.
    """
    grid = grid if isinstance(grid, NetworkGrid) else NetworkGrid(**grid)
    partition = as_partition(arguments.get("partition", _DEFAULT_PARTITION))
    if grid.size != arguments.get("spatial_size", grid.size):
        msg = f"grid must have the network's size {arguments['spatial_size']}, got {grid.size}; use one size."
        raise ValueError(msg)
    optional = {
        "normalizer": normalizer and _checked(normalizer, partition).to_text(),
        "training": training and dict(training),
        "bank": bank and {"mean": bank.mean.tolist(), "covariance": bank.covariance.tolist()},
    }
    return {
        "system": SYSTEM,
        "model": SemiVAE.__name__,
        "arguments": {**arguments, "partition": partition.to_dict()},
        "grid": {"voxel_mm": float(grid.voxel_mm), "size": int(grid.size)},
        "pulses": [pulse.value for pulse in Pulse],
        **{name: value for name, value in optional.items() if value is not None},
    }


def patients_digest(patients: Iterable[str]) -> str:
    """Fingerprint of a set of patients, to tell later whether one was trained on the same.

    Args:
        patients: Their ids, in any order.
    """
    return hashlib.sha256("\n".join(sorted(set(patients))).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class SemiVaeModel:
    """A trained network and what it is for.

    Attributes:
        network: Weights loaded, in evaluation mode.
        path: Its checkpoint.
        grid: The cube that it sees.
        normalizer: What its predictions are normalised by.
        bank: Where the latents of its training patients lie, if that was noted.
        record: All that its checkpoint says about it.
    """

    network: SemiVAE
    path: Path
    grid: NetworkGrid
    normalizer: FeatureNormalizer
    bank: LatentBank | None
    record: dict[str, Any]

    @property
    def partition(self) -> LatentPartition:
        """Parts of its latent."""
        return self.network.partition

    def facts(self) -> dict[str, Any]:
        """What a result should say about the network that gave it."""
        bulky = {"normalizer", "bank"}
        return {"weights": self.path.name} | {k: v for k, v in self.record.items() if k not in bulky}

    def features_of(self, mu: Tensor | Numbers) -> dict[str, float]:
        """Features that a latent tells, in their units.

        Args:
            mu: `(z_dim,)`, posterior mean of one scan.

        Returns:
            Value by feature.

        Raises:
            ValueError: If it has another length.
        """
        with torch.no_grad():
            targets = self._targets(self._latent(mu))
        return self.normalizer.inverse_transform(targets.double().cpu().numpy())

    def estimates_of(self, mu: Tensor | Numbers, logvar: Tensor | Numbers) -> dict[str, Estimate]:
        r"""Features that a posterior tells, each with its standard deviation.

        The covariance $J\,\mathrm{diag}(\sigma^2)\,J^T$ is exact for linear and grouped heads and of first
        order for `mlp`. With a hierarchy it holds the parents at their means.

        Args:
            mu: `(z_dim,)`, posterior mean of one scan.
            logvar: `(z_dim,)`, its log variance.

        Returns:
            Value and standard deviation by feature.

        Raises:
            ValueError: If a length is another one.
        """
        latent = self._latent(mu)
        jacobian = torch.func.jacrev(self._targets)(latent).detach().double().cpu().numpy()
        spread = self._to_physical(jacobian) * np.exp(0.5 * np.asarray(self._latent(logvar).cpu(), float))
        deviations = np.sqrt((spread**2).sum(axis=1))
        values = self.features_of(latent)
        return {name: Estimate(values[name], float(sd)) for name, sd in zip(values, deviations, strict=True)}

    def presence_of(self, mu: Tensor | Numbers) -> dict[str, float]:
        """Probability that each region is there.

        Args:
            mu: `(z_dim,)`, posterior mean of one scan.

        Returns:
            Probability by region, such as `ncr`.

        Raises:
            ValueError: If it has another length.
        """
        with torch.no_grad():
            logits = self.network.predict_presence(self._latent(mu)[None])
        chances = [float(one) for name in logits for one in logits[name][0].sigmoid()]
        return dict(zip(self.partition.presence, chances, strict=True))

    def _latent(self, numbers: Tensor | Numbers) -> Tensor:
        like = next(self.network.parameters())
        latent = torch.as_tensor(numbers).to(like.device, like.dtype)
        if latent.shape != (self.partition.z_dim,):
            msg = f"mu must be ({self.partition.z_dim},), got {tuple(latent.shape)}; give one scan's."
            raise ValueError(msg)
        return latent

    def _targets(self, latent: Tensor) -> Tensor:
        return torch.cat(list(self.network.predict(latent[None]).values()), dim=1)[0]

    def _to_physical(self, jacobian: Numbers) -> Numbers:
        """Jacobian of the features in their units: what the normaliser does is affine."""
        zero = np.zeros(len(jacobian))
        origin = np.array(list(self.normalizer.inverse_transform(zero).values()))
        columns = [
            np.array(list(self.normalizer.inverse_transform(unit).values())) - origin
            for unit in np.eye(len(jacobian))
        ]
        return np.stack(columns, axis=1) @ jacobian


def load_model(
    source: Path | str | None = None,
    device: str = "cpu",
    *,
    residual_encoder: Callable[[Tensor], Tensor] | None = None,
) -> SemiVaeModel:
    """Load a network; its switches come from the checkpoint.

    Args:
        source: Checkpoint, the run's folder for its finished weights, or for its best so far, a bundle's
            folder, or a bundle's name; the shipped one if not given.
        device: Where it shall run: `auto`, `cpu` or `cuda:N`.
        residual_encoder: Its other encoder, if it was trained with one.

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged, of another network, or says nothing about its features.
    """
    wanted = {"system": SYSTEM, "model": SemiVAE.__name__, "pulses": [pulse.value for pulse in Pulse]}
    checkpoint = load_checkpoint(_file_of(Path(source or SHIPPED)), wanted)
    try:
        return _model(checkpoint, device, residual_encoder)
    except (KeyError, TypeError) as error:
        msg = (
            f"{checkpoint.path}: protocol must say arguments, grid and normalizer, got none of {error}; "
            "train again."
        )
        raise ValueError(msg) from error


def _model(
    checkpoint: Checkpoint, device: str, residual_encoder: Callable[[Tensor], Tensor] | None
) -> SemiVaeModel:
    record = checkpoint.protocol
    grid = NetworkGrid(**record["grid"])
    normalizer = FeatureNormalizer.from_text(record["normalizer"], checkpoint.path)
    network = build_network(record["arguments"], residual_encoder)
    fill_network(network, checkpoint)
    _checked(normalizer, network.partition)
    bank = record.get("bank") and LatentBank(*(np.asarray(record["bank"][k]) for k in ("mean", "covariance")))
    return SemiVaeModel(
        network.to(resolve_device(device)).eval(), checkpoint.path, grid, normalizer, bank, record
    )


def _checked(normalizer: FeatureNormalizer, partition: LatentPartition) -> FeatureNormalizer:
    if normalizer.features != partition.features:
        msg = (
            f"normalizer must have the partition's features {list(partition.features)}, got "
            f"{list(normalizer.features)}; fit one with those, in that order."
        )
        raise ValueError(msg)
    return normalizer


def _file_of(source: Path) -> Path:
    if not source.exists() and len(source.parts) == 1 and not source.suffix:
        source = bundle_folder(source.name)
    if (source / METADATA).is_file():
        return source / WEIGHTS
    finished = source / WEIGHTS.name
    return finished if finished.is_file() else checkpoint_of(source)

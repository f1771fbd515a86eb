"""What a training minimises: the ELBO in nats per voxel, and further parts with weights that may rise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from revoxel.semivae.network.semivae import N_PULSES
from revoxel.semivae.objective.independence import IndependenceLoss
from revoxel.semivae.objective.intervention import InterventionConsistency
from revoxel.semivae.objective.kl import PartitionKL
from revoxel.semivae.objective.likelihood import CalibratedGaussianNLL, voxel_weights
from revoxel.semivae.objective.mmd import AggregateMMD
from revoxel.semivae.objective.precision import full_precision
from revoxel.semivae.objective.schedules import Schedule
from revoxel.semivae.objective.semantic import MaskedSemanticLoss, presence_loss
from revoxel.semivae.objective.total_correlation import TotalCorrelation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.semivae.network.semivae import SemiVAE

    Measured = tuple[Tensor, dict[str, Tensor]]

#: Parts that a schedule weighs; `beta` weighs the KL of the ELBO.
PARTS = (
    "beta",
    "semantic",
    "presence",
    "independence",
    "intervention",
    "total_correlation",
    "mmd",
    "auxiliary",
)
_BUILT = ("semantic", "independence", "intervention", "total_correlation", "mmd")


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is summed, with which weights.

    Args:
        schedules: By part of `PARTS`, arguments of `Schedule` in shares of the training; parts that are not
            named have weight 0 and are not computed, `beta` has weight 1.
        tumour_weight: Of a voxel full of tumour in the likelihood.
        air_weight: Of a voxel without brain.
        free_bits: Floor of the KL by part, nats per latent.
        free_bits_mode: `group` or `dimension`.
        semantic_weights: Of the supervised parts.
        huber_delta: Error in standard deviations from which the semantic loss grows linearly.
        independence: Further arguments of `IndependenceLoss`.
        total_correlation: Arguments of `TotalCorrelation`.

    Raises:
        ValueError: If a part or a key is unknown.
    """

    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tumour_weight: float = 5.0
    air_weight: float = 1.0
    free_bits: Mapping[str, float] = field(default_factory=dict)
    free_bits_mode: Any = "group"
    semantic_weights: Mapping[str, float] = field(default_factory=dict)
    huber_delta: float = 1.0
    independence: Mapping[str, Any] = field(default_factory=dict)
    total_correlation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse parts that nobody computes."""
        unknown = sorted(set(self.schedules) - set(PARTS))
        if unknown:
            msg = (
                f"schedules must be of {', '.join(PARTS)}, got unknown {unknown}; correct the configuration."
            )
            raise ValueError(msg)
        self.risen()

    def risen(self) -> dict[str, Schedule]:
        """Schedule by part."""
        given: dict[str, Any] = {"beta": {}} | dict(self.schedules)
        return {name: Schedule(**(given[name] or {})) for name in PARTS if name in given}


class SemiVaeObjective(nn.Module):
    """Weighted sum of the parts; they are kept in `last`, and its state is that of variances and queues.

    Args:
        network: Whose heads read exchanged latents.
        settings: What is summed, or its plain values.
        n_scans: That batches are drawn from; the total correlation asks for it.

    Raises:
        ValueError: If a setting is impossible, or a pair of parts shall be both linked by the network's
            hierarchy and independent.
    """

    def __init__(
        self,
        network: SemiVAE,
        settings: ObjectiveSettings | Mapping[str, Any] | None = None,
        *,
        n_scans: int = 2,
    ) -> None:
        super().__init__()
        chosen = (
            settings if isinstance(settings, ObjectiveSettings) else ObjectiveSettings(**(settings or {}))
        )
        self.settings, self.partition, self.linked = chosen, network.partition, _linked(network)
        # A bound method: the network's weights are no part of this state.
        self.predict = network.predict
        self.schedules = {name: one for name, one in chosen.risen().items() if name == "beta" or one.target}
        self.likelihood = CalibratedGaussianNLL(N_PULSES)
        self.divergence = PartitionKL(self.partition, free_bits=chosen.free_bits, mode=chosen.free_bits_mode)
        self.parts = nn.ModuleDict(
            {name: self._built(name, n_scans) for name in self.schedules if name in _BUILT}
        )
        self.last: dict[str, Tensor] = {}
        self.advance(0.0)

    def _built(self, name: str, n_scans: int) -> nn.Module:
        chosen, partition = self.settings, self.partition
        if name == "independence":
            return IndependenceLoss(partition, linked=self.linked, **chosen.independence)
        if name == "total_correlation":
            return TotalCorrelation(partition, n_scans, **chosen.total_correlation)
        if name == "semantic":
            return MaskedSemanticLoss(partition, chosen.semantic_weights, chosen.huber_delta)
        return AggregateMMD() if name == "mmd" else InterventionConsistency(partition)

    def advance(self, progress: float) -> None:
        """Set the weights.

        Args:
            progress: Share of the training that is done.
        """
        self.weights = {name: rise(progress) for name, rise in self.schedules.items()}

    def exchanged(self) -> str | None:
        """Part of the latent that the next iteration exchanges between scans, each in its turn; or none."""
        if not self.weights.get("intervention"):
            return None
        names = list(self.partition.slices)
        return names[int(self.likelihood.n_updates) % len(names)]

    def forward(self, prediction: Mapping[str, Any], truth: Mapping[str, Tensor]) -> Tensor:
        """Sum the parts of a batch.

        Args:
            prediction: Of the network.
            truth: Tensors of `ScanBank`.

        Returns:
            A scalar: nats per voxel of the ELBO, plus the other parts at their weights of now.

        Raises:
            FloatingPointError: If a part is not finite; it is named.
        """
        elbo, shown = self.elbo(prediction, truth, self.weights["beta"])
        computed: dict[str, Tensor] = {}
        for name in self.schedules:
            if name != "beta":
                computed[name], details = self._measured(name, prediction, truth)
                shown |= details
        _refuse_nonfinite({"elbo": elbo, **computed})
        total = elbo + sum(self.weights[name] * value for name, value in computed.items())
        self.last = {name: value.detach() for name, value in {**shown, **computed, "total": total}.items()}
        return total

    def selection(
        self, prediction: Mapping[str, Any], truth: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """ELBO and semantic error at their full weights, whatever the schedules say.

        Args:
            prediction: Of the network.
            truth: Tensors of `ScanBank`.

        Returns:
            The sum, and its parts.
        """
        total, shown = self.elbo(prediction, truth)
        if "semantic" in self.schedules:
            value, details = self._measured("semantic", prediction, truth)
            total = total + self.schedules["semantic"].target * value
            shown |= {**details, "semantic": value}
        return total, shown

    def elbo(
        self, prediction: Mapping[str, Any], truth: Mapping[str, Tensor], beta: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative evidence lower bound of a batch.

        Args:
            prediction: Of the network.
            truth: Tensors of `ScanBank`.
            beta: Weight of the KL.

        Returns:
            Nats per voxel; and its parts: `nll` unweighted, `nll_weighted`, `kl` and `kl_<part>` in
            nats per scan.
        """
        image = truth["image"]
        weight = voxel_weights(
            truth["tumour"],
            truth["brain"],
            tumour_weight=self.settings.tumour_weight,
            air_weight=self.settings.air_weight,
        )
        weight = weight * truth["measured"].to(image.dtype)[:, :, None, None, None]
        weighted, plain = self.likelihood(prediction["recon"], image, weight)
        loss_nats, nats = self.divergence(prediction["mu"], prediction["logvar"], prediction.get("prior"))
        shown = {"nll": plain, "nll_weighted": weighted, "kl": torch.stack(list(nats.values())).sum()}
        shown |= {f"kl_{name}": value for name, value in nats.items()}
        # Both terms per voxel that counts: what is not weighed says nothing about the latent either.
        return weighted + beta * loss_nats / (weight.sum() / len(image)), shown

    def _measured(self, name: str, prediction: Mapping[str, Any], truth: Mapping[str, Tensor]) -> Measured:
        """One part of a batch, and what is shown beside it."""
        mu, logvar, z = (prediction[key] for key in ("mu", "logvar", "z"))
        if name == "semantic":
            value, shown = self.parts[name](prediction["predictions"], truth["targets"], truth["target_mask"])
        elif name == "presence":
            value, shown = presence_loss(prediction["presence"], truth["presence"]), {}
        elif name == "independence":
            value, shown = self.parts[name](mu, logvar)
        elif name == "total_correlation":
            value, shown = self.parts[name](z, mu, logvar)
        elif name == "mmd":
            value, shown = self.parts[name](z), {}
        elif name == "auxiliary":
            value, shown = self._auxiliary(prediction, truth), {}
        elif prediction.get("intervention") is None:
            value, shown = mu.new_zeros(()), {}
        else:
            value, shown = self.parts[name](prediction, self.predict)
        return value, {f"{name}_{key}": part for key, part in shown.items()}

    @full_precision
    def _auxiliary(self, prediction: Mapping[str, Any], truth: Mapping[str, Tensor]) -> Tensor:
        """Squared error of the residual's own decoder at half resolution, in variances of the likelihood."""
        coarse = functional.avg_pool3d(truth["image"], 2)
        error = (prediction["auxiliary_recon"] - coarse).square().mean(dim=(0, 2, 3, 4))
        return (error / (2 * self.likelihood.variance)).mean()


def _linked(network: SemiVAE) -> list[tuple[str, str]]:
    """Pairs of parts that a hierarchy makes dependent."""
    parents = {} if network.priors is None else network.priors.parents
    return [(parent, child) for child, names in parents.items() for parent in names]


def _settings(given: ObjectiveSettings | Mapping[str, Any] | None) -> ObjectiveSettings:
    return given if isinstance(given, ObjectiveSettings) else ObjectiveSettings(**(given or {}))


def _refuse_nonfinite(parts: Mapping[str, Tensor]) -> None:
    wrong = [name for name, part in parts.items() if not torch.isfinite(part)]
    if wrong:
        msg = f"parts of the loss must be finite, got wrong {', '.join(wrong)}; lower the learning rate."
        raise FloatingPointError(msg)


class SelectionLoss:
    """What chooses a run's best weights: the ELBO and the semantic error, each always at its full weight.

    No schedule moves it, so that figures of early and late epochs compare; chance has no part in it either.

    Args:
        objective: Whose likelihood and semantic part are read; nothing of it is changed.
    """

    def __init__(self, objective: SemiVaeObjective) -> None:
        self.objective = objective
        self.last: dict[str, Tensor] = {}

    def __call__(self, prediction: Mapping[str, Any], truth: Mapping[str, Tensor]) -> Tensor:
        """Measure a batch of validation.

        Args:
            prediction: Of the network in evaluation mode, without gradients.
            truth: Tensors of `ScanBank`.

        Returns:
            A scalar.
        """
        total, shown = self.objective.selection(prediction, truth)
        self.last = {**shown, "total": total}
        return total

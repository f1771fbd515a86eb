"""The loss of the ASL networks: errors of CBF and ATT on fixed z-scores, their uncertainty, physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from revoxel.asl.network.channels import LabelMap, split_targets
from revoxel.asl.network.parts import ATT_SPREAD, CBF_SPREAD
from revoxel.asl.network.task_balance import Balance, TaskBalance
from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.simulation.noise import AslNoise

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.asl.protocol import AslProtocol

Mode = Literal["mae", "mae_nll", "huber", "mse"]
MODES = ("mae", "mae_nll", "huber", "mse")

#: Of CBF / 25 and ATT / 500, far below what any scan allows: below it nothing would be learned.
_LEAST_SD = 1e-6
#: Square of an error in standard deviations that no normal distribution has.
_FAR_SQUARE = 25.0
_TINY = 1e-3
_TYPICAL_SIGNAL = 0.005
_FULL_WEIGHT_CBF = 30.0


@dataclass(frozen=True)
class AslLossConfig:
    """What the loss is made of; z-scores are CBF / 25 ml/100g/min and ATT / 500 ms.

    Args:
        mode: error of the maps; `mae_nll` trains the standard deviations as well.
        cbf_weight: weight of CBF.
        att_weight: weight of ATT.
        nll_weight: weight of the negative log-likelihood of `mae_nll`.
        variance_weight: weight of the penalty on maps that vary less than the truth.
        dc_weight: weight of data consistency: re-simulated against measured signals.
        tv_weight: weight of the total variation of the maps.
        att_weight_by_cbf: weigh the ATT of a voxel by its CBF, up to 30 ml/100g/min: where no blood comes,
            nothing tells when.
        noise_balance: weigh a slice by the inverse of its noise, so that noisy slices, whose errors are
            larger, do not drown the others; within a factor of this around SNR60 10; 1 for none.
        adaptive: how the weights of CBF and ATT change, see `TaskBalance`.

    Raises:
        ValueError: If the mode is unknown or a weight negative.
    """

    mode: Mode = "mae_nll"
    cbf_weight: float = 1.0
    att_weight: float = 1.0
    nll_weight: float = 0.1
    variance_weight: float = 0.0
    dc_weight: float = 0.0
    tv_weight: float = 0.0
    att_weight_by_cbf: bool = False
    noise_balance: float = 4.0
    adaptive: Balance = "fixed"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            msg = f"loss.mode must be one of {', '.join(MODES)}, got {self.mode!r}; correct the config."
            raise ValueError(msg)
        negative = [name for name, value in asdict(self).items() if isinstance(value, float) and value < 0]
        if negative or self.noise_balance < 1:
            msg = f"weights of the loss must be >= 0 and noise_balance >= 1, got {self}; correct {negative}."
            raise ValueError(msg)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> AslLossConfig:
        """Read a configuration.

        Args:
            values: by the names of the arguments.

        Raises:
            ValueError: If a key is unknown.
        """
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            msg = (
                f"loss must have keys among {sorted(cls.__annotations__)}, got unknown {unknown}; correct it."
            )
            raise ValueError(msg)
        return cls(**values)


class AslLoss(nn.Module):
    """Loss of predicted maps; its parts are kept in `last`.

    Args:
        config: What it is made of, or a mapping with these keys.
        protocol: Delays of the signals, for data consistency.
        physics: Constants of the signals, for data consistency.

    Raises:
        ValueError: If a key is unknown.
    """

    def __init__(
        self,
        config: AslLossConfig | Mapping[str, Any],
        protocol: AslProtocol,
        physics: AslPhysics | None = None,
    ) -> None:
        super().__init__()
        self.config = config if isinstance(config, AslLossConfig) else AslLossConfig.from_mapping(config)
        self.protocol, self.physics = protocol, physics or AslPhysics()
        self.balance = TaskBalance(self.config.adaptive)
        self.last: dict[str, Tensor] = {}

    def forward(self, maps: Mapping[str, Tensor], label: Tensor) -> Tensor:
        """Compare maps with the truth.

        Args:
            maps: `cbf`, `att`, `cbf_sd`, `att_sd`, each `(batch, 1, H, W)`.
            label: as `stack_targets` builds it.

        Returns:
            The loss, a scalar.
        """
        config = self.config
        truth, signals = split_targets(label)
        weight = truth[LabelMap.mask] * self._noise_weight(truth[LabelMap.sigma])
        att_weight = weight * (
            (truth[LabelMap.cbf] / _FULL_WEIGHT_CBF).clamp(0, 1) if config.att_weight_by_cbf else 1
        )
        errors = {
            "cbf": ((maps["cbf"] - truth[LabelMap.cbf]) / CBF_SPREAD, weight, maps["cbf_sd"] / CBF_SPREAD),
            "att": (
                (maps["att"] - truth[LabelMap.att]) / ATT_SPREAD,
                att_weight,
                maps["att_sd"] / ATT_SPREAD,
            ),
        }
        parts = {name: _mean(self._distance(error), w) for name, (error, w, _) in errors.items()}
        weights = {"cbf": config.cbf_weight, "att": config.att_weight}
        total = self.balance(torch.stack([weights[name] * part for name, part in parts.items()]))
        if config.mode == "mae_nll" and config.nll_weight:
            for name, (error, w, sd) in errors.items():
                parts[f"{name}_nll"] = _mean(_negative_log_likelihood(error, sd), w)
                total = total + config.nll_weight * weights[name] * parts[f"{name}_nll"]
        for name, factor, part in self._further(maps, truth, signals):
            parts[name] = part
            total = total + factor * part
        for name, (error, _, _) in errors.items():
            parts[f"{name}_variance"] = _mean(error.detach() ** 2, truth[LabelMap.mask])
        self.last = {name: part.detach() for name, part in {**parts, "total": total}.items()}
        return total

    def _noise_weight(self, sigma: Tensor) -> Tensor | float:
        limit = self.config.noise_balance
        return 1.0 if limit == 1 else (AslNoise().sigma / sigma.clamp_min(1e-9)).clamp(1 / limit, limit)

    def _distance(self, error: Tensor) -> Tensor:
        if self.config.mode == "mse":
            return error**2
        if self.config.mode == "huber":
            return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=0.5)
        return error.abs()

    def _further(
        self, maps: Mapping[str, Tensor], truth: Mapping[LabelMap, Tensor], signals: Tensor
    ) -> list[tuple[str, float, Tensor]]:
        config, mask = self.config, truth[LabelMap.mask]
        scaled = {"cbf": maps["cbf"] / CBF_SPREAD, "att": maps["att"] / ATT_SPREAD}
        further: list[tuple[str, float, Tensor]] = []
        if config.variance_weight:
            wanted = {"cbf": truth[LabelMap.cbf] / CBF_SPREAD, "att": truth[LabelMap.att] / ATT_SPREAD}
            missing = [_variance(wanted[name], mask) - _variance(scaled[name], mask) for name in scaled]
            further.append(("variance", config.variance_weight, torch.stack(missing).relu().mean()))
        if config.dc_weight:
            further.append(("dc", config.dc_weight, self._inconsistency(maps, signals, mask)))
        if config.tv_weight:
            roughness = torch.stack([_total_variation(part * mask) for part in scaled.values()]).sum()
            further.append(("tv", config.tv_weight, roughness))
        return further

    def _inconsistency(self, maps: Mapping[str, Tensor], signals: Tensor, mask: Tensor) -> Tensor:
        again = signal(maps["cbf"][:, 0], maps["att"][:, 0], self.protocol, self.physics)
        return _mean((again.movedim(-1, 1) - signals).abs() / _TYPICAL_SIGNAL, mask.expand_as(signals))


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(_TINY)


def _negative_log_likelihood(error: Tensor, sd: Tensor) -> Tensor:
    # The maps are trained by their error alone: else voxels would be given up where sd is large.
    sd = sd.clamp_min(_LEAST_SD)
    squares = (error.detach() / sd) ** 2
    # Beyond this the square grows as its logarithm: one sd that is far too small would outweigh all maps.
    near = squares.clamp_max(_FAR_SQUARE)
    return sd.log() + 0.5 * (near + _FAR_SQUARE * (squares.clamp_min(_FAR_SQUARE) / _FAR_SQUARE).log())


def _variance(values: Tensor, mask: Tensor) -> Tensor:
    """Variance inside the mask of every item, `(batch,)`."""
    axes = (1, 2, 3)
    n = mask.sum(axes).clamp_min(1)
    mean = (values * mask).sum(axes) / n
    return ((values - mean[:, None, None, None]) ** 2 * mask).sum(axes) / n


def _total_variation(values: Tensor) -> Tensor:
    return values.diff(dim=-1).abs().mean() + values.diff(dim=-2).abs().mean()

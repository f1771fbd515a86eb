"""The training loss of the gate: squared error, structural similarity, smooth weights, spread weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from revoxel.core.ssim import SSIMWindow, mean_ssim
from revoxel.sagnef.mixtures import weight_entropy

if TYPE_CHECKING:
    from torch import Tensor

COMPONENTS = ("mse", "ssim", "tv", "entropy")
_TV_FLOOR = 1e-8


@dataclass(frozen=True)
class LossConfig:
    """Weights and choices of `SAGNEFLoss`, under the names of the source's configuration.

    Attributes:
        w_mse: Weight of the mean squared error.
        w_ssim: Weight of `1 - SSIM`.
        w_tv: Weight of the total variation of the expert weights.
        w_entropy: Weight of the entropy term.
        ssim_window: Side of the Gaussian SSIM window in voxels.
        ssim_sigma: Its standard deviation in voxels.
        ssim_K1: Constant of the luminance term.
        ssim_K2: Constant of the contrast term.
        entropy: "spread" penalises `log M - H(W)`, which keeps every expert in use; "sharpen" is the source's
            literal sign, which penalises `H(W)`.
        tv: "isotropic" is the mean length of the spatial gradient; "rms" is the source's sum over axes of
            root-mean-square differences, about six times larger on sparse edges.
    """

    w_mse: float = 1.0
    w_ssim: float = 0.2
    w_tv: float = 0.01
    w_entropy: float = 0.001
    ssim_window: int = 7
    ssim_sigma: float = 1.5
    ssim_K1: float = 0.01  # noqa: N815 - the source's name
    ssim_K2: float = 0.03  # noqa: N815 - the source's name
    entropy: Literal["spread", "sharpen"] = "spread"
    tv: Literal["isotropic", "rms"] = "isotropic"

    def __post_init__(self) -> None:
        """Refuse unknown choices and negative weights.

        Raises:
            ValueError: If a choice is unknown or a weight is negative.
        """
        if self.entropy not in ("spread", "sharpen"):
            msg = f"entropy must be 'spread' or 'sharpen', got {self.entropy!r}; correct the loss section."
            raise ValueError(msg)
        if self.tv not in ("isotropic", "rms"):
            msg = f"tv must be 'isotropic' or 'rms', got {self.tv!r}; correct the loss section."
            raise ValueError(msg)
        negative = [name for name, value in asdict(self).items() if name.startswith("w_") and value < 0]
        if negative:
            value = getattr(self, negative[0])
            msg = f"{negative[0]} must be >= 0, got {value}; use 0 to switch the term off."
            raise ValueError(msg)


class SAGNEFLoss(nn.Module):
    r"""$\alpha\,\mathrm{MSE} + \beta\,(1-\mathrm{SSIM}) + \gamma\,\mathrm{TV}(W) + \delta\,(\log M - H(W))$.

    Everything is computed in float32 at least, also under autocast.

    Args:
        cfg: Weights and choices.
        data_range: Largest minus smallest value of the shared intensity map, for SSIM.
    """

    def __init__(self, cfg: LossConfig | None = None, data_range: float = 1.0) -> None:
        super().__init__()
        self.cfg = cfg or LossConfig()
        self.window = SSIMWindow(
            size=self.cfg.ssim_window,
            sigma=self.cfg.ssim_sigma,
            k1=self.cfg.ssim_K1,
            k2=self.cfg.ssim_K2,
            data_range=data_range,
        )

    def forward(self, y_hat: Tensor, y: Tensor, W: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the total and its unweighted components.

        Args:
            y_hat: Fused volume `(batch, 1, z, y, x)`.
            y: True volume, same shape and intensity map.
            W: Weights `(batch, expert, z, y, x)`.
            mask: `(batch, 1, z, y, x)`, non-zero where voxels count, such as not in padding.

        Returns:
            Scalars "total" (weighted) and "mse", "ssim" (that is 1 - SSIM), "tv", "entropy" (unweighted).

        Raises:
            ValueError: If the shapes do not fit together.
        """
        _check_shapes(y_hat, y, W, mask)
        with torch.autocast(y_hat.device.type, enabled=False):
            y_hat, y, W = (_full_precision(tensor) for tensor in (y_hat, y, W))
            inside = None if mask is None else (mask != 0).to(y_hat.dtype)
            components = {
                "mse": _masked_mean((y_hat - y).square(), inside),
                "ssim": 1 - mean_ssim(y_hat, y, self.window, mask),
                "tv": _variation(W, inside, self.cfg.tv),
                "entropy": self._entropy(W, inside),
            }
            total = sum(getattr(self.cfg, f"w_{name}") * value for name, value in components.items())
        return {"total": torch.as_tensor(total), **components}

    def _entropy(self, W: Tensor, inside: Tensor | None) -> Tensor:
        entropy = _masked_mean(weight_entropy(W), inside)
        return math.log(W.shape[1]) - entropy if self.cfg.entropy == "spread" else entropy


class TrainerLoss(nn.Module):
    """`SAGNEFLoss` behind the call that MONAI's trainer makes: `loss(prediction, label)` to one scalar.

    After each call `last` holds every component as a detached scalar, for logging.

    Args:
        cfg: Weights and choices.
        data_range: Largest minus smallest value of the shared intensity map, for SSIM.
    """

    def __init__(self, cfg: LossConfig | None = None, data_range: float = 1.0) -> None:
        super().__init__()
        self.loss = SAGNEFLoss(cfg, data_range)
        self.last: dict[str, Tensor] = {}

    def forward(self, prediction: tuple[Tensor, Tensor], label: Tensor) -> Tensor:
        """Compute the weighted total.

        Args:
            prediction: Fused volume and weights, as the network returns them.
            label: `(batch, 2, z, y, x)`, the true volume and the mask of valid voxels; `(batch, 1, z, y, x)`
                when all voxels are valid.

        Returns:
            Scalar.
        """
        fused, weights = prediction
        mask = label[:, 1:2] if label.shape[1] > 1 else None
        components = self.loss(fused, label[:, :1], weights, mask)
        self.last = {name: value.detach() for name, value in components.items()}
        return components["total"]


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _masked_mean(values: Tensor, inside: Tensor | None) -> Tensor:
    """Mean over channels and the voxels inside; zero when there are none."""
    if inside is None:
        return values.mean()
    return (values * inside).sum() / (inside.sum() * values.shape[1]).clamp_min(1)


def _variation(W: Tensor, inside: Tensor | None, kind: str) -> Tensor:
    """Total variation of the weights by forward differences."""
    steps = [W.diff(dim=axis) for axis in (-3, -2, -1)]
    if kind == "rms":
        pairs = [None if inside is None else _both_inside(inside, axis) for axis in (-3, -2, -1)]
        means = [_masked_mean(step.square(), pair) for step, pair in zip(steps, pairs, strict=True)]
        return (torch.stack(means) + _TV_FLOOR).sqrt().sum()
    squares = sum(step[_COMMON[axis]].square() for axis, step in enumerate(steps))
    if inside is not None:
        parts = [_both_inside(inside, axis - 3)[_COMMON[axis]] for axis in range(3)]
        inside = parts[0] * parts[1] * parts[2]
    return _masked_mean((torch.as_tensor(squares) + _TV_FLOOR).sqrt(), inside)


# Voxels that have a forward neighbour along every axis, in an array already shortened along one.
_COMMON = tuple(
    (..., *(slice(None) if axis == shortened else slice(-1) for axis in range(3))) for shortened in range(3)
)


def _both_inside(inside: Tensor, axis: int) -> Tensor:
    n_steps = inside.shape[axis] - 1
    return inside.narrow(axis, 0, n_steps) * inside.narrow(axis, 1, n_steps)


def _check_shapes(y_hat: Tensor, y: Tensor, W: Tensor, mask: Tensor | None) -> None:
    fits = y_hat.shape == y.shape and y_hat.ndim == 5 and y_hat.shape[1] == 1
    fits = fits and W.shape[0] == y.shape[0] and W.shape[2:] == y.shape[2:]
    fits = fits and (mask is None or mask.shape == y.shape)
    if not fits:
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (y_hat, y, W, mask)]
        msg = (
            "y_hat, y and mask must be (batch, 1, z, y, x) and W (batch, expert, z, y, x) on one grid, "
            f"got {shapes}; pass the network's two outputs and the true volume."
        )
        raise ValueError(msg)

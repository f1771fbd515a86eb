r"""What an ASL scan measures: the difference signal of PCASL, CASL, PASL and VSASL, and what it can tell.

With $f$ = CBF / 6000 in ml/g/s and T1 of tissue taken as that of blood (Alsop 2015, Woods 2024), in units
of the equilibrium magnetisation M0 of tissue:

- (P)CASL (Buxton 1998, single compartment):
  $\frac{2 \alpha f T_1}{\lambda} \max(0, e^{-\max(PLD, ATT)/T_1} - e^{-(LD + PLD)/T_1})$
- PASL with a bolus cut off after $TI_1$ (QUIPSS II, Wong 1998):
  $\frac{2 \alpha f}{\lambda} \mathrm{clip}(TI - ATT, 0, TI_1) e^{-TI/T_1}$
- VSASL (velocity-selective saturation, Wong 2006; Xu et al. 2025 for the joint protocol):
  $\frac{2 \alpha f\,SIB}{\lambda} \min(PLD, ATT) e^{-PLD/T_1}$

Each is linear in CBF. $\alpha$ includes the loss by background suppression, `alpha_bs` per pulse. No
dispersion, no exchange, no partial volume. NumPy and torch alike; with torch everything is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from revoxel.asl.protocol import AslProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Values = float | NDArray[Any] | Tensor

Array = TypeVar("Array", "NDArray[Any]", "Tensor")

#: ml/100g/min in ml/g/ms.
_CBF_UNIT = 1e-3 / 6000.0
_SHARES = ("alpha_pcasl", "alpha_pasl", "alpha_vsasl", "alpha_bs", "lambda_ml_g", "sib")


@dataclass(frozen=True, eq=False)
class AslPhysics:
    """Constants of the signal; each a number, one value per item of the first axis of CBF and ATT, or a map.

    Args:
        t1_blood_ms: Longitudinal relaxation time of arterial blood, ms (1650 at 3 T, Alsop 2015).
        alpha_pcasl: Labelling efficiency of PCASL (0.85), or of CASL (0.68) where that was done.
        alpha_pasl: Labelling efficiency of PASL.
        alpha_vsasl: Labelling efficiency of velocity-selective saturation.
        alpha_bs: Efficiency of one background suppression pulse.
        n_bs_pcasl: Background suppression pulses of the PCASL, CASL or PASL part.
        n_bs_vsasl: Background suppression pulses of the VSASL part.
        lambda_ml_g: Blood-brain partition coefficient, ml/g.
        sib: Share of the blood's magnetisation that has recovered when VSASL labels.

    Raises:
        ValueError: If a value is not positive, or an efficiency is above 1.
    """

    t1_blood_ms: Values = 1650.0
    alpha_pcasl: Values = 0.85
    alpha_pasl: Values = 0.98
    alpha_vsasl: Values = 0.56
    alpha_bs: Values = 1.0
    n_bs_pcasl: int = 4
    n_bs_vsasl: int = 3
    lambda_ml_g: Values = 0.9
    sib: Values = 1.0

    def __post_init__(self) -> None:
        for name in ("t1_blood_ms", *_SHARES):
            values = np.asarray(torch.as_tensor(getattr(self, name)).detach().cpu())
            top = 1.0 if name in _SHARES else np.inf
            if not (np.isfinite(values).all() and (values > 0).all() and (values <= top).all()):
                upper = " and <= 1" if name in _SHARES else ""
                msg = f"{name} must be > 0{upper}, got {values.min():g} to {values.max():g}; correct it."
                raise ValueError(msg)
        for name in ("n_bs_pcasl", "n_bs_vsasl"):
            if getattr(self, name) < 0:
                msg = f"{name} must be >= 0, got {getattr(self, name)}; correct it."
                raise ValueError(msg)

    def arrays(self) -> dict[str, Any]:
        """The constants that are not one number, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if np.ndim(value)}

    def of_item(self, item: int, n_items: int) -> AslPhysics:
        """The constants of one item of the first axis.

        Args:
            item: Number of the item.
            n_items: Number of items.

        Returns:
            Constants that are one number each.

        Raises:
            ValueError: If a constant has not one value per item.
        """
        single: dict[str, Any] = {}
        for name, values in self.arrays().items():
            if len(np.shape(values)) != 1 or len(values) != n_items:
                msg = (
                    f"{name} must be a number or one value per item ({n_items}), got shape "
                    f"{tuple(np.shape(values))}; a map of a constant needs fit_lm."
                )
                raise ValueError(msg)
            single[name] = float(values[item])
        return replace(self, **single)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name, for records and checkpoints."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in plain.items()}


def signal(cbf: Array, att: Array, protocol: AslProtocol, physics: AslPhysics | None = None) -> Array:
    """Difference signal (control - label) of every channel.

    Args:
        cbf: CBF in ml/100g/min, any shape.
        att: ATT in ms, same shape.
        protocol: Delays of the channels.
        physics: Constants; the standard ones if not given.

    Returns:
        `(..., channel)`, in units of the tissue's M0, in the order of `protocol`.

    Raises:
        ValueError: If the shapes differ, or a constant has not one value per item.
    """
    if tuple(cbf.shape) != tuple(att.shape):
        shapes = f"{tuple(cbf.shape)} and {tuple(att.shape)}"
        msg = f"cbf and att must have the same shape, got {shapes}; align them."
        raise ValueError(msg)
    return cbf[..., None] * unit_signal(att, protocol, physics)


def unit_signal(att: Array, protocol: AslProtocol, physics: AslPhysics | None = None) -> Array:
    """Difference signal of every channel at a CBF of 1 ml/100g/min.

    Args:
        att: ATT in ms, any shape.
        protocol: Delays of the channels.
        physics: Constants; the standard ones if not given.

    Returns:
        `(..., channel)`, in units of the tissue's M0 per ml/100g/min.
    """
    return _channels(att, protocol, physics or AslPhysics(), (_casl, _pasl, _vsasl))


def arterial_signal(abat: Array, protocol: AslProtocol, physics: AslPhysics | None = None) -> Array:
    r"""Signal of labelled blood still inside arteries, for an arterial blood volume of 1 (Woods 2024).

    $\frac{2 \alpha}{\lambda} e^{-aBAT/T_1}$ while the bolus passes (PASL: $e^{-TI/T_1}$). VSASL labels in
    place and has no such term here.

    Args:
        abat: Arterial bolus arrival time in ms, any shape.
        protocol: Delays of the channels.
        physics: Constants; the standard ones if not given.

    Returns:
        `(..., channel)`, in units of the tissue's M0.
    """
    blocks = _channels(abat, protocol, physics or AslPhysics(), (_casl_inside, _pasl_inside, _vsasl_inside))
    return blocks / _CBF_UNIT


def att_derivative(att: Array, protocol: AslProtocol, physics: AslPhysics | None = None) -> Array:
    """Derivative of `unit_signal` by ATT; at a kink that of the shorter ATT.

    Args:
        att: ATT in ms, any shape.
        protocol: Delays of the channels.
        physics: Constants; the standard ones if not given.

    Returns:
        `(..., channel)`, per ms.
    """
    return _channels(att, protocol, physics or AslPhysics(), (_casl_slope, _pasl_slope, _vsasl_slope))


def cramer_rao(
    cbf: Array, att: Array, protocol: AslProtocol, sigma: Values, physics: AslPhysics | None = None
) -> tuple[Array, Array]:
    """Smallest standard deviation that an unbiased estimate of one voxel can have (Cramer-Rao bound).

    Args:
        cbf: CBF in ml/100g/min, any shape.
        att: ATT in ms, same shape.
        protocol: Delays of the channels.
        sigma: Standard deviation of the noise in units of M0, one number or one per channel.
        physics: Constants; the standard ones if not given.

    Returns:
        Standard deviations of CBF (ml/100g/min) and of ATT (ms); infinite where the data cannot tell.
    """
    noise = (
        torch.as_tensor(sigma, dtype=torch.float64).to(cbf)
        if isinstance(cbf, torch.Tensor)
        else np.asarray(sigma)
    )
    by_cbf = unit_signal(att, protocol, physics) / noise
    by_att = cbf[..., None] * att_derivative(att, protocol, physics) / noise
    cbf_cbf, att_att, cbf_att = (by_cbf**2).sum(-1), (by_att**2).sum(-1), (by_cbf * by_att).sum(-1)
    determinant = cbf_cbf * att_att - cbf_att**2
    # A determinant of rounding errors is none: two curves that are proportional.
    xp: Any = torch if isinstance(cbf, torch.Tensor) else np
    singular = determinant <= 64 * xp.finfo(determinant.dtype).eps * cbf_cbf * att_att
    safe = xp.where(singular, xp.ones_like(determinant), determinant)
    infinite = xp.full_like(determinant, float("inf"))
    by_information = (att_att / safe) ** 0.5, (cbf_cbf / safe) ** 0.5
    return xp.where(singular, infinite, by_information[0]), xp.where(singular, infinite, by_information[1])


def _channels(
    att: Array, protocol: AslProtocol, physics: AslPhysics, parts: tuple[Callable[..., Any], ...]
) -> Array:
    """The blocks of a protocol side by side; `parts` compute them for efficiency 1 and f / lambda = 1."""
    casl, pasl, vsasl = parts
    att = att if _is_real(att) else att * 1.0
    t1 = _per_item(physics.t1_blood_ms, att)
    common = 2.0 * _CBF_UNIT / _per_item(physics.lambda_ml_g, att)
    suppression = _per_item(physics.alpha_bs, att)
    labelled = common * suppression**physics.n_bs_pcasl
    saturated = common * suppression**physics.n_bs_vsasl * _per_item(physics.sib, att)
    arrival = att[..., None]
    pld, duration = _row(protocol.pcasl_plds_ms, att), _row(protocol.durations_ms, att)
    inversion, bolus = _row(protocol.pasl_tis_ms, att), protocol.pasl_bolus_ms or 0.0
    blocks = (
        labelled * _per_item(physics.alpha_pcasl, att) * casl(arrival, pld, duration, t1),
        labelled * _per_item(physics.alpha_pasl, att) * pasl(arrival, inversion, bolus, t1),
        saturated
        * _per_item(physics.alpha_vsasl, att)
        * vsasl(arrival, _row(protocol.vsasl_plds_ms, att), t1),
    )
    return torch.cat(blocks, -1) if isinstance(att, torch.Tensor) else np.concatenate(blocks, -1)


def _casl(att: Any, pld: Any, duration: Any, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    left = xp.exp(-xp.maximum(pld, att) / t1) - xp.exp(-(duration + pld) / t1)
    return t1 * left.clip(0.0)


def _pasl(att: Any, inversion: Any, bolus: float, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    return (inversion - att).clip(0.0, bolus) * xp.exp(-inversion / t1)


def _vsasl(att: Any, pld: Any, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    return xp.minimum(pld, att) * xp.exp(-pld / t1)


def _casl_slope(att: Any, pld: Any, duration: Any, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    arriving = (att > pld) & (att <= pld + duration)
    return -1.0 * arriving * xp.exp(-att / t1)


def _pasl_slope(att: Any, inversion: Any, bolus: float, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    arriving = (att <= inversion) & (inversion - att < bolus)
    return -1.0 * arriving * xp.exp(-inversion / t1)


def _vsasl_slope(att: Any, pld: Any, t1: Any) -> Any:
    xp: Any = torch if isinstance(att, torch.Tensor) else np
    return (att <= pld) * xp.exp(-pld / t1)


def _casl_inside(abat: Any, pld: Any, duration: Any, t1: Any) -> Any:
    xp: Any = torch if isinstance(abat, torch.Tensor) else np
    return ((abat > pld) & (abat <= pld + duration)) * xp.exp(-abat / t1)


def _pasl_inside(abat: Any, inversion: Any, bolus: float, t1: Any) -> Any:
    xp: Any = torch if isinstance(abat, torch.Tensor) else np
    return ((abat <= inversion) & (inversion - abat < bolus)) * xp.exp(-inversion / t1)


def _vsasl_inside(abat: Any, pld: Any, t1: Any) -> Any:
    return 0.0 * _vsasl(abat, pld, t1)


def _row(times_ms: tuple[float, ...], like: Any) -> Any:
    """Times beside an array; the channel is the last axis."""
    times = np.asarray(times_ms, dtype=np.float64)
    return like.new_tensor(times) if isinstance(like, torch.Tensor) else times.astype(like.dtype)


def _is_real(values: Any) -> bool:
    """Whether an array holds floating-point numbers: whole ones would truncate what stands beside them."""
    return values.is_floating_point() if isinstance(values, torch.Tensor) else values.dtype.kind == "f"


def _per_item(value: Any, like: Any) -> Any:
    """A constant beside `like[..., None]`: a number, one per item of the first axis, or a map."""
    if not hasattr(value, "shape"):
        return value
    beside: Any
    if isinstance(like, torch.Tensor):
        beside = torch.as_tensor(value).to(like)
    else:
        beside = np.asarray(value).astype(like.dtype)
    if tuple(beside.shape) == tuple(like.shape) and beside.ndim:
        return beside[..., None]
    if beside.ndim == 0:
        return beside
    if beside.ndim != 1 or like.ndim == 0 or len(beside) != like.shape[0]:
        msg = (
            f"a constant must be a number, a map or have one value per item, got shape {tuple(beside.shape)} "
            f"for maps {tuple(like.shape)}; give {like.shape[0] if like.ndim else 1} values."
        )
        raise ValueError(msg)
    return beside.reshape(-1, *(1,) * like.ndim)

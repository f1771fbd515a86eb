"""Join scans of one head: their delays into one protocol, their efficiencies into one set of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.quantification.estimation import SliceTimes
from revoxel.asl.scans.metadata import ALPHA, ALPHA_BS, T1_BLOOD_MS
from revoxel.asl.scans.series import Labelling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.asl.scans.series import AslSeries, Delay
    from revoxel.asl.scans.stated import Stated

_FIELD_T = 3.0


def protocol_of(delays: Mapping[Labelling, Sequence[Delay]], bolus_ms: float | None = None) -> AslProtocol:
    """Protocol of the channels in stacking order.

    Args:
        delays: Ascending delays by kind of labelling.
        bolus_ms: Duration of the PASL bolus in ms.

    Returns:
        The protocol.

    Raises:
        ValueError: If delays are out of range, not ascending or not unique.
    """
    labelled = [*delays.get(Labelling.PCASL, ()), *delays.get(Labelling.CASL, ())]
    return AslProtocol(
        pcasl_plds_ms=tuple(delay.pld_ms for delay in labelled),
        pcasl_labelling_durations_ms=tuple(delay.duration_ms for delay in labelled),
        vsasl_plds_ms=tuple(delay.pld_ms for delay in delays.get(Labelling.VSASL, ())),
        pasl_tis_ms=tuple(delay.pld_ms for delay in delays.get(Labelling.PASL, ())),
        pasl_bolus_ms=bolus_ms,
    )


def physics_of(series: Sequence[AslSeries], stated: Stated) -> AslPhysics:
    """Constants of the signal: what the user states, else what the sidecars say, else the usual ones.

    An efficiency that is stated holds for the whole preparation; the usual ones lose `ALPHA_BS` per
    background suppression pulse.

    Args:
        series: Scans of one head, VSASL last.
        stated: What the user knows.

    Returns:
        The constants.

    Raises:
        ValueError: If a constant is out of range.
    """
    constants: dict[str, Any] = {"n_bs_pcasl": 0, "n_bs_vsasl": 0}
    for one in series:
        velocity = one.labelling is Labelling.VSASL
        stated_alpha = stated.alpha_vsasl if velocity else stated.alpha
        known = one.alpha if stated_alpha is None else stated_alpha
        part = "pasl" if one.labelling is Labelling.PASL else "vsasl" if velocity else "pcasl"
        constants[f"alpha_{part}"] = ALPHA[one.labelling] if known is None else known
        if known is None or stated.alpha_bs is not None:
            constants["n_bs_vsasl" if velocity else "n_bs_pcasl"] = one.n_bs_pulses or 0
    alpha_bs = ALPHA_BS if stated.alpha_bs is None else stated.alpha_bs
    return AslPhysics(t1_blood_ms=_t1_blood_ms(series, stated), alpha_bs=alpha_bs, **constants)


def common_slice_times(series: Sequence[AslSeries]) -> SliceTimes:
    """Read-out times of scans that are fitted together.

    Args:
        series: Scans of one head.

    Returns:
        Their slice times.

    Raises:
        ValueError: If they differ.
    """
    found = {(one.slice_axis if one.slice_times_ms else 2, one.slice_times_ms) for one in series}
    if len(found) > 1:
        names = " and ".join(one.name for one in series)
        msg = f"SliceTiming of {names} must agree to be fitted together, got different times; correct them."
        raise ValueError(msg)
    axis, times_ms = found.pop()
    return SliceTimes(axis, times_ms)


def _t1_blood_ms(series: Sequence[AslSeries], stated: Stated) -> float:
    if stated.t1_blood_ms is not None:
        return stated.t1_blood_ms
    fields_t = [one.field_strength_t for one in series if one.field_strength_t is not None]
    field_t = fields_t[0] if fields_t else _FIELD_T
    return T1_BLOOD_MS[min(T1_BLOOD_MS, key=lambda known: abs(known - field_t))]

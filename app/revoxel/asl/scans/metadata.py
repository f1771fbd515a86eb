"""Join sidecar, volume list and what a user stated into one checked description of an ASL file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.asl.scans.bids import asl_fields, read_context
from revoxel.asl.scans.series import AslSeries, Delay, Labelling, M0Type, VolumeType
from revoxel.asl.scans.sidecar import AslSidecar, parse_sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from revoxel.asl.scans.stated import Stated

#: Field strengths in T and T1 of arterial blood in ms (Alsop 2015; 7 T: Zhang 2013).
T1_BLOOD_MS = {1.5: 1350.0, 3.0: 1650.0, 7.0: 2087.0}
#: Usual labelling efficiencies (Alsop 2015; VSASL: Qin 2022).
ALPHA = {Labelling.PCASL: 0.85, Labelling.CASL: 0.68, Labelling.PASL: 0.98, Labelling.VSASL: 0.56}
#: Loss per background suppression pulse that is assumed where none is stated.
ALPHA_BS = 0.95
_IMAGES = (VolumeType.CONTROL, VolumeType.LABEL, VolumeType.DELTAM)


def describe(path: Path, shape: tuple[int, ...], stated: Stated) -> AslSeries:
    """Read and check the metadata of an ASL file.

    Args:
        path: The file.
        shape: `(volume, i, j, k)` of its images.
        stated: What the user knows better.

    Returns:
        The description, times in ms.

    Raises:
        ValueError: If a field is missing, wrong, or contradicts the images.
    """
    sidecar = parse_sidecar(_fields(path, stated), path.name)
    types = _volume_types(path, shape[0], stated)
    slice_times_ms, slice_axis = _slice_times(sidecar, shape[1:], path.name)
    return AslSeries(
        name=path.name,
        labelling=sidecar.labelling,
        volume_types=types,
        delays=_delays(path.name, sidecar, types),
        bolus_ms=_bolus_ms(path.name, sidecar),
        slice_times_ms=slice_times_ms,
        slice_axis=slice_axis,
        m0_type=_m0_type(path.name, sidecar, types, stated),
        m0_estimate=sidecar.m0_estimate,
        tr_ms=_m0_tr_ms(sidecar, types),
        alpha=sidecar.alpha,
        n_bs_pulses=_n_pulses(sidecar),
        field_strength_t=sidecar.field_strength_t,
        notes=tuple(_notes(path.name, sidecar, types, stated)),
    )


def _fields(path: Path, stated: Stated) -> dict[str, object]:
    fields = asl_fields(path)
    if not fields and stated.plds_ms:
        # Without a sidecar the user is the source: the commonest kind is assumed, and said in the record.
        fields = {"ArterialSpinLabelingType": Labelling.PCASL.value}
    return {**fields, **stated.fields()}


def _volume_types(path: Path, n_volumes: int, stated: Stated) -> tuple[VolumeType, ...]:
    if stated.already_subtracted:
        return (VolumeType.DELTAM,) * n_volumes
    types = read_context(path)
    if types is None and n_volumes % 2:
        msg = (
            f"{path.name} must come with an aslcontext.tsv, or hold pairs, got {n_volumes} volumes; write "
            "the file, or pass --already-subtracted if the volumes are differences."
        )
        raise ValueError(msg)
    if types is None:
        pair = (VolumeType.CONTROL, VolumeType.LABEL)
        types = (pair[::-1] if stated.label_first else pair) * (n_volumes // 2)
    if len(types) != n_volumes:
        msg = (
            f"aslcontext.tsv of {path.name} must have one row per volume, got {len(types)} rows for "
            f"{n_volumes} volumes; correct the rows, or copy the image again."
        )
        raise ValueError(msg)
    return types


def _delays(name: str, sidecar: AslSidecar, types: Sequence[VolumeType]) -> tuple[Delay, ...]:
    plds_s = _per_volume(name, "PostLabelingDelay", sidecar.plds_s, types)
    if not sidecar.labelling.has_duration:
        return tuple(Delay(0.0, _ms(pld)) for pld in plds_s)
    if not sidecar.durations_s:
        msg = (
            f"{name}: LabelingDuration must be given for {sidecar.labelling}, got nothing; enter it in "
            "seconds or pass --labelling-durations-ms."
        )
        raise ValueError(msg)
    durations_s = _per_volume(name, "LabelingDuration", sidecar.durations_s, types)
    images = [duration for duration, kind in zip(durations_s, types, strict=True) if kind in _IMAGES]
    if min(images, default=1.0) <= 0:
        msg = f"{name}: LabelingDuration must be > 0 s for every image, got 0; enter how long labelling took."
        raise ValueError(msg)
    return tuple(Delay(_ms(ld), _ms(pld)) for ld, pld in zip(durations_s, plds_s, strict=True))


def _per_volume(
    name: str, field: str, values: tuple[float, ...], types: Sequence[VolumeType]
) -> tuple[float, ...]:
    """One value per volume, from one, one per volume, or one per control/label pair in turn."""
    n_volumes = len(types)
    paired = set(types) == {VolumeType.CONTROL, VolumeType.LABEL}
    if len(values) == 1:
        return values * n_volumes
    if paired and 2 * len(values) == n_volumes and types[0] is not types[1]:
        return tuple(value for value in values for _ in range(2))
    if len(values) != n_volumes:
        msg = (
            f"{name}: {field} must be one number or one per volume, got {len(values)} for {n_volumes} "
            "volumes; correct the list."
        )
        raise ValueError(msg)
    return values


def _bolus_ms(name: str, sidecar: AslSidecar) -> float | None:
    if sidecar.labelling is not Labelling.PASL:
        return None
    if not sidecar.bolus_s or sidecar.bolus_s[0] <= 0:
        got = sidecar.bolus_s[0] if sidecar.bolus_s else "nothing"
        msg = (
            f"{name}: BolusCutOffDelayTime must be given for PASL, got {got}; enter TI1 in seconds or pass "
            "--bolus-ms: without a bolus of known length CBF cannot be told from PASL."
        )
        raise ValueError(msg)
    return _ms(sidecar.bolus_s[0])


def _slice_times(sidecar: AslSidecar, shape: Sequence[int], name: str) -> tuple[tuple[float, ...], int]:
    axis = "ijk".index(sidecar.slice_direction[0])
    times_s = sidecar.slice_times_s
    if not times_s or len(set(times_s)) == 1:
        return (), axis
    if len(times_s) != shape[axis]:
        msg = (
            f"{name}: SliceTiming must have one time per slice, got {len(times_s)} for {shape[axis]} slices "
            f"along {sidecar.slice_direction}; correct SliceTiming or SliceEncodingDirection."
        )
        raise ValueError(msg)
    ordered = times_s[::-1] if sidecar.slice_direction.endswith("-") else times_s
    return tuple(_ms(time - min(times_s)) for time in ordered), axis


def _m0_type(name: str, sidecar: AslSidecar, types: Sequence[VolumeType], stated: Stated) -> M0Type:
    if stated.m0 is not None:
        return M0Type.GIVEN
    problems = {
        M0Type.ABSENT: "Absent, so M0 must be given, got none; pass --m0 FILE or a number.",
        M0Type.ESTIMATE: "Estimate, so M0Estimate must be given, got nothing; enter it, or pass --m0.",
        M0Type.INCLUDED: "Included, so a volume must be m0scan, got none; correct it, or pass --m0.",
    }
    wrong = {
        M0Type.ABSENT: True,
        M0Type.ESTIMATE: sidecar.m0_estimate is None,
        M0Type.INCLUDED: VolumeType.M0SCAN not in types,
        M0Type.SEPARATE: False,
    }
    if wrong[sidecar.m0_type]:
        msg = f"{name}: M0Type is {problems[sidecar.m0_type]}"
        raise ValueError(msg)
    return sidecar.m0_type


def _m0_tr_ms(sidecar: AslSidecar, types: Sequence[VolumeType]) -> float | None:
    times_s = sidecar.trs_s
    if len(times_s) == len(types):
        times_s = tuple(t for t, kind in zip(times_s, types, strict=True) if kind is VolumeType.M0SCAN)
    return _ms(sum(times_s) / len(times_s)) if times_s else None


def _n_pulses(sidecar: AslSidecar) -> int | None:
    return sidecar.n_pulses if sidecar.background_suppression else 0


def _notes(name: str, sidecar: AslSidecar, types: Sequence[VolumeType], stated: Stated) -> list[str]:
    notes = []
    if sidecar.labelling is Labelling.VSASL:
        notes.append(
            f"{name}: ArterialSpinLabelingType VSASL is an extension; BIDS knows CASL, PCASL and PASL alone."
        )
    alpha = stated.alpha_vsasl if sidecar.labelling is Labelling.VSASL else stated.alpha
    if alpha is None and sidecar.alpha is None:
        notes += _suppression_notes(name, sidecar)
    if sidecar.look_locker:
        notes.append(f"{name}: LookLocker read-out spends label that the model counts: CBF is too low.")
    if sidecar.field_strength_t is not None and sidecar.field_strength_t not in T1_BLOOD_MS:
        notes.append(
            f"{name}: MagneticFieldStrength {sidecar.field_strength_t:g} T has no usual T1 of blood; that of "
            "the nearest known field is taken, or pass --t1-blood-ms."
        )
    n_pairs = types.count(VolumeType.CONTROL)
    # Differences may have been averaged on the scanner: then their number says nothing.
    if n_pairs and sidecar.n_pairs is not None and n_pairs != sidecar.n_pairs:
        notes.append(f"{name}: TotalAcquiredPairs is {sidecar.n_pairs}, but the file holds {n_pairs} pairs.")
    ignored = sorted({kind.value for kind in types} & {"cbf", "noRF"})
    if ignored:
        notes.append(f"{name}: volumes of type {', '.join(ignored)} are not used.")
    return notes


def _suppression_notes(name: str, sidecar: AslSidecar) -> list[str]:
    """What is not known about a loss of label that nobody stated."""
    advice = "CBF is too low then: enter BackgroundSuppressionNumberPulses, or pass --alpha."
    if sidecar.background_suppression is None:
        return [f"{name}: BackgroundSuppression is not given and taken as off; if there was some, {advice}"]
    if sidecar.background_suppression and sidecar.n_pulses is None:
        cost = "BackgroundSuppression is true, but BackgroundSuppressionNumberPulses is not given: what"
        return [f"{name}: {cost} the pulses cost is not corrected; {advice}"]
    return []


def _ms(seconds: float) -> float:
    # Written in seconds, 1.8 is no binary fraction: without rounding one delay could become two.
    return round(seconds * 1000, 3)

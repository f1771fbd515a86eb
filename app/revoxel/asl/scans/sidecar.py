"""Fields of a BIDS sidecar that perfusion depends on, each checked for what users get wrong.

BIDS counts in seconds. Scalars are kept as tuples of one value, which holds for every volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from revoxel.asl.scans.series import Labelling, M0Type

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_S = 10.0
_HUGE = 1e300  # JSON has integers that no float holds
Model = TypeVar("Model", bound=BaseModel)


def _numbers(value: Any) -> tuple[float, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed or any(isinstance(item, bool) or not isinstance(item, int | float) for item in listed):
        msg = f"must be a number or a list of numbers, got {value!r}; correct it."
        raise ValueError(msg)
    return tuple(float(min(max(item, -_HUGE), _HUGE)) for item in listed)


def _seconds(value: Any) -> tuple[float, ...]:
    times_s = _numbers(value)
    longest = max(times_s, key=abs)
    if not 0 <= min(times_s) <= max(times_s) <= LONGEST_S:
        msg = f"must be in seconds, 0 to {LONGEST_S:g}, got {longest:g}; BIDS counts in seconds"
        msg += f": write {longest / 1000:g}." if longest > LONGEST_S else ": correct it."
        raise ValueError(msg)
    return times_s


def _positive_seconds(value: Any) -> tuple[float, ...]:
    times_s = _seconds(value)
    if min(times_s) <= 0:
        msg = f"must be > 0 s, got {min(times_s):g}; enter the time between repeated preparations "
        msg += "(with 0 the correction of M0 would divide by nothing), or pass --m0-tr-ms."
        raise ValueError(msg)
    return times_s


def _labelling(value: Any) -> Labelling:
    try:
        return Labelling(str(value).upper())
    except ValueError:
        known = ", ".join(Labelling)
        msg = f"must be one of {known}, got {value!r}; correct it or pass --labelling."
        raise ValueError(msg) from None


def _m0_type(value: Any) -> M0Type:
    known = [kind.value for kind in M0Type if kind is not M0Type.GIVEN]
    if value not in known:
        msg = f"must be one of {', '.join(known)}, got {value!r}; correct it or pass --m0."
        raise ValueError(msg)
    return M0Type(value)


def _share(value: Any) -> float:
    (share,) = _numbers(value) if not isinstance(value, list) else (0.0,)
    if not 0 < share <= 1:
        msg = f"must be > 0 and <= 1, got {value}; enter a fraction, not a percentage, or pass --alpha."
        raise ValueError(msg)
    return share


Seconds = Annotated[tuple[float, ...], BeforeValidator(_seconds)]


class AslSidecar(BaseModel):
    """The fields, by their BIDS names; others are ignored.

    Attributes:
        labelling: Kind of labelling, `VSASL` included.
        plds_s: Delays, one for all volumes or one each.
        durations_s: Labelling durations, one for all volumes or one each.
        m0_type: Where M0 is.
        m0_estimate: M0 of blood, if it was measured otherwise.
        trs_s: Repetition times (of preparation), one for all volumes or one each.
        background_suppression: Whether static tissue was suppressed; None if not given.
        n_pulses: Number of suppression pulses.
        alpha: Labelling efficiency.
        bolus_s: Delays of the bolus cut-off; the first one ends the bolus.
        slice_times_s: Read-out time of each slice.
        slice_direction: Array axis of slices, `i`, `j` or `k`, with `-` if they are counted backwards.
        field_strength_t: Of the magnet.
        look_locker: Whether one labelling is read out several times.
        n_pairs: Pairs acquired.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    labelling: Annotated[Labelling, BeforeValidator(_labelling), Field(alias="ArterialSpinLabelingType")]
    plds_s: Annotated[Seconds, Field(alias="PostLabelingDelay")]
    durations_s: Annotated[Seconds, Field(alias="LabelingDuration")] = ()
    m0_type: Annotated[M0Type, BeforeValidator(_m0_type), Field(alias="M0Type")]
    m0_estimate: Annotated[float | None, Field(alias="M0Estimate", gt=0)] = None
    trs_s: Annotated[
        tuple[float, ...], BeforeValidator(_positive_seconds), Field(alias="RepetitionTimePreparation")
    ] = ()
    background_suppression: Annotated[bool | None, Field(alias="BackgroundSuppression")] = None
    n_pulses: Annotated[int | None, Field(alias="BackgroundSuppressionNumberPulses", ge=0)] = None
    alpha: Annotated[float | None, BeforeValidator(_share), Field(alias="LabelingEfficiency")] = None
    bolus_s: Annotated[Seconds, Field(alias="BolusCutOffDelayTime")] = ()
    slice_times_s: Annotated[Seconds, Field(alias="SliceTiming")] = ()
    slice_direction: Annotated[str, Field(alias="SliceEncodingDirection", pattern="^[ijk]-?$")] = "k"
    field_strength_t: Annotated[float | None, Field(alias="MagneticFieldStrength", gt=0)] = None
    look_locker: Annotated[bool, Field(alias="LookLocker")] = False
    n_pairs: Annotated[int | None, Field(alias="TotalAcquiredPairs", gt=0)] = None


class M0Sidecar(BaseModel):
    """What the sidecar of an M0 scan must say.

    Attributes:
        trs_s: Repetition times of preparation.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    trs_s: Annotated[
        tuple[float, ...], BeforeValidator(_positive_seconds), Field(alias="RepetitionTimePreparation")
    ] = ()


_HINTS = {
    "ArterialSpinLabelingType": "enter PCASL, CASL, PASL or VSASL, or pass --labelling.",
    "PostLabelingDelay": "enter it in seconds, one value or one per volume, or pass --plds-ms.",
    "M0Type": "enter Separate, Included, Estimate or Absent, or pass --m0.",
}


def parse_sidecar(fields: Mapping[str, Any], name: str) -> AslSidecar:
    """Check the fields of an ASL sidecar.

    Args:
        fields: Content of the JSON, with what a user stated instead.
        name: Name of the file, for messages.

    Returns:
        The fields.

    Raises:
        ValueError: If a field is missing or wrong; the message names it, its value and what to do.
    """
    return _parsed(AslSidecar, fields, name)


def parse_m0_sidecar(fields: Mapping[str, Any], name: str) -> M0Sidecar:
    """Check the fields of the sidecar of an M0 scan.

    Args:
        fields: Content of the JSON.
        name: Name of the file, for messages.

    Returns:
        The fields.

    Raises:
        ValueError: If a field is wrong; the message names it, its value and what to do.
    """
    return _parsed(M0Sidecar, fields, name)


def _parsed(model: type[Model], fields: Mapping[str, Any], name: str) -> Model:
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise ValueError(f"{name}: " + " ".join(_words(item) for item in error.errors())) from error


def _words(item: Any) -> str:
    field = str(item["loc"][0])
    if item["type"] == "missing":
        return f"{field} must be given, got nothing; {_HINTS[field]}"
    if item["type"] == "value_error":
        return f"{field} {item['msg'].removeprefix('Value error, ')}"
    return f"{field} is wrong ({item['msg']}), got {item['input']!r}; correct it."

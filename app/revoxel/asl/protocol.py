"""The delays at which an ASL scan looks: the channels of its difference signal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

#: A delay above this many ms is taken for a mistake of units.
LONGEST_MS = 10_000.0


@dataclass(frozen=True)
class AslProtocol:
    """Delays of the channels, in the order in which the difference images are stacked: PCASL, PASL, VSASL.

    Args:
        pcasl_plds_ms: Post-labelling delays of the PCASL (or CASL) images, ms, ascending.
        pcasl_labelling_durations_ms: Labelling duration, ms: one number, or one per PLD.
        vsasl_plds_ms: Post-labelling delays of the velocity-selective images, ms, ascending.
        pasl_tis_ms: Inversion times of the PASL images, ms, ascending.
        pasl_bolus_ms: Duration of the PASL bolus (TI1; BIDS `BolusCutOffDelayTime`), ms.

    Raises:
        ValueError: If there is no channel, a time is out of range, or times are not unique and ascending
            ((labelling duration, PLD) pairs for PCASL).
    """

    pcasl_plds_ms: tuple[float, ...] = ()
    pcasl_labelling_durations_ms: tuple[float, ...] | float = 1800.0
    vsasl_plds_ms: tuple[float, ...] = ()
    pasl_tis_ms: tuple[float, ...] = ()
    pasl_bolus_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("pcasl_plds_ms", "vsasl_plds_ms", "pasl_tis_ms"):
            object.__setattr__(self, name, _times(name, getattr(self, name)))
        object.__setattr__(self, "pcasl_labelling_durations_ms", self._durations())
        if not self.n_channels:
            msg = "a protocol must have a delay, got none; give pcasl_plds_ms, pasl_tis_ms or vsasl_plds_ms."
            raise ValueError(msg)
        _ascending("(labelling duration, PLD)", list(zip(self.durations_ms, self.pcasl_plds_ms, strict=True)))
        _ascending("vsasl_plds_ms", list(self.vsasl_plds_ms))
        _ascending("pasl_tis_ms", list(self.pasl_tis_ms))
        if self.pasl_tis_ms and not (self.pasl_bolus_ms and 0 < self.pasl_bolus_ms <= LONGEST_MS):
            msg = (
                f"pasl_bolus_ms must be given for PASL, got {self.pasl_bolus_ms}; it is the delay of the "
                "bolus cut-off (BIDS BolusCutOffDelayTime)."
            )
            raise ValueError(msg)

    @property
    def durations_ms(self) -> tuple[float, ...]:
        """Labelling duration of each PCASL channel, ms."""
        return cast("tuple[float, ...]", self.pcasl_labelling_durations_ms)

    @property
    def n_channels(self) -> int:
        """Number of difference images."""
        return len(self.pcasl_plds_ms) + len(self.pasl_tis_ms) + len(self.vsasl_plds_ms)

    @property
    def kinks_ms(self) -> tuple[float, ...]:
        """ATTs at which some channel's signal bends, ms, ascending."""
        ends = [pld + duration for pld, duration in zip(self.pcasl_plds_ms, self.durations_ms, strict=True)]
        starts = [ti - (self.pasl_bolus_ms or 0.0) for ti in self.pasl_tis_ms]
        return tuple(sorted({*self.pcasl_plds_ms, *ends, *self.pasl_tis_ms, *starts, *self.vsasl_plds_ms}))

    @property
    def labels(self) -> tuple[str, ...]:
        """A name per channel, such as `PCASL LD 1800 PLD 2000 ms`."""
        labelled = zip(self.durations_ms, self.pcasl_plds_ms, strict=True)
        return (
            *(f"PCASL LD {duration:g} PLD {pld:g} ms" for duration, pld in labelled),
            *(f"PASL TI {time:g} ms" for time in self.pasl_tis_ms),
            *(f"VSASL PLD {pld:g} ms" for pld in self.vsasl_plds_ms),
        )

    def later(self, shift_ms: float) -> AslProtocol:
        """The protocol of a slice that is read out later.

        Args:
            shift_ms: Time of the slice after the first one, ms.

        Returns:
            The same with longer delays.
        """
        moved = {
            name: tuple(time + shift_ms for time in getattr(self, name))
            for name in ("pcasl_plds_ms", "vsasl_plds_ms", "pasl_tis_ms")
        }
        return AslProtocol(
            pcasl_labelling_durations_ms=self.durations_ms, pasl_bolus_ms=self.pasl_bolus_ms, **moved
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name, for records and checkpoints; `AslProtocol(**...)` reads them back."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def _durations(self) -> tuple[float, ...]:
        given = self.pcasl_labelling_durations_ms
        n_plds = len(self.pcasl_plds_ms)
        durations = (float(given),) * n_plds if not isinstance(given, Iterable) else tuple(map(float, given))
        if len(durations) != n_plds or any(not 0 < time <= LONGEST_MS for time in durations):
            msg = (
                f"pcasl_labelling_durations_ms must be one number or one per PLD ({n_plds}), above 0 and at "
                f"most {LONGEST_MS:g} ms, got {given}; correct it."
            )
            raise ValueError(msg)
        return durations


def _times(name: str, values: Sequence[float]) -> tuple[float, ...]:
    times = tuple(map(float, values))
    if any(not 0 <= time <= LONGEST_MS for time in times):
        msg = f"{name} must lie between 0 and {LONGEST_MS:g} ms, got {list(times)}; correct them."
        raise ValueError(msg)
    return times


def _ascending(name: str, values: list[Any]) -> None:
    if any(first >= second for first, second in pairwise(values)):
        msg = f"{name} must be unique and ascending, got {values}; average repeats and sort the channels."
        raise ValueError(msg)

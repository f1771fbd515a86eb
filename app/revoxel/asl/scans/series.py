"""One ASL file as its metadata describe it: which volume is what, and when it was acquired."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Labelling(StrEnum):
    """How blood is labelled; BIDS knows the first three, `VSASL` is an extension of ours."""

    PCASL = "PCASL"
    CASL = "CASL"
    PASL = "PASL"
    VSASL = "VSASL"

    @property
    def has_duration(self) -> bool:
        """Whether labelling goes on for a while, so that its duration matters."""
        return self in {Labelling.PCASL, Labelling.CASL}


class VolumeType(StrEnum):
    """Words of a BIDS `aslcontext.tsv`."""

    CONTROL = "control"
    LABEL = "label"
    M0SCAN = "m0scan"
    DELTAM = "deltam"
    CBF = "cbf"
    NORF = "noRF"


class M0Type(StrEnum):
    """Where the equilibrium magnetisation comes from; BIDS `M0Type`, and `Given` for a user's own."""

    SEPARATE = "Separate"
    INCLUDED = "Included"
    ESTIMATE = "Estimate"
    ABSENT = "Absent"
    GIVEN = "Given"


@dataclass(frozen=True, order=True)
class Delay:
    """What distinguishes the images of one labelling: sorts by labelling duration, then by PLD.

    Args:
        duration_ms: Labelling duration in ms; 0 where the labelling has none.
        pld_ms: Post-labelling delay (inversion time for PASL) in ms.
    """

    duration_ms: float
    pld_ms: float


@dataclass(frozen=True)
class AslSeries:
    """Checked metadata of one file; times in ms.

    Args:
        name: Name of the file, for messages.
        labelling: How blood was labelled.
        volume_types: One per volume.
        delays: One per volume.
        bolus_ms: Duration of the bolus, PASL alone.
        slice_times_ms: Read-out of each slice after the first one; empty if all are read out at once.
        slice_axis: Array axis along which slices are counted.
        m0_type: Where M0 comes from.
        m0_estimate: M0 of blood, for `M0Type.ESTIMATE`.
        tr_ms: Repetition time of the M0 volumes inside the file; None if unknown.
        alpha: Labelling efficiency stated; None for the usual one.
        n_bs_pulses: Background suppression pulses; None if there is suppression with an unknown number.
        field_strength_t: Of the magnet; None if unknown.
        notes: What a user should know.
    """

    name: str
    labelling: Labelling
    volume_types: tuple[VolumeType, ...]
    delays: tuple[Delay, ...]
    bolus_ms: float | None = None
    slice_times_ms: tuple[float, ...] = ()
    slice_axis: int = 2
    m0_type: M0Type = M0Type.SEPARATE
    m0_estimate: float | None = None
    tr_ms: float | None = None
    alpha: float | None = None
    n_bs_pulses: int | None = 0
    field_strength_t: float | None = None
    notes: tuple[str, ...] = ()

    def indices(self, kind: VolumeType) -> list[int]:
        """Volumes of a kind, in their order.

        Args:
            kind: Which.
        """
        return [index for index, found in enumerate(self.volume_types) if found is kind]

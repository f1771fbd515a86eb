"""What a user states about a scan, beside or instead of its sidecar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from revoxel.asl.scans.series import Labelling


@dataclass(frozen=True)
class Stated:
    """Facts that take precedence over the sidecar; None or empty leaves them to it.

    Args:
        labelling: Kind of labelling.
        plds_ms: Delays in ms: one, one per control/label pair, or one per volume.
        labelling_durations_ms: Labelling durations in ms, likewise.
        bolus_ms: Duration of the PASL bolus in ms.
        already_subtracted: Whether the volumes are differences, control - label.
        label_first: Whether label comes before control where nothing else says which is which.
        echo: Which image of the fifth axis to take, from 0.
        m0: File with M0 on any grid, or M0 of tissue as a number.
        m0_tr_ms: Repetition time of M0 in ms.
        t1_blood_ms: T1 of arterial blood in ms.
        alpha: Labelling efficiency of PCASL, CASL or PASL.
        alpha_vsasl: Labelling efficiency of VSASL.
        alpha_bs: Efficiency of one background suppression pulse.
        vsasl: VSASL scan of the same head, to be fitted together with the scan.
        vsasl_plds_ms: Its delays in ms, as `plds_ms`.

    Raises:
        ValueError: If delays of a VSASL scan are stated, and no such scan.
    """

    labelling: Labelling | None = None
    plds_ms: tuple[float, ...] = ()
    labelling_durations_ms: tuple[float, ...] = ()
    bolus_ms: float | None = None
    already_subtracted: bool = False
    label_first: bool = False
    echo: int | None = None
    m0: Path | float | None = None
    m0_tr_ms: float | None = None
    t1_blood_ms: float | None = None
    alpha: float | None = None
    alpha_vsasl: float | None = None
    alpha_bs: float | None = None
    vsasl: Path | None = None
    vsasl_plds_ms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse delays that nothing would use."""
        if self.vsasl_plds_ms and self.vsasl is None:
            msg = f"--vsasl-plds-ms must come with --vsasl FILE, got {self.vsasl_plds_ms} alone; for a VSASL "
            raise ValueError(msg + "scan by itself pass --labelling VSASL --plds-ms.")

    @property
    def describes_one_scan(self) -> bool:
        """Whether it holds facts that cannot hold for two kinds of labelling at once."""
        return bool(self.labelling or self.plds_ms or self.labelling_durations_ms or self.vsasl)

    def about(self, labelling: Labelling | None) -> Stated:
        """What is stated of the file of one kind: a VSASL scan beside another has delays of its own.

        Args:
            labelling: Kind of the file.
        """
        if self.vsasl is None or labelling is not Labelling.VSASL:
            return self
        own = replace(self, labelling=labelling, plds_ms=self.vsasl_plds_ms, labelling_durations_ms=())
        return replace(own, bolus_ms=None)

    def fields(self) -> dict[str, Any]:
        """The facts as BIDS fields, in seconds, one value or as many as were given."""
        stated = {
            "ArterialSpinLabelingType": self.labelling and self.labelling.value,
            "PostLabelingDelay": _seconds(self.plds_ms),
            "LabelingDuration": _seconds(self.labelling_durations_ms),
            "BolusCutOffDelayTime": self.bolus_ms and self.bolus_ms / 1000,
            "M0Type": None if self.m0 is None else "Absent",
            "RepetitionTimePreparation": self.m0_tr_ms and self.m0_tr_ms / 1000,
        }
        return {name: value for name, value in stated.items() if value}


def _seconds(times_ms: tuple[float, ...]) -> list[float]:
    return [time / 1000 for time in times_ms]

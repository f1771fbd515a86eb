"""What an evaluated case leaves behind, in memory and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from revoxel.core.provenance import read_sidecar, write_sidecar

if TYPE_CHECKING:
    from pathlib import Path


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class RowScores(_Record):
    """Scores of one row in one region (`revoxel.core.metrics.Scores`); PSNR is None where it is infinite."""

    psnr_db: float | None
    ssim: float
    rmse: float
    data_range: float


class RegionScores(_Record):
    """Scores of every row in one region."""

    description: str
    n_voxels: int
    rows: dict[str, RowScores]


class ExpertUsage(_Record):
    """How a gate used an expert, where the experts differ inside the brain."""

    mean_weight: float
    dominant_share: float


class CaseResult(_Record):
    """One evaluated case.

    Attributes:
        inputs_sha256: Fingerprint of all that the scores depend on; the same fingerprint is not scored again.
        subject: Name of the row in the manifest.
        patient: Whose it is.
        pulse: Contrast.
        spacing: Nominal slice separation.
        axis: Slice axis.
        condition: How the slices were made and what the experts were told.
        fold: Fold of the manifest.
        seen: The gate may have been trained or stopped on this patient.
        best_expert: Expert that was best on the fold's training patients.
        regions: Scores by region.
        usage: How the gate used the experts; empty without a gate.
        entropy_nat: Mean entropy of the gate's weights there.
        decision: What `superresolve` decided to do, and why.
        notes: What else a reader should know.
        seconds: Time that scoring took.
    """

    inputs_sha256: str
    subject: str
    patient: str
    pulse: str
    spacing: str
    axis: int
    condition: str
    fold: str
    seen: bool = False
    best_expert: str
    regions: dict[str, RegionScores]
    usage: dict[str, ExpertUsage] = Field(default_factory=dict)
    entropy_nat: float | None = None
    decision: str = ""
    notes: list[str] = Field(default_factory=list)
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_sidecar(path, self.model_dump(), overwrite=True)

    @classmethod
    def load(cls, path: Path) -> CaseResult | None:
        """Read back; None if the file is absent or damaged, so that the case is scored again."""
        try:
            return cls.model_validate(read_sidecar(path))
        except (OSError, ValueError):
            return None

"""What the results of one scan are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.experts.names import Expert


@dataclass(frozen=True)
class OutputPaths:
    """Where the results of one scan go.

    Args:
        folder: Output folder.
        stem: File name of the scan without its suffix.
        fused_name: Another name for the fused volume than `{stem}_sagnef.nii.gz`.
    """

    folder: Path
    stem: str
    fused_name: str | None = None

    @property
    def fused(self) -> Path:
        """The super-resolved volume, in the units of the input."""
        return self.folder / (self.fused_name or f"{self.stem}_sagnef.nii.gz")

    @property
    def weights(self) -> Path:
        """One weight map per expert, 4D; the JSON record gives their order."""
        return self.folder / f"{self.stem}_weights.nii.gz"

    @property
    def dominant(self) -> Path:
        """Index of the expert with the largest weight."""
        return self.folder / f"{self.stem}_dominant.nii.gz"

    @property
    def entropy(self) -> Path:
        """Entropy of the weights in nats."""
        return self.folder / f"{self.stem}_entropy.nii.gz"

    @property
    def figure(self) -> Path:
        """The picture."""
        return self.folder / f"{self.stem}_sagnef.png"

    @property
    def record(self) -> Path:
        """What was done, with what, and what was found."""
        return self.folder / f"{self.stem}_sagnef.json"

    def expert(self, expert: Expert) -> Path:
        """The volume of one expert."""
        return self.folder / f"{self.stem}_SR-{expert}.nii.gz"

    def fusion_files(self) -> tuple[Path, ...]:
        """Every file that the fusion writes, the experts' own files aside."""
        return (self.fused, self.weights, self.dominant, self.entropy, self.figure, self.record)

    def refuse_existing(self, *, overwrite: bool) -> None:
        """Stop before any computing when a result would be lost.

        Args:
            overwrite: Whether existing results may be replaced.

        Raises:
            FileExistsError: If a result exists and `overwrite` is false.
        """
        existing = [] if overwrite else [path for path in self.fusion_files() if path.exists()]
        if existing:
            msg = f"{existing[0]} exists already; pass --overwrite to replace it, or choose another folder."
            raise FileExistsError(msg)

"""Names of the results of an encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RECORD_SUFFIX = "_latent.json"


@dataclass(frozen=True)
class LatentPaths:
    """Where the results of one visit lie.

    Args:
        folder: Output folder.
        stem: Name of the visit.
    """

    folder: Path
    stem: str

    @property
    def record(self) -> Path:
        """Latent, predictions, measured features, coverage."""
        return self.folder / f"{self.stem}{RECORD_SUFFIX}"

    @property
    def picture(self) -> Path:
        """Input beside reconstruction, predicted against measured."""
        return self.folder / f"{self.stem}_latent.png"

    def existing(self) -> list[Path]:
        """Results that lie there already, whoever made them."""
        return [path for path in (self.picture, self.record) if path.exists()]

"""Find the truth of a run: the manifest's row whose scan the run was made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from revoxel.core.provenance import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.core.manifest import Case, Manifest
    from revoxel.sagnef.report.records import FusionRecord

LOW = "lr"


@dataclass(frozen=True)
class Truths:
    """Rows of a manifest, by scan.

    Args:
        manifest: Of the study; None if no truth is known.
    """

    manifest: Manifest | None = None

    def case_of(self, record: FusionRecord) -> Case | None:
        """Row of the scan that a run was made from: the same file, or one with the same content.

        Args:
            record: Of the run.

        Returns:
            The row, or None if the manifest has none.
        """
        low = record.inputs.get(LOW)
        if low is None:
            return None
        return self._by_path.get(low.path.resolve()) or self._by_sha256.get(low.sha256)

    def truth_of(self, case: Case | None) -> Path | None:
        """The high-resolution volume of a row, if it has one.

        Args:
            case: The row.
        """
        return self.manifest.resolve(case.hr) if self.manifest and case and case.hr else None

    @cached_property
    def _by_path(self) -> dict[Path, Case]:
        manifest = self.manifest
        return {manifest.resolve(case.lr): case for case in manifest.cases} if manifest else {}

    @cached_property
    def _by_sha256(self) -> dict[str, Case]:
        """Read only if a scan lies elsewhere than the manifest says."""
        return {
            case.sha256.get(LOW) or sha256_of(path): case
            for path, case in self._by_path.items()
            if LOW in case.sha256 or path.exists()
        }

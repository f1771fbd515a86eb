"""Expert volumes of the datastore's scans: found beside a scan, or made once and kept by the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock

from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import NIFTI_SUFFIXES, read_volume, volume_stem
from revoxel.experts.names import Expert
from revoxel.experts.run import ExpertRequest, ExpertRun, run_experts
from revoxel.label.ids import inside

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
Run = Callable[[ExpertRequest, Progress | None], ExpertRun]
_STEM = "scan"
_STEP = 0.25
# The experts of two scans at once would fight for the threads of the processor.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class ExpertCache:
    """Where the experts of a study lie.

    Attributes:
        studies: Folder of the datastore; nothing is written there.
        work: Folder beside it that this server writes to.
        run: What makes the experts' volumes.
    """

    studies: Path
    work: Path
    run: Run = run_experts

    def folder(self, scan: Path) -> Path:
        """Folder of one scan, named after its content.

        Args:
            scan: The file.
        """
        state = scan.stat()
        return self.work / "experts" / _checksum(scan, state.st_size, state.st_mtime_ns)

    def owns(self, scan: Path) -> bool:
        """Whether a scan is of the datastore; what a client sent with its request is not.

        Args:
            scan: The file, links resolved.
        """
        return scan.is_relative_to(self.studies.resolve())

    def beside(self, scan: Path) -> dict[Expert, Path]:
        """Expert files that a user put beside a scan, if there is one of every expert.

        Args:
            scan: A file of the datastore.

        Returns:
            File by expert, or nothing.

        Raises:
            RefusedError: If a file is a link out of the studies folder.
        """
        if not self.owns(scan):
            return {}
        names = {expert: f"{volume_stem(scan)}_SR-{expert}" for expert in Expert}
        found = {expert: _first(scan.parent, name) for expert, name in names.items()}
        return {e: inside(self.studies, p) for e, p in found.items() if p} if all(found.values()) else {}

    def cached(self, scan: Path) -> dict[Expert, Path]:
        """Expert files that this server made, if it has finished.

        Args:
            scan: The file that they were made from.
        """
        folder = self.folder(scan)
        found = {expert: folder / f"{_STEM}_SR-{expert}.nii.gz" for expert in Expert}
        return found if all(path.is_file() for path in found.values()) else {}

    def known(self, scan: Path) -> dict[Expert, Path]:
        """Expert files at hand, wherever they lie; nothing is computed.

        Args:
            scan: A file of the datastore.
        """
        return self.beside(scan) or self.cached(scan)

    def ensure(self, scan: Path, progress: Progress | None = None) -> dict[Expert, Path]:
        """Expert files of a scan, computed if need be.

        Args:
            scan: A file of the datastore.
            progress: Called with the name of an expert and its share done.

        Raises:
            ValueError: If the scan is no thick-slice volume.
            OSError: If they cannot be kept.
        """
        known = self.known(scan)
        if not known:
            self.runner(scan)(ExpertRequest(read_volume(scan)), progress)
            known = self.cached(scan)
        return known

    def runner(self, scan: Path) -> Run:
        """What makes the experts of one scan, or takes them from the cache.

        Args:
            scan: The file, which the cache is keyed by.

        Returns:
            A function for `superresolve`; two processes never make the same volumes at once. Nothing
            is kept of a scan that is not of the datastore.
        """
        folder = self.folder(scan)

        def alone(request: ExpertRequest, progress: Progress | None) -> ExpertRun:
            with _ONE_AT_A_TIME:
                return self.run(request, progress)

        def kept(request: ExpertRequest, progress: Progress | None) -> ExpertRun:
            request = replace(request, out_dir=folder, stem=_STEM)
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                try:
                    return alone(request, progress)
                except FileExistsError:
                    # Made by an older version with another profile: the cache is ours to renew.
                    return alone(replace(request, overwrite=True), progress)

        return kept if self.owns(scan) else alone


def logged(subject: str) -> Progress:
    """Progress as lines of the server's log, one per stage and quarter.

    Args:
        subject: What the lines are about.

    Returns:
        Function to be called with the name of a stage and its share done.
    """
    shown: dict[str, int] = {}

    def report(stage: str, share: float) -> None:
        quarter = int(share / _STEP)
        if quarter > shown.get(stage, 0):
            shown[stage] = quarter
            logger.info("%s: %s %d %%", subject, stage, round(100 * quarter * _STEP))

    return report


@cache
def _checksum(scan: Path, _size: int, _changed_ns: int) -> str:
    """Of a file as it is now; a study of a thousand scans is not read again for every request."""
    return sha256_of(scan)


def _first(folder: Path, name: str) -> Path | None:
    candidates = [folder / f"{name}{suffix}" for suffix in NIFTI_SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)

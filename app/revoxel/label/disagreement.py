"""How much the experts disagree about a scan: where they do, a true high-resolution scan teaches most."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from revoxel.core.geometry import slice_axis
from revoxel.core.intensity import foreground_mask
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import atomic_path, read_volume
from revoxel.experts.names import Expert
from revoxel.label.cache import ExpertCache, logged
from revoxel.sagnef.mixtures import spread_of_experts
from revoxel.sagnef.stack import stack_volumes

logger = logging.getLogger(__name__)
_SCORE = "disagreement.json"


def disagreement(scan: Path, experts: Mapping[Expert, Path]) -> float:
    """Mean spread of the experts in the head, on the scan's intensity map.

    Args:
        scan: The thick-slice scan.
        experts: Files by expert.

    Returns:
        Largest minus smallest expert, averaged over the foreground; tissue spans about 1.

    Raises:
        ValueError: If the files do not belong together.
    """
    low = read_volume(scan)
    stack = stack_volumes(
        {expert: read_volume(path) for expert, path in experts.items()}, low, slice_axis(low.grid)
    )
    spread = stack.to_grid(spread_of_experts(stack.expert_tensor())[0, 0])
    return float(spread[foreground_mask(stack.low_on_high)].mean())


@dataclass(frozen=True)
class Ranking:
    """Scans in the order in which a truth is worth most, as far as it is known.

    Attributes:
        scores: Disagreement by image id, largest first.
        waiting: Images whose experts are still to be made.
    """

    scores: Mapping[str, float]
    waiting: tuple[str, ...]


@dataclass
class Scorer:
    """Scores scans; experts that are missing are made in the background, one scan at a time.

    Attributes:
        cache: Where experts are found and kept.
    """

    cache: ExpertCache
    _busy: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _unusable: set[Path] = field(default_factory=set, repr=False)

    def rank(self, scans: Mapping[str, Path]) -> Ranking:
        """Order scans by what is known; nothing is computed but scores of experts at hand.

        Args:
            scans: File by image id.
        """
        scores = {name: self.known_score(path) for name, path in scans.items()}
        known = {name: score for name, score in scores.items() if score is not None}
        waiting = (n for n, s in scores.items() if s is None and scans[n] not in self._unusable)
        return Ranking(dict(sorted(known.items(), key=lambda item: -item[1])), tuple(waiting))

    def known_score(self, scan: Path) -> float | None:
        """Disagreement about a scan, if its experts are at hand.

        Args:
            scan: The file.
        """
        experts = self.cache.known(scan)
        if not experts:
            return None
        state = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in experts.values()]
        note = self.cache.folder(scan) / _SCORE
        kept = _read(note)
        if kept.get("experts") == state:
            return float(kept["disagreement"])
        try:
            score = disagreement(scan, experts)
        except ValueError as error:
            self._set_aside(scan, error)
            return None
        with atomic_path(note, overwrite=True) as temporary:
            temporary.write_text(json.dumps({"experts": state, "disagreement": score}), encoding="utf-8")
        return score

    def make_missing(self, scans: Mapping[str, Path]) -> threading.Thread | None:
        """Make missing experts in the background, unless that is going on already.

        Args:
            scans: File by image id.

        Returns:
            The thread, or None if one is at work.
        """
        if not self._busy.acquire(blocking=False):
            return None
        thread = threading.Thread(target=self._make, args=(dict(scans),), daemon=True, name="experts")
        thread.start()
        return thread

    def _make(self, scans: Mapping[str, Path]) -> None:
        try:
            for name, scan in scans.items():
                try:
                    self.cache.ensure(scan, logged(name))
                except (ValueError, OSError) as error:
                    self._set_aside(scan, error)
        finally:
            self._busy.release()

    def _set_aside(self, scan: Path, error: Exception) -> None:
        logger.warning("%s cannot be ranked: %s", scan.name, reason_of(error))
        self._unusable.add(scan)


def _read(note: Path) -> dict[str, Any]:
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}

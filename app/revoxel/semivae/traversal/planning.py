"""Before a traversal: the files of a visit, names of the results, what was made before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.provenance import sha256_of
from revoxel.core.pulses import Pulse

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.semivae.encoding.visits import Visit

_LARGEST_SD = 6.0


@dataclass(frozen=True)
class TraverseSettings:
    """Where to go and what to keep.

    Args:
        weights: Checkpoint of the network.
        features: Directions; None takes those of the whole tumour.
        n_residual: Numbers of the residual.
        reach_sd: How far to both sides, in standard deviations over the training patients.
        n_steps: Images per direction, odd so that the scan itself is among them.
        pulses: Written as NIfTI; the first is shown.
        overwrite: Replace results that exist.

    Raises:
        ValueError: If a number is out of its range.
    """

    weights: Path
    features: tuple[str, ...] | None = None
    n_residual: int = 3
    reach_sd: float = 2.0
    n_steps: int = 5
    pulses: tuple[Pulse, ...] = (Pulse.t1c, Pulse.t2f)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no walk."""
        if self.n_steps < 3 or self.n_steps % 2 == 0:
            msg = f"steps must be an odd number from 3 on, got {self.n_steps}; use 5."
            raise ValueError(msg)
        if not 0 < self.reach_sd <= _LARGEST_SD:
            msg = f"reach must be above 0 and at most {_LARGEST_SD:g} sd, got {self.reach_sd:g}; use 2."
            raise ValueError(msg)

    @property
    def steps_sd(self) -> tuple[float, ...]:
        """How far each image is from the scan."""
        half = self.n_steps // 2
        return tuple(self.reach_sd * step / half for step in range(-half, half + 1))


@dataclass(frozen=True)
class TraversePaths:
    """Where the results of one visit lie: a folder of its name.

    Args:
        out: Output folder.
        stem: Name of the visit.
    """

    out: Path
    stem: str

    @property
    def folder(self) -> Path:
        """Of this visit."""
        return self.out / self.stem

    @property
    def record(self) -> Path:
        """Directions, and what was asked for and found."""
        return self.folder / f"{self.stem}_traversal.json"

    @property
    def picture(self) -> Path:
        """All steps."""
        return self.folder / f"{self.stem}_traversal.png"

    @property
    def film(self) -> Path:
        """The same, moving."""
        return self.folder / f"{self.stem}_traversal.gif"

    def volume(self, direction: str, pulse: Pulse) -> Path:
        """4D NIfTI of one direction, a step after the other.

        Args:
            direction: Its name.
            pulse: Which.
        """
        return self.folder / f"{self.stem}_{direction}_{pulse.value}.nii.gz"

    def existing(self) -> list[Path]:
        """Results that lie there already, whoever made them."""
        return sorted(path for path in self.folder.glob(f"{self.stem}_*") if path.is_file())


@dataclass(frozen=True)
class TraversePlan:
    """A traversal that can begin.

    Args:
        visit: Where it starts.
        settings: Where to go.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        why: Why it has to be made; empty if these very results exist already.
    """

    visit: Visit
    settings: TraverseSettings
    paths: TraversePaths
    request: dict[str, Any]
    why: str


def plan_traversal(visit: Visit, out: Path, settings: TraverseSettings) -> TraversePlan:
    """Check everything that can be known before images are read.

    Args:
        visit: Where to start.
        out: Output folder.
        settings: Where to go.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If other results exist, and `settings` do not allow to replace them.
        ValueError: If the visit has no image.
    """
    read = {**visit.checked_images(), "network": settings.weights}
    request = as_plain(
        {
            "features": settings.features,
            "n_residual": settings.n_residual,
            "steps_sd": settings.steps_sd,
            "pulses": [pulse.value for pulse in settings.pulses],
            "sha256": {role: sha256_of(path) for role, path in read.items()},
        }
    )
    paths = TraversePaths(out, visit.name)
    existing = paths.existing()
    why = why_not_done(paths.record, existing, request)
    refuse_other_results(paths.record, existing, why, overwrite=settings.overwrite)
    return TraversePlan(visit, settings, paths, request, why)

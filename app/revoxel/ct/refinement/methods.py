"""Who makes the fine volume: interpolation, or a trained network; both are made consistent afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import WEIGHTS, bundles_root
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.refinement.steps import CT_NUMBERS, trilinear

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.ct.refinement.steps import Step

#: Bundle of `--method auto`.
DEFAULT_BUNDLE = "ct_upsampler_64_256"
FACTOR = 4


class Method(StrEnum):
    """How a fine volume is made."""

    AUTO = "auto"
    NETWORK = "network"
    PROJECTION = "trilinear+projection"


@dataclass(frozen=True)
class MethodChoice:
    """What a user wants.

    Args:
        method: Auto takes the shipped network where there is one.
        bundle: Name of a bundle instead of the shipped one.
        checkpoint: Trained weights instead of a bundle's.
        device: For networks.

    Raises:
        ValueError: If weights are named for a method without, or twice.
    """

    method: Method = Method.AUTO
    bundle: str | None = None
    checkpoint: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        named = [name for name in ("bundle", "checkpoint") if getattr(self, name) is not None]
        if len(named) > 1 or (named and self.method is Method.PROJECTION):
            msg = (
                f"weights must be named once, and for the method network, got {' and '.join(named)} with "
                f"{self.method}; leave one out."
            )
            raise ValueError(msg)

    def weights(self) -> Path | None:
        """File of the network that will be used; None for interpolation.

        Raises:
            FileNotFoundError: If a network is wanted and there is none.
        """
        if self.method is Method.PROJECTION:
            return None
        if self.checkpoint is not None:
            return _existing(self.checkpoint, "train one with revoxel ct train")
        folder = bundles_root() / (self.bundle or DEFAULT_BUNDLE)
        path = folder / WEIGHTS
        if self.method is Method.AUTO and self.bundle is None and not path.is_file():
            return None
        return _existing(path, "see revoxel bundles list, or use --method trilinear+projection")


@dataclass(frozen=True, eq=False)
class Chosen:
    """A method that is ready to run.

    Args:
        name: For records and pictures.
        upsample: From coarse to fine HU, before the projection.
        factor: Fine voxels along a coarse one.
        window: Values that it was trained on.
        trained_on_mm: Coarse voxel size that it was trained on; None for interpolation.
        facts: What the record says about it.
    """

    name: str
    upsample: Step
    factor: int = FACTOR
    window: HounsfieldWindow = CT_NUMBERS
    trained_on_mm: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def choose(choice: MethodChoice) -> Chosen:
    """Make a method ready.

    Args:
        choice: What a user wants.

    Returns:
        The method.

    Raises:
        FileNotFoundError: If a network is wanted and there is none.
        ValueError: If its weights cannot be used.
    """
    path = choice.weights()
    if path is None:
        return Chosen(Method.PROJECTION.value, lambda coarse_hu, _progress: trilinear(coarse_hu, FACTOR))
    raise NotImplementedError


def _existing(path: Path, remedy: str) -> Path:
    if not path.is_file():
        msg = f"{path} must be the weights of a network, got no such file; {remedy}."
        raise FileNotFoundError(msg)
    return path

"""Who makes the fine volume: interpolation, or a trained network; both are made consistent afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import WEIGHTS, bundles_root
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.compute import resolve_device
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.refinement.steps import CT_NUMBERS, as_tensor, as_volume, by_slabs, trilinear

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.ct.refinement.steps import Result, Share, Step
    from revoxel.ct.refinement.views import SettledViews
    from revoxel.ct.upsampler.models import UpsamplerModel

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
class Given:
    """What is refined.

    Args:
        coarse_hu: `(x, y, z)` in HU, RAS.
        grid: Its grid.
        views: X-rays of the patient; None if there are none.
        memory_gb: Bound for the working memory.
        progress: Called with the share done.
    """

    coarse_hu: NDArray[np.float32]
    grid: Grid
    views: SettledViews | None = None
    memory_gb: float = 4.0
    progress: Share | None = None


@dataclass(frozen=True, eq=False)
class Chosen:
    """A method that is ready to run.

    Args:
        name: For records and pictures.
        make: From what is given to the refined volume.
        once: The same with the network seeing the scan one way round; None where its answer cannot vary.
        factor: Fine voxels along a coarse one; 1 for detail at the same size.
        window: Values that it was trained on.
        trained_on_mm: Coarse voxel size that it was trained on; None for interpolation.
        facts: What the record says about it.
    """

    name: str
    make: Callable[[Given], Result]
    once: Callable[[Given], Result] | None = None
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
        return Chosen(
            Method.PROJECTION.value, sliced(lambda coarse_hu, _progress: trilinear(coarse_hu, FACTOR))
        )
    kind = str(load_checkpoint(path).protocol.get("model"))
    if kind not in _LOADERS:
        msg = f"{path} must hold weights of {' or '.join(_LOADERS)}, got {kind}; give another checkpoint."
        raise ValueError(msg)
    return _LOADERS[kind](path, choice)


def sliced(upsample: Step, factor: int = FACTOR) -> Callable[[Given], Result]:
    """A method that upsamples and projects slab by slab.

    Args:
        upsample: From coarse to fine HU.
        factor: Fine voxels along a coarse one.
    """
    return lambda given: by_slabs(given.coarse_hu, upsample, factor, given.memory_gb, given.progress)


def upsampling(path: Path, device: str, *, mirrored: bool = True) -> tuple[Step, UpsamplerModel]:
    """A trained upsampler as a step, before the projection.

    Args:
        path: Its weights.
        device: Where it computes.
        mirrored: Whether it answers with the mean over mirror images.

    Returns:
        The step, and what it is for.

    Raises:
        ValueError: If the weights cannot be used.
    """
    from revoxel.ct.upsampler.inference import UpsampleOptions, upsample
    from revoxel.ct.upsampler.models import load_upsampler

    model = load_upsampler(path)
    model.network.to(resolve_device(device))

    def step(coarse_hu: NDArray[np.float32], progress: Share) -> NDArray[np.float32]:
        options = UpsampleOptions(mirrored=mirrored)
        coarse = as_tensor(coarse_hu)
        return as_volume(
            upsample(model.network, coarse, window=model.window, options=options, progress=progress)
        )

    return step, model


def _upsampler(path: Path, choice: MethodChoice) -> Chosen:
    step, model = upsampling(path, choice.device)
    return Chosen(
        name=_name(choice, path, "upsampler"),
        make=sliced(step, model.factor),
        once=sliced(upsampling(path, choice.device, mirrored=False)[0], model.factor),
        factor=model.factor,
        window=model.window,
        trained_on_mm=model.factor * model.spacing_mm,
        facts=model.record,
    )


def _detail(path: Path, choice: MethodChoice) -> Chosen:
    from revoxel.ct.detail.models import load_refiner
    from revoxel.ct.refinement.detail import add_details

    refiner = load_refiner(path)
    refiner.network.to(resolve_device(choice.device))

    def make(given: Given) -> Result:
        return add_details(refiner, given.coarse_hu, given.grid, given.views)

    return Chosen(
        name=_name(choice, path, "detail"),
        make=make,
        once=make,
        factor=1,
        window=refiner.scene.window,
        trained_on_mm=max(refiner.scene.spacing_mm),
        facts=refiner.record,
    )


_LOADERS: Mapping[str, Callable[[Path, MethodChoice], Chosen]] = {
    "ResidualUpsampler3D": _upsampler,
    "DetailRefiner3D": _detail,
}


def _name(choice: MethodChoice, path: Path, kind: str) -> str:
    return choice.bundle or (f"{kind} network" if choice.checkpoint else path.parents[1].name)


def _existing(path: Path, remedy: str) -> Path:
    if not path.is_file():
        msg = f"{path} must be the weights of a network, got no such file; {remedy}."
        raise FileNotFoundError(msg)
    return path

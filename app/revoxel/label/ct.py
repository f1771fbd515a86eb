"""CT on the server: the same call as `revoxel ct refine`, with a shipped bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import BundleStatus, list_bundles
from revoxel.ct.refinement.methods import DEFAULT_BUNDLE, Method, MethodChoice
from revoxel.ct.refinement.planning import RefineSettings, plan_refinement
from revoxel.ct.refinement.run import Refined, refine
from revoxel.label.cache import logged
from revoxel.label.refusals import bad

if TYPE_CHECKING:
    from revoxel.label.wishes import InferWishes

# Places on the server are nobody's business.
_PRIVATE = ("inputs", "files", "n_bytes", "request", "model")


@dataclass(frozen=True)
class CtJob:
    """What to refine.

    Attributes:
        scan: The coarse CT.
        model: Name of a bundle.
        wishes: What the client asked for.
        out: Folder for the results.
    """

    scan: Path
    model: str
    wishes: InferWishes
    out: Path


def ct_bundles(root: Path | None = None) -> Mapping[str, BundleStatus]:
    """Bundles with weights that can refine a CT without X-rays, by name.

    Args:
        root: Folder with bundles; the shipped ones by default.
    """
    return {
        bundle.name: bundle
        for bundle in list_bundles(root)
        if bundle.name == DEFAULT_BUNDLE and bundle.weights is not None
    }


def refine_ct(job: CtJob) -> Refined:
    """Refine one CT.

    Args:
        job: What to do.

    Returns:
        As `revoxel ct refine` gives.

    Raises:
        RefusedError: If the client wishes for what only a fusion has.
        ValueError: If the scan is no CT in HU.
    """
    if job.wishes.weights or job.wishes.trained or job.wishes.pulse != "auto":
        raise bad("weights, trained and pulse are for the fusion of MRI; leave them out for a CT.")
    choice = MethodChoice(Method.NETWORK, bundle=job.model, device=job.wishes.device)
    settings = RefineSettings(choice)
    plan = plan_refinement(job.scan, job.out / "refined", settings)
    return refine(plan, settings, logged(f"{job.model} on {job.scan.name}"))


def shown_ct_record(refined: Refined, model: str) -> dict[str, Any]:
    """What a client learns about a result: the JSON record without places on the server.

    Args:
        refined: Of an inference.
        model: Name of the bundle.
    """
    shown = {name: value for name, value in refined.record.items() if name not in _PRIVATE}
    return shown | {"model": model}

"""Which bundle fits a scan: by its slice spacing and by the pulse that its name states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

from revoxel.core.bundles import list_bundles
from revoxel.core.pulse_names import without_pulse
from revoxel.core.pulses import Pulse, Spacing
from revoxel.label.refusals import unusable
from revoxel.sagnef.gates import bundle_name

#: Name under which a client lets the server choose.
AUTOMATIC = "sagnef"
_LOW_RESOLUTION = frozenset({"lr", "thick"})


@dataclass(frozen=True)
class Model:
    """One bundle with weights.

    Attributes:
        name: Name of the bundle and of the task.
        pulse: Pulse that it was trained on.
        spacing: Slice spacing that it was trained at.
        description: What it is for.
        weights: File of its weights.
    """

    name: str
    pulse: Pulse
    spacing: Spacing
    description: str
    weights: Path


def models_with_weights(root: Path | None = None) -> Mapping[str, Model]:
    """The bundles that can super-resolve, by name.

    Args:
        root: Folder with bundles; the shipped ones by default.
    """
    kinds = {bundle_name(pulse, spacing): (pulse, spacing) for pulse, spacing in product(Pulse, Spacing)}
    found = {
        bundle.name: Model(bundle.name, *kinds[bundle.name], bundle.description, bundle.weights)
        for bundle in list_bundles(root)
        if bundle.weights is not None and bundle.name in kinds
    }
    return MappingProxyType(found)


def check_fit(name: str, pulse: Pulse, spacing: Spacing) -> None:
    """Refuse a named model for a scan that it was not trained for.

    Args:
        name: What the client asked for.
        pulse: Pulse of the scan.
        spacing: Trained spacing nearest to the scan's.

    Raises:
        RefusedError: If another model fits.
    """
    fitting = bundle_name(pulse, spacing)
    if name not in {AUTOMATIC, fitting}:
        msg = f"model must fit the scan ({fitting}), got {name}; ask for {fitting} or {AUTOMATIC}."
        raise unusable(msg)


def subject_of(path: Path) -> str:
    """Name of a scan without its pulse: what the scans of one patient share.

    Args:
        path: The scan, such as `BraTS-GLI-00001-000-t1c.nii.gz`.
    """
    return without_pulse(path, _LOW_RESOLUTION)

"""Tumours on the server: what `revoxel semivae features` measures, of the label maps that clients save."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import read_volume
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.record import BRATS_REGIONS

#: Name of the scoring method, and of what it adds to the info of a label.
TUMOUR_FEATURES = "tumour_features"
_LARGEST_LABEL = max(max(labels) for labels in BRATS_REGIONS.values())


def tumour_features(path: Path) -> dict[str, Any] | None:
    """Measure a label map of a tumour.

    Args:
        path: What a client saved: necrotic core 1, oedema 2, enhancing tumour 3; or any other volume.

    Returns:
        Plain values for the info of the label, undefined features left out; None of a volume that is no label
        map of a tumour, such as a high-resolution truth, or that is empty.

    Raises:
        ValueError: If it cannot be read.
    """
    volume = read_volume(path, allow_constant=True)
    if not 0 < volume.data.max() <= _LARGEST_LABEL:
        return None
    try:
        record = extract_tumour_features(volume.data, affine=volume.grid.affine)
    except ValueError:
        return None
    return {
        "values": {name: value for name, value in record.values.items() if math.isfinite(value)},
        "present": dict(record.present),
        "flags": sorted(record.flags),
        "schema_version": record.schema_version,
        "sha256": sha256_of(path),
    }

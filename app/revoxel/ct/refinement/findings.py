"""What is told about a refinement: numbers of the record, and what to be careful about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.meta_images import grid_of
from revoxel.ct.consistency import TOLERANCE_HU, unreachable_blocks
from revoxel.ct.refinement.steps import CT_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monai.data.meta_tensor import MetaTensor

    from revoxel.core.geometry import Grid
    from revoxel.ct.refinement.methods import Chosen
    from revoxel.ct.refinement.steps import Result

_MOST_BLOCKS = 20
_SPACING_TOLERANCE = 0.1
_MOST_CLIPPED = 0.001


def coarse_facts(image: MetaTensor, chosen: Chosen) -> dict[str, Any]:
    """What the scan is, and whether the method was made for it.

    Args:
        image: `(1, x, y, z)` in HU.
        chosen: The method.
    """
    grid = grid_of(image)
    hu = image.as_tensor().float()
    beyond = unreachable_blocks(hu[None], CT_NUMBERS)
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(step, 4) for step in grid.spacing_mm],
        "trained_on_mm": chosen.trained_on_mm,
        "outside_field_of_view_share": image.meta["outside_share"],
        "outside_network_window_share": chosen.window.clipped_share(hu),
        "n_unreachable_voxels": len(beyond),
        "unreachable_voxels_mm": grid.world(beyond[:_MOST_BLOCKS, 2:].numpy()).round(1).tolist(),
    }


def result_facts(result: Result, grid: Grid) -> dict[str, Any]:
    """What was made.

    Args:
        result: Of the refinement.
        grid: Of the refined volume.
    """
    detail = result.added_detail.astype(np.float32)
    return {
        "refined": {"shape": list(grid.shape), "spacing_mm": [round(step, 4) for step in grid.spacing_mm]},
        "consistency": {"mean_hu": result.consistency_mean_hu, "max_hu": result.consistency_max_hu},
        "clipped_share": result.clipped_share,
        "added_detail": {
            "rms_hu": float(np.sqrt(np.square(detail).mean(dtype=np.float64))),
            "p99_hu": float(np.percentile(np.abs(result.added_detail), 99)),
        },
    }


def warnings_of(record: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    """What to be careful about, one sentence each.

    Args:
        record: All but the warnings.
        notes: Of the reader.
    """
    coarse, spacing_mm = record["coarse"], record["coarse"]["spacing_mm"]
    trained_mm = coarse["trained_on_mm"]
    found = {
        "Voxels are not cubes: detail is added along the long axis only as far as it was learned.": max(
            spacing_mm
        )
        > (1 + _SPACING_TOLERANCE) * min(spacing_mm),
        f"The network was trained on voxels of {trained_mm} mm, the scan has {max(spacing_mm):g} mm: what it "
        "adds here was not validated.": trained_mm is not None
        and any(abs(step / trained_mm - 1) > _SPACING_TOLERANCE for step in spacing_mm),
        f"{coarse['n_unreachable_voxels']} coarse voxels lie outside {CT_NUMBERS.low_hu:g}.."
        f"{CT_NUMBERS.high_hu:g} HU and were cut; the record lists where.": coarse["n_unreachable_voxels"]
        > 0,
        f"{100 * coarse['outside_network_window_share']:.2g} % of the scan lies outside the values that the "
        "network was trained on.": coarse["outside_network_window_share"] > _MOST_CLIPPED,
        f"{100 * record['clipped_share']:.2g} % of the refined voxels were cut to the range of CT numbers.": (
            record["clipped_share"] > _MOST_CLIPPED
        ),
        f"A block differs from its coarse voxel by {record['consistency']['max_hu']:.1f} HU.": (
            record["consistency"]["max_hu"] > TOLERANCE_HU and not coarse["n_unreachable_voxels"]
        ),
    }
    return [*notes, *(text for text, holds in found.items() if holds)]

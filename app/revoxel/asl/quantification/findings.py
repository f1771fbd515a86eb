"""What the maps say in numbers, and what a user should doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from revoxel.asl.quantification.estimation import Estimate

    Mask = NDArray[np.bool_]

#: A voxel belongs to a tissue from this probability on.
TISSUE_PROBABILITY = 0.8
_PLAUSIBLE_CBF = (15.0, 120.0)
_MAX_SHARE_AT_BOUNDS = 0.2


def region_table(estimate: Estimate, regions: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """Medians and means of the maps by region.

    Args:
        estimate: Of a scan.
        regions: `(i, j, k)` by name; empty ones are left out.

    Returns:
        Rows of numbers with units in their names.
    """
    return {name: _row(estimate, region) for name, region in regions.items() if region.any()}


def _row(estimate: Estimate, region: Mask) -> dict[str, float]:
    maps = estimate.maps
    columns = {
        "cbf_ml_100g_min": maps.cbf,
        "cbf_sd_ml_100g_min": maps.cbf_sd,
        "att_ms": maps.att,
        "att_sd_ms": maps.att_sd,
    }
    medians = {
        f"median_{name}": round(float(np.median(values[region])), 3)
        for name, values in columns.items()
        if values is not None
    }
    bounds = round(float(estimate.at_bound[region].mean()), 4)
    return {"n_voxels": int(region.sum()), **medians, "share_at_bounds": bounds}


def grey_white_ratio(table: Mapping[str, Mapping[str, float]]) -> float | None:
    """Median CBF of grey matter over that of white matter; 2 to 4 in healthy adults.

    Args:
        table: From `region_table`.

    Returns:
        The ratio; None without both regions, or without flow in white matter.
    """
    medians = [table.get(name, {}).get("median_cbf_ml_100g_min", 0.0) for name in ("GM", "WM")]
    return round(medians[0] / medians[1], 3) if medians[1] > 0 and "GM" in table else None


def warnings_of(item: Mapping[Any, Any], table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a user should doubt.

    Args:
        item: After `FitAsld`.
        table: From `region_table`; its row `GM` is judged, else `brain`.

    Returns:
        Sentences.
    """
    estimate, mask = item["estimate"], item["mask"].numpy()[0].astype(bool)
    judged = "GM" if "GM" in table else "brain"
    low, high = _PLAUSIBLE_CBF
    found = []
    median = table.get(judged, {}).get("median_cbf_ml_100g_min", low)
    if not low <= median <= high:
        where = "grey matter" if judged == "GM" else "the brain mask"
        found.append(
            f"median CBF of {where} is {median:.3g} ml/100g/min, outside {low:g} to {high:g}: check M0, "
            "units, delays and which volume is the label."
        )
    share = float(estimate.at_bound[mask].mean())
    if share > _MAX_SHARE_AT_BOUNDS:
        found.append(
            f"{100 * share:.0f} % of the voxels ended at a bound of the fit: check the delays, the mask and "
            "which volume is the label."
        )
    if float(np.nanmean(item["dm"].numpy()[:, mask])) < 0:
        found.append("the mean difference is negative: control and label are probably swapped.")
    for key in ("pcasl", "pasl", "vsasl"):
        n_floored = item.get(f"{key}_floored", 0)
        if n_floored:
            found.append(
                f"M0 was below 5 % of its median in {n_floored} voxels of the mask and was raised to that: "
                "CBF is too low there; check the mask."
            )
    if estimate.n_dropped:
        found.append(f"{estimate.n_dropped} voxels of the mask were not finite and have no maps.")
    if estimate.maps.att is None:
        found.append(
            "a single delay cannot tell ATT: CBF is that of the white paper (Alsop 2015), true where all "
            "labelled blood had arrived, and there is no ATT map."
        )
    elif estimate.sigma is None:
        found.append(
            "the noise could not be told (no repeats, two delays): there are no maps of standard deviation."
        )
    return found


def tissue_regions(
    mask: Mask, grey: NDArray[np.float32] | None, white: NDArray[np.float32] | None
) -> dict[str, Mask]:
    """Regions to report on.

    Args:
        mask: Brain, `(i, j, k)`.
        grey: Probability of grey matter on the same grid, if known.
        white: Probability of white matter, likewise.

    Returns:
        `brain`, and `GM` and `WM` where they are known.
    """
    tissues = {"GM": grey, "WM": white}
    known = {name: values for name, values in tissues.items() if values is not None}
    return {"brain": mask} | {name: mask & (values >= TISSUE_PROBABILITY) for name, values in known.items()}

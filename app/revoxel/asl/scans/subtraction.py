"""From volumes to difference images: pair control with label, average repeats, measure the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from revoxel.asl.scans.series import AslSeries, Delay, VolumeType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Averaged:
    """One difference image per delay.

    Args:
        data: `(delay, i, j, k)`, mean over repeats.
        delays: Ascending, one per image.
        counts: Repeats per image.
        variance: `(delay, i, j, k)`, sample variance of a single repeat; NaN where there is but one.
    """

    data: NDArray[np.float32]
    delays: tuple[Delay, ...]
    counts: tuple[int, ...]
    variance: NDArray[np.float32]


def subtract(
    volumes: NDArray[np.float32], series: AslSeries
) -> tuple[NDArray[np.float32], tuple[Delay, ...]]:
    """Control minus label, in the order of acquisition; differences of the scanner pass through.

    Args:
        volumes: `(volume, i, j, k)`.
        series: What each volume is.

    Returns:
        `(difference, i, j, k)` and the delay of each.

    Raises:
        ValueError: If controls and labels of a delay are not equally many, or there is no image.
    """
    pairs: list[tuple[Delay, NDArray[np.float32]]] = [
        (series.delays[index], volumes[index]) for index in series.indices(VolumeType.DELTAM)
    ]
    controls, labels = _by_delay(series, VolumeType.CONTROL), _by_delay(series, VolumeType.LABEL)
    for delay in sorted({*controls, *labels}):
        ours, theirs = controls.get(delay, []), labels.get(delay, [])
        if len(ours) != len(theirs):
            msg = (
                f"{series.name}: controls and labels must be equally many at each delay, got {len(ours)} "
                f"controls and {len(theirs)} labels at PLD {delay.pld_ms:g} ms; correct aslcontext.tsv, or "
                "leave the unpaired volume out."
            )
            raise ValueError(msg)
        pairs += [
            (delay, volumes[control] - volumes[label]) for control, label in zip(ours, theirs, strict=True)
        ]
    if not pairs:
        found = ", ".join(sorted({kind.value for kind in series.volume_types}))
        msg = f"{series.name} must hold control and label or deltam volumes, got {found}; correct it."
        raise ValueError(msg)
    return np.stack([image for _, image in pairs]), tuple(delay for delay, _ in pairs)


def average_repeats(differences: NDArray[np.float32], delays: Sequence[Delay]) -> Averaged:
    """Average what was acquired at the same labelling duration and delay.

    Args:
        differences: `(difference, i, j, k)`.
        delays: One per difference.

    Returns:
        One image per distinct delay, in ascending order.
    """
    distinct = tuple(sorted(set(delays)))
    groups = [differences[[delay == wanted for delay in delays]] for wanted in distinct]
    variances = [
        group.var(axis=0, ddof=1) if len(group) > 1 else np.full(group.shape[1:], np.nan, np.float32)
        for group in groups
    ]
    return Averaged(
        np.stack([group.mean(axis=0) for group in groups]),
        distinct,
        tuple(map(len, groups)),
        np.stack(variances),
    )


def repeat_sigma(
    variance: NDArray[np.float32], counts: Sequence[int], mask: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Noise of each averaged image from the scatter of its repeats.

    The median over voxels, divided by that of the chi-square distribution: vessels and edges that move do
    not raise it. An image without repeats gets the mean of the others, scaled to its count.

    Args:
        variance: `(delay, i, j, k)`, of a single repeat.
        counts: Repeats per image.
        mask: `(i, j, k)`.

    Returns:
        Standard deviation of each averaged image; None where nothing was repeated, or only copied.
    """
    single = np.array(
        [
            np.nanmedian(values[mask]) * (n - 1) / chi2.ppf(0.5, n - 1) if n > 1 else np.nan
            for values, n in zip(variance, counts, strict=True)
        ]
    )
    if not (single > 0).any() or (single == 0).any():
        return None
    filled = np.where(np.isnan(single), np.nanmean(single), single)
    return np.asarray(np.sqrt(filled / np.asarray(counts)), dtype=np.float64)


def _by_delay(series: AslSeries, kind: VolumeType) -> dict[Delay, list[int]]:
    found: dict[Delay, list[int]] = {}
    for index in series.indices(kind):
        found.setdefault(series.delays[index], []).append(index)
    return found

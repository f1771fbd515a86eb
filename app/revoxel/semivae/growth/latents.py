"""Latents of first visits, as `revoxel semivae encode` writes them, and their few leading directions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.network.partition import LatentPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import GrowthRecord

#: Parts of the latent that growth may depend on; volume is the state itself, the residual is left alone.
GROWTH_PARTS = ("loc", "shape")
_MOST_DIRECTIONS = 3
_LEAST_SD = 1e-6


def read_latent(path: Path) -> dict[str, NDArray[np.float64]]:
    """Location and shape of a tumour in the latent.

    Args:
        path: `*_latent.json`, with `mu` and `partition`.

    Returns:
        Posterior means by part; a partition without such parts gives none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no latent, or one of another length than its partition's; names the file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        mu = np.asarray(record["mu"], dtype=np.float64)
        partition = LatentPartition.from_dict(record["partition"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} must be a latent with mu and partition, got none ({error}); use what encode writes."
        raise ValueError(msg) from error
    if mu.shape != (partition.z_dim,) or not np.isfinite(mu).all():
        msg = (
            f"{path} must hold {partition.z_dim} finite numbers as mu, got {mu.shape}; encode the scan again."
        )
        raise ValueError(msg)
    return {name: mu[where] for name, where in partition.slices.items() if name in GROWTH_PARTS}


@dataclass(frozen=True, eq=False)
class LatentDirections:
    """Leading principal directions of each part over training patients, each scaled to unit spread.

    A handful of patients cannot tell 36 slopes apart; parts that the network does not use vary least and drop
    out.

    Attributes:
        centres: Mean of each part.
        axes: `(size, direction)` of each part.
    """

    centres: Mapping[str, NDArray[np.float64]]
    axes: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, records: Sequence[GrowthRecord]) -> LatentDirections:
        """Find them.

        Args:
            records: Training patients; those without a latent are passed over.

        Raises:
            ValueError: If latents differ in their parts.
        """
        known = [(record, record.latent) for record in records if record.latent]
        parts = {name: part.shape for name, part in known[0][1].items()} if known else {}
        for record, _ in known:
            _check_parts(record, parts)
        stacked = {name: np.stack([latent[name] for _, latent in known]) for name in parts}
        centres = {name: values.mean(axis=0) for name, values in stacked.items()}
        return cls(centres, {name: _axes(values - centres[name]) for name, values in stacked.items()})

    @property
    def n_directions(self) -> int:
        """Of all parts together."""
        return sum(axes.shape[1] for axes in self.axes.values())

    def __call__(self, record: GrowthRecord) -> NDArray[np.float64]:
        """Where a patient lies.

        Args:
            record: The patient; without a latent, taken as the average patient.

        Returns:
            `(direction,)`, of mean 0 and standard deviation 1 over the training patients.

        Raises:
            ValueError: If the latent has other parts than those of the training patients.
        """
        if not record.latent or not self.axes:
            return np.zeros(self.n_directions)
        _check_parts(record, {name: centre.shape for name, centre in self.centres.items()})
        return np.concatenate(
            [(record.latent[name] - self.centres[name]) @ axes for name, axes in self.axes.items()]
        )


def _axes(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    sds = values / np.sqrt(len(centred))
    kept = sds[:_MOST_DIRECTIONS] > _LEAST_SD
    return rows[:_MOST_DIRECTIONS][kept].T / sds[:_MOST_DIRECTIONS][kept]


def _check_parts(record: GrowthRecord, wanted: Mapping[str, tuple[int, ...]]) -> None:
    parts = {name: part.shape for name, part in (record.latent or {}).items()}
    if parts != wanted:
        msg = (
            f"patient {record.patient_id!r} must have a latent with the parts {dict(wanted)}, got {parts}; "
            "encode all first visits with one network."
        )
        raise ValueError(msg)

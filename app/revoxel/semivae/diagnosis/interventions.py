"""Exchange one part of the latent between scans, through the image: does only what it stands for change?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.diagnosis.encoding import predict_features, reencode
from revoxel.semivae.diagnosis.matrix import NamedMatrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]

#: Two scans of targets of variance 1 are 2 apart on average, in squares.
_LEAST_ASKED = 0.02


@dataclass(frozen=True, eq=False)
class Interventions:
    """What exchanging parts does to predictions.

    Attributes:
        matrix: Row: the part exchanged; column: the part whose predictions are read. Change of the
            predictions over the change that exchanging the column's own part asks for.
        obeyed: Of each supervised part, the share of the variance of what was asked for that is found again;
            0 or less if the decoder ignores the part.
    """

    matrix: NamedMatrix
    obeyed: dict[str, float]

    def figures(self, group: str = "intervention") -> dict[str, float]:
        """Figures under their log names; gates are judged by those of the group `intervention`.

        Args:
            group: First part of the names.
        """
        own, beside = (_finite(entries) for entries in (self.matrix.own(), self.matrix.others()))
        worst = {f"{group}/off_diagonal_max": max(beside)} if len(self.matrix.rows) > 1 else {}
        shares = {f"{group}/obeyed_{name}": share for name, share in self.obeyed.items()}
        return {f"{group}/diagonal_min": min(own), **worst, **shares}


def intervention_matrix(
    network: SemiVAE, partition: LatentPartition, mu: Numbers, brain: torch.Tensor | None = None
) -> Interventions:
    r"""Exchange each part between scans, decode, encode again, and read every head.

    Entry (p, q) is $E[(h_q(\mu') - h_q(\mu))^2] / E[(h_q(\tilde z_q) - h_q(\mu))^2]$ with
    $\mu' = E(D(z'))$, $z'$ = mu with part p of another scan, and $\tilde z_q$ the part q of another scan.
    Good is 1 on the diagonal and 0 beside it. A decoder that ignores its latent gives about 0.5 everywhere.
    A column is NaN where its part predicts the same of all scans, within 1 % of the variance of the targets:
    it asks for nothing.

    Args:
        network: With heads.
        partition: Of its latent.
        mu: `(scan, latent)`; scans half the list apart are exchanged, so that visits in a row are not.
        brain: `(scan, 1, i, j, k)` voxels of each scan's brain: air is blanked before encoding again, so that
            marks which the decoder leaves in the air do not count. None counts them.

    Returns:
        All parts as rows, supervised parts as columns.

    Raises:
        ValueError: If there are fewer than 2 scans.
    """
    if len(mu) < 2:
        msg = f"interventions need at least 2 scans to exchange, got {len(mu)}; evaluate more scans."
        raise ValueError(msg)

    def read(latents: Numbers) -> dict[str, Numbers]:
        predicted = predict_features(network, partition, latents)
        return {name: predicted[:, columns] for name, columns in partition.feature_slices.items()}

    other = np.roll(mu, len(mu) // 2, axis=0)
    asked, before = read(other), read(mu)
    change = {name: _mean_square(asked[name] - before[name]) for name in asked}
    values, obeyed = [], {}
    for name, part in partition.slices.items():
        given = mu.copy()
        given[:, part] = other[:, part]
        after = read(reencode(network, given, brain))
        values.append([_ratio(_mean_square(after[q] - before[q]), change[q]) for q in asked])
        if name in asked:
            missed = _mean_square(after[name] - asked[name])
            obeyed[name] = 1 - _ratio(missed, float(np.mean(asked[name].var(axis=0))))
    matrix = NamedMatrix(tuple(partition.slices), tuple(asked), np.array(values))
    return Interventions(matrix, obeyed)


def _finite(entries: Mapping[str, float]) -> list[float]:
    """Entries of parts that say something; a NaN, which passes no gate, if there are none."""
    return [value for value in entries.values() if np.isfinite(value)] or [float("nan")]


def _mean_square(values: Numbers) -> float:
    return float(np.mean(np.square(values)))


def _ratio(change: float, asked: float) -> float:
    return change / asked if asked > _LEAST_ASKED else float("nan")

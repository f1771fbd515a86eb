"""Latents of several scans beside what is known about these scans."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Known = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Latents:
    """What a network made of scans; rows are scans.

    Args:
        mu: `(scan, latent)` posterior means.
        logvar: `(scan, latent)` logarithms of the posterior variances.
        kl_nats: `(scan, latent)` divergence from the prior, in nats.
        predicted: `(scan, feature)` normalised features as the heads predict them.
        targets: `(scan, feature)` normalised features of the label maps.
        known: `(scan, feature)` which targets are defined.
        patients: Of each scan.

    Raises:
        ValueError: If the numbers of scans, latents or features disagree.
    """

    mu: Numbers
    logvar: Numbers
    kl_nats: Numbers
    predicted: Numbers
    targets: Numbers
    known: Known
    patients: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse arrays of different scans."""
        same_latents = self.mu.shape == self.logvar.shape == self.kl_nats.shape
        same_features = self.predicted.shape == self.targets.shape == self.known.shape
        n_scans = {len(self.mu), len(self.targets), len(self.patients)}
        if not (same_latents and same_features and len(n_scans) == 1):
            shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
            msg = (
                f"arrays must be of the same scans, latents and features, got {shapes}; encode them together."
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.mu)

    def rows(self, index: Any) -> Latents:
        """Some of the scans.

        Args:
            index: Whatever picks rows of a numpy array.
        """
        arrays = {field.name: getattr(self, field.name)[index] for field in fields(self)[:-1]}
        return Latents(**arrays, patients=tuple(np.asarray(self.patients, dtype=object)[index]))

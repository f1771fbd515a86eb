"""Decode latents along a direction, and read from the decoded images what has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.semivae.diagnosis.encoding import decode_in_batches, frozen, predict_features, reencode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.traversal.directions import Direction

    Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Images along one direction.

    Args:
        direction: Where to.
        steps_sd: `(step,)` how far, in standard deviations over the training patients.
        images: `(step, 4, S, S, S)`.
        asked: `(step, feature)` normalised features that the heads read from the changed latents.
        found: `(step, feature)` those that they read from the decoded images: E(D(z)).
    """

    direction: Direction
    steps_sd: tuple[float, ...]
    images: NDArray[np.float32]
    asked: Numbers
    found: Numbers

    def values(self, model: SemiVaeModel) -> dict[str, list[float]]:
        """The feature that was to change, in its unit: `asked` and `found` at every step.

        Args:
            model: Its normaliser knows units.

        Returns:
            Nothing for a direction without a feature.
        """
        if self.direction.feature is None:
            return {}
        name = self.direction.name
        rows: dict[str, Numbers] = {"asked": self.asked, "found": self.found}
        return {
            kind: [model.normalizer.inverse_transform(row)[name] for row in values]
            for kind, values in rows.items()
        }

    def described(self, model: SemiVaeModel) -> dict[str, Any]:
        """What a record says of it.

        Args:
            model: The network.
        """
        return {
            "steps_sd": list(self.steps_sd),
            "step": self.direction.step,
            **self.values(model),
            "found_features_sd": dict(zip(model.partition.features, self.found.T.tolist(), strict=True)),
        }


def sweep(model: SemiVaeModel, mu: Numbers, direction: Direction, steps_sd: Sequence[float]) -> Sweep:
    """Go along one direction.

    Args:
        model: The network.
        mu: `(latent,)` where to start.
        direction: Where to.
        steps_sd: How far.

    Returns:
        Images and what is read from them.
    """
    latents = mu + np.outer(steps_sd, direction.step)
    with frozen(model.network):
        images = [one.cpu().numpy() for one in decode_in_batches(model.network, latents)]
    asked, found = (
        predict_features(model.network, model.partition, some)
        for some in (latents, reencode(model.network, latents))
    )
    return Sweep(direction, tuple(steps_sd), np.concatenate(images), asked, found)

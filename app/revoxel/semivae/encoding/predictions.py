"""What the heads say about a tumour beside what was measured, in physical units and on a common scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.features.record import FeatureSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from revoxel.semivae.features.record import FeatureRecord
    from revoxel.semivae.network.models import Estimate, SemiVaeModel

    Numbers = NDArray[np.float64]

_LOG_VOLUME = "ln(mm^3)"
_MM3_PER_ML = 1000.0
_INTERVAL_SD = 1.96


@dataclass(frozen=True)
class Prediction:
    """One feature.

    Attributes:
        value: Of the posterior's mean, in `unit`.
        sd: Standard deviation over the posterior: how sure the encoder is, not how far it is off.
        unit: Of all three.
        measured: On the label map; NaN without one, or where it is not defined.
        standardised: The value where the training patients have mean 0 and standard deviation 1.
        standardised_sd: Its standard deviation on that scale.
        standardised_measured: The measured value on that scale.
    """

    value: float
    sd: float
    unit: str
    measured: float
    standardised: float
    standardised_sd: float
    standardised_measured: float

    def words(self) -> str:
        """Predicted and measured value for people; logarithms of volumes in millilitres."""
        if self.unit == _LOG_VOLUME:
            ends = (self.value + step * self.sd for step in (0.0, -_INTERVAL_SD, _INTERVAL_SD))
            middle, low, high = (f"{_millilitres(end):.3g}" for end in ends)
            measured = "" if np.isnan(self.measured) else f" | {_millilitres(self.measured):.3g}"
            return f"{middle} ({low} to {high}){measured} ml"
        unit = "" if self.unit == "1" else f" {self.unit}"
        measured = "" if np.isnan(self.measured) else f" | {self.measured:.3g}"
        return f"{self.value:.3g} ± {self.sd:.2g}{measured}{unit}"


def _millilitres(log_mm3: float) -> float:
    return float(np.exp(log_mm3)) / _MM3_PER_ML


def predictions_of(
    model: SemiVaeModel, mu: Numbers, logvar: Numbers, measured: FeatureRecord | None
) -> dict[str, Prediction]:
    """Predict every feature of the partition.

    Args:
        model: The network and its normaliser.
        mu: `(z_dim,)` posterior means.
        logvar: `(z_dim,)` log variances.
        measured: What was measured on the label map, if there is one.

    Returns:
        By feature, in the order of the targets.
    """
    estimates: Mapping[str, Estimate] = model.estimates_of(mu, logvar)
    truth = dict.fromkeys(estimates, float("nan")) if measured is None else measured.values
    guessed, _ = model.normalizer.transform({name: one.value for name, one in estimates.items()})
    known, defined = model.normalizer.transform(truth)
    units, scale = FeatureSettings().units(), model.normalizer.fitted.scale
    return {
        name: Prediction(
            value=one.value,
            sd=one.sd,
            unit=units[name],
            measured=float(truth[name]),
            standardised=float(guessed[at]),
            standardised_sd=one.sd / scale[at],
            standardised_measured=float(known[at]) if defined[at] else float("nan"),
        )
        for at, (name, one) in enumerate(estimates.items())
    }

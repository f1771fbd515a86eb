"""Predictions in words that people use."""

from dataclasses import replace

import numpy as np

from revoxel.semivae.encoding.predictions import Prediction

PLACE = Prediction(12.345, 0.5, "mm", 11.0, 0.2, 0.01, 0.1)


def test_values_are_told_with_spread_measure_and_unit():
    assert PLACE.words() == "12.3 ± 0.5 | 11 mm"
    assert replace(PLACE, measured=float("nan")).words() == "12.3 ± 0.5 mm"
    assert replace(PLACE, unit="1").words() == "12.3 ± 0.5 | 11"


def test_log_volumes_are_told_in_millilitres_with_the_interval_of_the_posterior():
    volume = replace(
        PLACE, value=np.log(20_000.0), sd=np.log(2.0) / 1.96, unit="ln(mm^3)", measured=np.log(25_000.0)
    )
    assert volume.words() == "20 (10 to 40) | 25 ml"
    assert replace(volume, measured=float("nan")).words() == "20 (10 to 40) ml"

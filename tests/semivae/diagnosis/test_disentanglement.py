"""MIG, SAP and DCI: 1 for one latent per factor, low when a rotation mixes all; fast enough to run often."""

import time

import numpy as np
import pytest
from scipy.linalg import hadamard

from revoxel.semivae.diagnosis.disentanglement import dci, mig, sap


@pytest.fixture
def factors():
    return np.random.default_rng(0).normal(size=(300, 4))


def known(factors):
    return np.ones(factors.shape, bool)


def mixed(factors):
    return factors @ hadamard(4) / 2


def test_gaps_are_large_for_one_latent_per_factor_and_small_for_a_rotation(factors):
    axis = np.tanh(factors[:, ::-1])
    for gap in (mig, sap):
        assert gap(axis, factors, known(factors)) > 0.75
        assert gap(mixed(factors), factors, known(factors)) < 0.5 * gap(axis, factors, known(factors))


def test_gap_is_zero_when_two_latents_say_the_same(factors):
    twice = np.column_stack([factors, factors])
    assert mig(twice, factors, known(factors)) == pytest.approx(0, abs=1e-9)
    assert sap(twice, factors, known(factors)) == pytest.approx(0, abs=1e-9)


def test_unknown_factors_are_left_out(factors):
    seen = known(factors)
    seen[150:, 0] = False
    spoilt = np.where(seen, factors, np.nan)
    assert sap(factors, spoilt, seen) > 0.9
    assert mig(factors, spoilt, seen) > 0.6
    assert np.isnan(mig(factors, np.ones_like(factors), known(factors)))


def split(latents, factors):
    table = (latents, factors, known(factors))
    return tuple(array[:200] for array in table), tuple(array[200:] for array in table)


def test_dci_tells_one_latent_per_factor_from_a_rotation(factors):
    good, bad = (dci(*split(latents, factors)) for latents in (factors[:, ::-1], mixed(factors)))
    assert good.disentanglement > 0.6
    assert good.completeness > 0.6
    assert bad.disentanglement < 0.6 * good.disentanglement
    assert good.informativeness > 0.8


def test_dci_counts_a_part_as_one(factors):
    # Each factor is spread over a part of three latents: incomplete latent by latent, complete part by part.
    latents = np.repeat(factors, 3, axis=1) + 0.1 * np.random.default_rng(5).normal(size=(300, 12))
    parts = {str(index): slice(3 * index, 3 * index + 3) for index in range(4)}
    train, held_out = split(latents, factors)
    assert dci(train, held_out, parts).completeness > dci(train, held_out).completeness + 0.2


def test_scans_without_factors_have_no_dci(factors):
    never = np.zeros(factors.shape, bool)
    assert np.isnan(dci((factors, factors, never), (factors, factors, never)).disentanglement)


def test_all_three_take_seconds_on_200_scans_of_128_latents():
    rng = np.random.default_rng(0)
    latents, factors = rng.normal(size=(200, 128)), rng.normal(size=(200, 15))
    seen = known(factors)
    start = time.process_time()
    mig(latents, factors, seen)
    sap(latents, factors, seen)
    dci((latents, factors, seen), (latents, factors, seen))
    assert time.process_time() - start < 20

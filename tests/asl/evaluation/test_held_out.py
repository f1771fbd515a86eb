"""Scans that are scored: same voxels for all, the fit as a method, wrong pairings noticed."""

from dataclasses import replace

import numpy as np
import pytest

from revoxel.asl.evaluation.baselines import (
    BLURRED_FIT,
    FIT,
    BlurredFit,
    best_blurred_fit,
    blurred_in_mask,
    fitted,
)
from revoxel.asl.evaluation.held_out import ScanRecipe, make_scans
from revoxel.asl.evaluation.pairing import check_pairing, pairing_table
from revoxel.asl.evaluation.regions import Region, Target
from revoxel.asl.evaluation.scores import score
from revoxel.asl.learning.slice_bank import SliceBank, SliceRecipe
from revoxel.asl.network.channels import LabelMap
from revoxel.asl.physics import AslPhysics
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PhysicsRange

RECIPE = ScanRecipe(PhantomConfig(size=48), AslNoise(snr=10), n_phantoms=4)


@pytest.fixture(scope="module")
def scans():
    return make_scans(RECIPE)


@pytest.fixture(scope="module")
def fit(scans):
    return scans.estimate({FIT: fitted})[FIT]


def test_right_pairs_of_the_fit_explain_the_truth_and_wrong_pairs_do_not():
    scans = make_scans(replace(RECIPE, noise=AslNoise(snr=30)))
    fit, truth = scans.estimate({FIT: fitted})[FIT], scans.truth
    perfused = truth.regions()[Region.PERFUSED]
    for values, true, mask in ((fit.cbf, truth.cbf, truth.mask), (fit.att, truth.att, perfused)):
        table = pairing_table(values, true, mask)
        assert table["right"]["r2"] > 0.9
        assert table["shuffled"]["r2"] < 0
        assert table["first voxels"]["r2"] < 0
        check_pairing(table, FIT)


def test_shuffled_maps_score_below_zero(scans, fit):
    rng = np.random.default_rng(0)
    shuffled = {}
    for name in ("cbf", "att"):
        values = getattr(fit, name).copy()
        values[scans.truth.mask] = rng.permutation(values[scans.truth.mask])
        shuffled[name] = values
    scores = score({"right": fit, "shuffled": replace(fit, **shuffled)}, scans.truth)
    assert scores.statistics("right", Target.CBF)["r2"][0] > 0.9
    for target in Target:
        assert scores.statistics("shuffled", target)["r2"][0] < 0


def test_maps_that_are_upside_down_or_of_other_scans_are_noticed(scans, fit):
    for wrong in (fit.cbf[:, ::-1], np.roll(fit.cbf, 1, axis=0)):
        with pytest.raises(ValueError, match="turned, mirrored"):
            check_pairing(pairing_table(wrong, scans.truth.cbf, scans.truth.mask), FIT)


def test_a_truth_without_variation_has_no_pairs_to_confuse():
    flat = np.full((1, 4, 4), 30.0)
    check_pairing(pairing_table(flat + 1, flat, np.ones((1, 4, 4), bool)), FIT)


def test_same_phantoms_at_every_noise_level_and_for_all_constants(scans):
    noisier = make_scans(replace(RECIPE, noise=AslNoise(snr=3)))
    varied = make_scans(replace(RECIPE, physics=PhysicsRange.named("default")))
    for other in (noisier, varied):
        np.testing.assert_array_equal(scans.truth.cbf, other.truth.cbf)
        assert not np.array_equal(scans.dm, other.dm)
        assert other.fingerprint != scans.fingerprint
    assert make_scans(RECIPE).fingerprint == scans.fingerprint


def test_no_scan_is_one_for_training_or_tuning(scans):
    bank = SliceBank(SliceRecipe(phantom=RECIPE.phantom), 4, n_shows=0)
    training = [bank[index]["label"][list(LabelMap).index(LabelMap.cbf)].numpy() for index in range(4)]
    tuning = make_scans(RECIPE.for_tuning(4)).truth.cbf
    for truth in (*training, *tuning):
        assert not any(np.array_equal(truth, held_out) for held_out in scans.truth.cbf)


def test_method_is_given_no_truth(scans):
    problem = scans.problem()
    assert problem.dm.shape == (48, 48, 4, 12)
    assert set(vars(problem)) == {"dm", "mask", "protocol", "physics", "sigma"}


def test_methods_are_told_the_assumed_constants_not_the_true_ones():
    wrong = make_scans(replace(RECIPE, physics=AslPhysics(t1_blood_ms=1850), n_phantoms=2))
    assert wrong.problem().physics.t1_blood_ms == 1650
    scores = score(wrong.estimate({FIT: fitted}), wrong.truth)
    assert scores.statistics(FIT, Target.CBF)["bias"][0] > 3


def test_fit_reaches_its_bound_and_states_its_error(scans, fit):
    scores = score({FIT: fit}, scans.truth)
    perfused = scores.regions.index(Region.PERFUSED)
    found = scores.statistics(FIT, Target.CBF)
    assert 0.9 < found["rmse_over_crb"][perfused] < 1.15
    assert found["coverage95"][perfused] == pytest.approx(0.95, abs=0.03)
    assert found["valid_fraction"][0] == 1


def test_best_blur_is_no_worse_than_none(scans, fit):
    method = best_blurred_fit(make_scans(RECIPE.for_tuning(2)))
    assert method.att_width >= method.cbf_width
    scores = score(scans.estimate({FIT: fitted, BLURRED_FIT: method}), scans.truth, (FIT,))
    for target in Target:
        blurred = scores.statistics(BLURRED_FIT, target)["mae"][0]
        assert blurred < scores.statistics(FIT, target)["mae"][0] * 1.02


def test_blur_keeps_a_constant_up_to_the_edge_of_the_mask(scans):
    mask = np.moveaxis(scans.truth.mask, 0, 2)
    constant = np.where(mask[..., None], 3.0, 99.0).astype(np.float32)
    np.testing.assert_allclose(blurred_in_mask(constant, mask, 1.0)[mask], 3.0, rtol=1e-5)


def test_blur_does_not_mix_slices_or_channels(scans):
    problem = scans.problem()
    one = blurred_in_mask(problem.dm, problem.mask, 0.8)[:, :, 1:2, 4:5]
    alone = blurred_in_mask(problem.dm[:, :, 1:2, 4:5], problem.mask[:, :, 1:2], 0.8)
    np.testing.assert_allclose(one, alone, atol=1e-9)


def test_one_width_for_both_maps_fits_once(scans):
    problem = scans.problem()
    maps = BlurredFit(0.5, 0.5)(problem, None)
    np.testing.assert_array_equal(maps.att, BlurredFit(0.8, 0.5)(problem, None).att)


def test_no_scans_are_refused():
    with pytest.raises(ValueError, match="n_phantoms"):
        ScanRecipe(n_phantoms=0)

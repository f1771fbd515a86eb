from dataclasses import replace

import numpy as np
import pytest

from revoxel.asl.evaluation.regions import Region, Target, Truth, boundary
from revoxel.asl.evaluation.scores import score
from revoxel.asl.quantification.estimation import PerfusionMaps
from revoxel.asl.simulation.shapes import Tissue

SHAPE = (8, 12, 10)


@pytest.fixture
def truth() -> Truth:
    rng = np.random.default_rng(0)
    tissue = rng.integers(1, 4, SHAPE)
    cbf = np.select([tissue == 1, tissue == 2], [60.0, 22.0], 3.0) + rng.uniform(-5, 5, SHAPE).clip(-2)
    mask = np.ones(SHAPE, bool)
    mask[:, 0] = False
    lesion = np.zeros(SHAPE, int)
    lesion[:, 5:8, 5:8] = 1
    att = rng.uniform(700, 2500, SHAPE)
    return Truth(cbf, att, mask, np.where(mask, tissue, 0), lesion, np.full(SHAPE, 2.0), np.full(SHAPE, 50.0))


def noisy(truth: Truth, seed: int = 1, sd: float = 2.0) -> PerfusionMaps:
    rng = np.random.default_rng(seed)
    cbf, att = sd * rng.standard_normal(SHAPE), 25 * sd * rng.standard_normal(SHAPE)
    return PerfusionMaps(truth.cbf + cbf, truth.att + att, np.full(SHAPE, sd), np.full(SHAPE, 25 * sd))


def test_perfect_maps_have_no_error_and_slope_one(truth):
    found = score({"a": PerfusionMaps(truth.cbf, truth.att)}, truth).statistics("a", Target.CBF)
    assert found["mae"][0] == found["rmse"][0] == found["bias"][0] == 0
    assert found["slope"][0] == found["r2"][0] == found["valid_fraction"][0] == 1


def test_statistics_are_those_of_numpy(truth):
    estimate = noisy(truth)
    scores = score({"a": estimate}, truth)
    for target in Target:
        found = scores.statistics("a", target)
        for row, (region, inside) in enumerate(truth.regions().items()):
            true, guess = getattr(truth, target)[inside], getattr(estimate, target)[inside]
            assert scores.regions[row] == region
            assert found["n"][row] == inside.sum()
            assert found["mae"][row] == pytest.approx(np.abs(guess - true).mean())
            assert found["rmse"][row] == pytest.approx(np.sqrt(np.mean((guess - true) ** 2)))
            assert found["bias"][row] == pytest.approx(np.mean(guess - true))
            assert found["slope"][row] == pytest.approx(np.polyfit(true, guess, 1)[0])
            assert found["r2"][row] == pytest.approx(1 - np.mean((guess - true) ** 2) / true.var())
            assert found["mean"][row] == pytest.approx(guess.mean())


def test_intervals_that_are_right_cover_as_they_should_and_rmse_is_the_bound(truth):
    found = score({"a": noisy(truth)}, truth).statistics("a", Target.ATT)
    assert found["coverage68"][0] == pytest.approx(0.683, abs=0.05)
    assert found["coverage95"][0] == pytest.approx(0.95, abs=0.03)
    assert found["rmse_over_crb"][0] == pytest.approx(1.0, abs=0.1)


def test_sd_that_follows_the_error_correlates_with_it(truth):
    estimate = noisy(truth)
    honest = replace(estimate, cbf_sd=np.abs(estimate.cbf - truth.cbf) + 0.1)
    scores = score({"honest": honest, "other": replace(honest, cbf_sd=np.abs(noisy(truth, 9).cbf))}, truth)
    assert scores.statistics("honest", Target.CBF)["error_sd_spearman"][0] == pytest.approx(1)
    assert abs(scores.statistics("other", Target.CBF)["error_sd_spearman"][0]) < 0.2


def test_win_rates_of_two_methods_sum_to_one_and_ties_count_half(truth):
    maps = {"a": noisy(truth, 1, 1.0), "b": noisy(truth, 2, 2.0), "same": noisy(truth, 1, 1.0)}
    scores = score(maps, truth, references=("a", "b"))
    a_b, b_a = (
        scores.statistics(*pair)[win][0]
        for pair, win in ((("a", Target.CBF), "win_b"), (("b", Target.CBF), "win_a"))
    )
    assert a_b + b_a == pytest.approx(1)
    assert a_b > 0.6
    assert scores.statistics("same", Target.CBF)["win_a"][0] == 0.5
    assert "win_a" not in scores.statistics("a", Target.CBF)


def test_voxels_without_an_answer_are_lost_for_their_method_and_left_out_for_all(truth):
    good, holes = noisy(truth, 1), noisy(truth, 2)
    cbf = holes.cbf.copy()
    cbf[:, 6:] = np.nan
    scores = score({"good": good, "holes": replace(holes, cbf=cbf)}, truth, references=("good", "holes"))
    inside = truth.mask.copy()
    inside[:, 6:] = False
    assert scores.statistics("good", Target.ATT)["n"][0] == inside.sum()
    expected = np.abs(good.cbf - truth.cbf)[inside].mean()
    assert scores.statistics("good", Target.CBF)["mae"][0] == pytest.approx(expected)
    share = inside.sum() / truth.mask.sum()
    assert scores.statistics("holes", Target.CBF)["valid_fraction"][0] == pytest.approx(share)
    assert scores.statistics("holes", Target.CBF)["win_good"][0] < 0.6 * share + 0.05
    assert scores.statistics("good", Target.CBF)["win_holes"][0] > 1 - 0.6 * share - 0.05


def test_what_lies_outside_the_mask_does_not_count(truth):
    estimate = noisy(truth)
    spoilt = replace(estimate, cbf=np.where(truth.mask, estimate.cbf, np.nan))
    first, second = (score({"a": maps}, truth).statistics("a", Target.CBF) for maps in (estimate, spoilt))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_order_of_phantoms_does_not_change_the_statistics(truth):
    estimate, order = noisy(truth), [5, 1, 0, 7, 2, 3, 6, 4]
    turned = Truth(**{name: values[order] for name, values in vars(truth).items()})
    maps = PerfusionMaps(**{name: values[order] for name, values in vars(estimate).items()})
    first, second = (
        score({"a": m}, t).statistics("a", Target.CBF) for m, t in ((estimate, truth), (maps, turned))
    )
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name])


def test_interval_holds_the_value_and_shrinks_with_more_phantoms(truth):
    few = Truth(**{name: values[:3] for name, values in vars(truth).items()})
    estimate = noisy(truth)
    maps = PerfusionMaps(**{name: values[:3] for name, values in vars(estimate).items()})
    wide = score({"a": maps}, few).intervals("a", Target.CBF)["mae"]
    narrow = score({"a": estimate}, truth).intervals("a", Target.CBF)["mae"]
    assert narrow.low < narrow.value < narrow.high
    assert wide.low <= wide.value <= wide.high


def test_interval_of_one_phantom_has_no_width(truth):
    one = Truth(**{name: values[:1] for name, values in vars(truth).items()})
    estimate = PerfusionMaps(one.cbf + 1, one.att)
    interval = score({"a": estimate}, one).intervals("a", Target.CBF)["bias"]
    assert interval.low == interval.high == pytest.approx(1)


def test_lost_contrast_shows_in_grey_over_white(truth):
    smooth = PerfusionMaps(np.full(SHAPE, 40.0), truth.att)
    scores = score({"right": PerfusionMaps(truth.cbf, truth.att), "smooth": smooth}, truth)
    assert scores.grey_over_white("right") == pytest.approx(60 / 22, abs=0.2)
    assert scores.grey_over_white("smooth") == pytest.approx(1)


def test_boundary_is_where_a_neighbour_inside_the_mask_differs():
    labels = np.zeros((1, 4, 4), int)
    labels[0, :, 2:] = 1
    mask = np.ones((1, 4, 4), bool)
    mask[0, 0] = False
    assert boundary(labels, mask)[0].tolist() == [[False] * 4] + [[False, True, True, False]] * 3


def test_regions_are_what_their_names_say(truth):
    regions = truth.regions()
    assert (truth.tissue[regions[Region.WHITE_MATTER]] == Tissue.WHITE_MATTER).all()
    assert (truth.cbf[regions[Region.PERFUSED]] > 15).all()
    assert (regions[Region.LESION] == ((truth.lesion > 0) & truth.mask)).all()


@pytest.mark.parametrize("shape", [(8 * 12 * 10,), (8, 10, 12), (7, 12, 10)])
def test_maps_of_other_voxels_are_refused(truth, shape):
    with pytest.raises(ValueError, match="one value per voxel of the truth"):
        score({"a": PerfusionMaps(np.zeros(shape), np.zeros(shape))}, truth)


def test_method_without_att_is_refused(truth):
    with pytest.raises(ValueError, match="must give an ATT map"):
        score({"a": PerfusionMaps(truth.cbf)}, truth)


def test_empty_mask_is_refused(truth):
    with pytest.raises(ValueError, match="voxels in it"):
        score({"a": PerfusionMaps(truth.cbf, truth.att)}, replace(truth, mask=np.zeros(SHAPE, bool)))


def test_methods_that_share_no_voxel_are_refused(truth):
    with pytest.raises(ValueError, match="share voxels"):
        score({"a": PerfusionMaps(truth.cbf * np.nan, truth.att)}, truth)


def test_reference_must_be_one_of_the_methods(truth):
    with pytest.raises(ValueError, match="estimate them too"):
        score({"a": PerfusionMaps(truth.cbf, truth.att)}, truth, references=("fit",))

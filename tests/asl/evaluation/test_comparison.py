from dataclasses import replace

import numpy as np
import pytest

from revoxel.asl.evaluation.baselines import BLURRED_FIT, FIT, fitted
from revoxel.asl.evaluation.comparison import (
    EvaluationPlan,
    Scenario,
    amplitude_linearity,
    run_plan,
    separation,
)
from revoxel.asl.evaluation.held_out import ScanRecipe
from revoxel.asl.evaluation.regions import Target
from revoxel.asl.evaluation.score_outputs import EvaluationPaths, draw_phantom
from revoxel.asl.evaluation.score_tables import (
    accuracy_rows,
    metrics,
    mismatch_rows,
    pairing_rows,
    region_rows,
)
from revoxel.asl.quantification.estimation import PerfusionMaps
from revoxel.asl.simulation.phantom import PhantomConfig

PLAN = EvaluationPlan(ScanRecipe(PhantomConfig(size=40), n_phantoms=3), (10.0, 30.0), 10.0, 2)


def constant(problem, fit) -> PerfusionMaps:
    """A method that gives the same everywhere."""
    return PerfusionMaps(np.full_like(fit.cbf, 40.0), np.full_like(fit.att, 1400.0))


@pytest.fixture(scope="module")
def comparisons():
    stages = []
    done = run_plan(PLAN, {"constant": constant}, lambda *stage: stages.append(stage))
    assert stages[-1] == ("scans", 1.0)
    return done


def test_right_constants_come_at_every_noise_level_and_wrong_ones_at_one(comparisons):
    cases = [(item.snr, item.scenario) for item in comparisons]
    assert cases[:2] == [(10.0, Scenario.MATCHED), (30.0, Scenario.MATCHED)]
    assert cases[2:] == [(10.0, scenario) for scenario in Scenario if scenario != Scenario.MATCHED]


def test_wrong_constants_alone_bring_a_right_comparison_with_them():
    cases = run_plan(EvaluationPlan(PLAN.recipe, (30.0,), 10.0, 2), {})
    assert [(item.snr, item.scenario) for item in cases[:2]] == [
        (30.0, Scenario.MATCHED),
        (10.0, Scenario.MATCHED),
    ]


def test_wrong_constants_bias_flow_as_their_formula_says(comparisons):
    # Six channels of PCASL and six of VSASL: 0.93^4 and 0.93^3 of the signal are left.
    biased = next(item for item in comparisons if item.scenario is Scenario.SUPPRESSION)
    statistics = biased.scores.statistics(FIT, Target.CBF)
    assert statistics["slope"][0] == pytest.approx(0.77, abs=0.04)
    long = next(item for item in comparisons if item.scenario is Scenario.LONG_T1)
    assert long.scores.statistics(FIT, Target.CBF)["bias"][0] > 3


def test_metrics_have_the_agreed_names(comparisons):
    found = metrics(comparisons)
    assert list(found) == ["10", "30"]
    assert list(found["10"]) == [FIT, BLURRED_FIT, "constant"]
    assert {
        "cbf_mae",
        "att_mae",
        "cbf_bias",
        "att_bias",
        "coverage68",
        "coverage95",
        "valid_fraction",
    } <= set(found["10"][FIT])
    assert {"win_cbf", "win_att"} <= set(found["10"]["constant"])
    assert found["10"][FIT]["cbf_mae"] == pytest.approx(1.55, abs=0.15)
    assert found["30"][FIT]["cbf_mae"] == pytest.approx(found["10"][FIT]["cbf_mae"] / 3, rel=0.1)
    assert found["10"][BLURRED_FIT]["win_att"] > 0.6
    assert found["10"]["constant"]["win_cbf"] < 0.2


def test_wrong_constants_show_in_how_maps_explain_the_data(comparisons):
    usual, unusual = comparisons[0], next(c for c in comparisons if c.scenario is Scenario.WEAK_VSASL)
    assert separation(unusual, usual, FIT)["chi2"] > 0.9
    assert separation(usual, usual, FIT) == {"chi2": 0.5, "cbf_sd": 0.5, "att_sd": 0.5}
    inside = usual.scans.truth.mask
    assert usual.oddness(FIT)["chi2"][inside].mean() == pytest.approx(1.0, abs=0.05)


def test_lesions_are_told_by_maps_that_know_them(comparisons):
    item = comparisons[0]
    lesion = item.scans.truth.lesion > 0
    assert lesion.any()
    knowing = replace(item.estimates[FIT], cbf_sd=1.0 + lesion, att_sd=None)
    told = replace(item, estimates={"knowing": knowing}).lesions_told("knowing")
    assert told["cbf_sd"] == 1
    assert "att_sd" not in told
    # The fit explains the data of lesions as well as those of any other voxel.
    assert told["chi2"] == pytest.approx(0.5, abs=0.1)
    healthy = replace(item.scans, truth=replace(item.scans.truth, lesion=np.zeros_like(lesion, dtype=int)))
    assert replace(item, scans=healthy).lesions_told(FIT) == {}


def test_tables_have_a_row_for_all_there_is(comparisons):
    assert list(accuracy_rows(comparisons[0])["ATT MAE, ms"]) == [FIT, BLURRED_FIT, "constant"]
    assert "lesion" in region_rows(comparisons[0], FIT)
    assert list(mismatch_rows(comparisons, FIT)) == list(Scenario)
    assert mismatch_rows(comparisons[:2], FIT) == {}
    assert list(pairing_rows(comparisons[0])) == ["right", "shuffled", "first voxels"]


def test_region_that_no_phantom_has_gets_no_row():
    plan = EvaluationPlan(ScanRecipe(PhantomConfig("uniform", 16), n_phantoms=2), (30.0,), None, 1)
    (item,) = run_plan(plan, {})
    assert list(region_rows(item, FIT)) == ["brain", "grey matter", "cbf > 15"]


def test_fit_is_linear_in_flow_and_a_constant_is_not():
    recipe = ScanRecipe(PhantomConfig(size=32), n_phantoms=2)
    for numbers in amplitude_linearity(fitted, recipe).values():
        assert numbers["slope"] == pytest.approx(1, abs=0.01)
        assert numbers["max_deviation"] < 0.02
    assert amplitude_linearity(constant, recipe)["levels"]["slope"] == pytest.approx(0, abs=1e-6)


def test_picture_has_a_row_per_method(comparisons):
    figure = draw_phantom(comparisons[0])
    titles = [axis.get_title() for axis in figure.axes]
    assert sum(title.startswith("error") for title in titles) == 2 * 3


def test_method_may_not_take_the_name_of_a_baseline():
    with pytest.raises(ValueError, match="names of their own"):
        run_plan(PLAN, {FIT: constant})


def test_noise_levels_must_differ():
    with pytest.raises(ValueError, match="different numbers"):
        EvaluationPlan(snrs=(10.0, 10.0))


def test_results_are_not_overwritten_unasked(tmp_path):
    paths = EvaluationPaths(tmp_path)
    paths.refuse_existing()
    paths.files["scores"].write_text("kept")
    with pytest.raises(FileExistsError, match="--overwrite"):
        paths.refuse_existing()

"""Worst runs come first; patients are the unit; few patients give no interval."""

from __future__ import annotations

from dataclasses import replace

import pytest

from revoxel.core.metrics import Scores
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.report.charts import charts_of
from revoxel.sagnef.report.scores import FUSED, RunScores
from revoxel.sagnef.report.summaries import Summary, methods_table, worst_first


def scores(fused_db: float, expert_db: float) -> RunScores:
    def row(psnr_db: float) -> Scores:
        return Scores(psnr_db=psnr_db, ssim=0.9, rmse=10 ** (-psnr_db / 20), data_range=1.0)

    rows = {"SMORE": row(expert_db), Baseline.ORACLE_VOLUME.value: row(expert_db), FUSED: row(fused_db)}
    return RunScores("brain", rows, "SMORE")


@pytest.fixture
def summary(run):
    def make(patient: str, gain_db: float | None, apart: float | None = 0.1) -> Summary:
        given = None if gain_db is None else scores(30 + gain_db, 30)
        own = replace(run, patient=patient, name=f"{patient} {gain_db} {apart}")
        return Summary(own, "run-1", "data:,", given, apart, 0)

    return make


def test_largest_loss_comes_first_then_what_no_truth_judges(summary) -> None:
    good, bad, calm, torn = (
        summary("a", 0.5),
        summary("b", -0.7),
        summary("c", None, 0.01),
        summary("d", None, 0.3),
    )
    assert worst_first([calm, good, torn, bad]) == [bad, good, torn, calm]


def test_few_patients_give_no_interval(summary) -> None:
    table = methods_table([summary("a", 0.5), summary("a", 0.3), summary("b", 0.1)])
    method, *_, gain, interval, worst, n_runs = table.rows[0]
    assert (method, gain, interval, worst, n_runs) == ("SMORE", "+0.25", "none, n = 2", "+0.10", "3")
    assert "2 patient(s), 3 run(s)" in table.note
    assert "no interval" in table.note


def test_six_patients_give_an_interval_around_the_mean(summary) -> None:
    table = methods_table([summary(str(place), 0.1 * place) for place in range(1, 7)])
    low, high = (float(text) for text in table.rows[0][5].split(" to "))
    assert 0.1 <= low < 0.35 < high <= 0.6


def test_fused_volume_has_no_gain_over_itself(summary) -> None:
    row = methods_table([summary("a", 0.5)]).rows[-1]
    assert row[0] == FUSED
    assert row[4:7] == ("-", "-", "-")


def test_no_truth_no_table(summary) -> None:
    assert methods_table([summary("a", None)]) is None


def test_charts_keep_every_dot_inside_and_link_it(summary) -> None:
    given = [summary(str(place), 0.2 * place - 0.3, 0.02 * place) for place in range(6)]
    gains, weights, apart = charts_of(given)
    assert gains.zero is not None
    assert [line.label for line in gains.lines] == ["SMORE", "best of each volume"]
    for chart in (gains, weights, apart):
        for line in chart.lines:
            assert len(line.dots) == len(given)
            assert len(line.box) == 3
            assert all(chart.left <= dot.x <= chart.width and dot.y < chart.bottom for dot in line.dots)
    xs = [dot.x for dot in gains.lines[0].dots]
    assert xs == sorted(xs)
    assert "Medians: SMORE 0.2" in gains.description


def test_chart_without_values_is_left_out(summary) -> None:
    titles = [chart.title for chart in charts_of([summary("a", None, None), summary("b", None, None)])]
    assert titles == ["Mean weight of each expert"]


def test_few_runs_have_no_box(summary) -> None:
    (chart, *_) = charts_of([summary("a", 0.5), summary("b", 0.1)])
    assert chart.lines[0].box == ()

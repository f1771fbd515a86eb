"""Tables: patients weigh alike, gaps are shares of squared error, nothing hides in a mean."""

from __future__ import annotations

import csv
import io
import math

import pytest

from revoxel.sagnef.baselines import ORACLES, Baseline
from revoxel.sagnef.comparison.figure import draw_gains
from revoxel.sagnef.comparison.results import CaseResult, ExpertUsage, RegionScores, RowScores
from revoxel.sagnef.comparison.rows import FusionRow
from revoxel.sagnef.comparison.summary import ROW_ORDER, blocks, claims, gain_db, gap_share
from revoxel.sagnef.comparison.tables import (
    block_table,
    case_name,
    cases_csv,
    claims_table,
    gains_table,
    usage_table,
)

ERRORS = {
    "BSPLINE": 4.0,
    "SMORE": 2.0,
    Baseline.BEST: 2.0,
    FusionRow.RESIDUAL: 1.5,
    FusionRow.SUPERRESOLVE: 1.0,
    Baseline.ORACLE_VOLUME: 2.0,
    Baseline.ORACLE_CUBE: 1.0,
    Baseline.ORACLE_VOXEL: 0.5,
}


def result(patient: str, condition: str = "right", *, factor: float = 1.0, seen: bool = False) -> CaseResult:
    """A case whose claimed rows err `factor` times as much."""
    errors = {row: rmse * (factor if isinstance(row, FusionRow) else 1) for row, rmse in ERRORS.items()}
    rows = {
        row: RowScores(psnr_db=20 * math.log10(100 / rmse), ssim=0.9, rmse=rmse, data_range=100.0)
        for row, rmse in errors.items()
    }
    return CaseResult(
        inputs_sha256="0",
        subject=f"scan-{patient}",
        patient=patient,
        pulse="t1c",
        spacing="5mm",
        axis=2,
        condition=condition,
        fold="fold0",
        seen=seen,
        best_expert="SMORE",
        regions={"brain": RegionScores(description="where", n_voxels=9, rows=rows)},
        usage={"SMORE": ExpertUsage(mean_weight=0.7, dominant_share=0.9)},
        entropy_nat=0.3,
    )


def test_best_expert_closes_no_gap_and_an_oracle_all_of_its_own() -> None:
    cases = [result("a"), result("b")]
    assert gap_share(cases, "brain", Baseline.BEST, Baseline.ORACLE_CUBE) == 0
    assert gap_share(cases, "brain", Baseline.ORACLE_CUBE, Baseline.ORACLE_CUBE) == 1
    # Squared errors: from 4 to 2.25, of a way from 4 to 1.
    assert gap_share(cases, "brain", FusionRow.RESIDUAL, Baseline.ORACLE_CUBE) == pytest.approx(1.75 / 3)
    assert gap_share(cases, "brain", FusionRow.RESIDUAL, Baseline.ORACLE_VOLUME) is None


def test_gain_is_the_ratio_of_errors_in_decibels() -> None:
    assert gain_db(result("a"), "brain", FusionRow.SUPERRESOLVE) == pytest.approx(20 * math.log10(2))
    assert gain_db(result("a"), "brain", "SMORE") == 0


def test_patients_weigh_alike_however_many_cases_they_have() -> None:
    (block,) = blocks([result("a"), result("a"), result("a"), result("b", factor=2.0)])
    expected = (20 * math.log10(2) + 0) / 2
    row = block.rows[FusionRow.SUPERRESOLVE]
    assert row.gain_db == pytest.approx(expected)
    assert row.worst_gain_db == pytest.approx(0)
    assert (row.n_cases, block.patients) == (4, ("a", "b"))


def test_conditions_are_never_mixed() -> None:
    cases = [result("a"), result("a", "wide", factor=3.0)]
    assert [block.condition for block in blocks(cases)] == ["right", "wide"]
    made = {(claim.condition, claim.row): claim for claim in claims(cases, "brain")}
    assert made["right", FusionRow.SUPERRESOLVE].worst_db > 0
    assert made["wide", FusionRow.SUPERRESOLVE].worst_db < 0


def test_claims_compare_with_every_reference() -> None:
    claim = {claim.row: claim for claim in claims([result("a")], "brain")}[FusionRow.RESIDUAL]
    assert claim.worst_over_bspline_db == pytest.approx(20 * math.log10(4 / 1.5))
    assert claim.worst_over_volume_best_db == pytest.approx(claim.worst_db)


def test_csv_has_a_line_per_case_region_and_row() -> None:
    lines = list(csv.DictReader(io.StringIO(cases_csv([result("a"), result("b", seen=True)]))))
    assert len(lines) == 2 * len(ERRORS)
    line = next(line for line in lines if line["method"] == FusionRow.SUPERRESOLVE)
    assert float(line["gain_db"]) == pytest.approx(20 * math.log10(2))
    assert float(line["gap_share_9_cube"]) == pytest.approx(1)
    assert (line["gap_share_volume"], line["sees_truth"]) == ("", "False")
    assert {line["method"] for line in lines if line["sees_truth"] == "True"} == set(ORACLES)
    assert {line["seen"] for line in lines if line["patient"] == "b"} == {"True"}


def test_tables_keep_every_row_in_one_order() -> None:
    (block,) = blocks([result("a")])
    names = [cells[0] for cells in block_table(block).rows]
    assert names == [name for name in ROW_ORDER if name in ERRORS]
    assert block_table(block).for_console().row_count == len(ERRORS)


def test_seen_patients_are_marked_in_every_list() -> None:
    cases = [result("a", seen=True)]
    assert "SEEN IN TRAINING" in case_name(cases[0])
    tables = (gains_table(cases, "brain"), usage_table(cases))
    assert all("SEEN" in table.rows[0][0] for table in tables if table)


def test_few_patients_show_their_single_values() -> None:
    table = claims_table(list(claims([result("a"), result("b")], "brain")), "brain")
    assert "too few patients" in table.rows[0][-1]
    assert "a +2.50, b +2.50" in table.rows[0][-1]


def test_figure_has_a_panel_per_condition_and_a_line_per_row() -> None:
    figure = draw_gains([result("a"), result("b", seen=True), result("a", "wide", factor=9.0)], "brain")
    assert [panel.get_title() for panel in figure.axes] == ["right (2)", "wide (1)"]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [name for name in ROW_ORDER if name in ERRORS and name != Baseline.BEST]

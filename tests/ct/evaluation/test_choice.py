import numpy as np
import pytest

import ct_studies
from revoxel.core.checkpoints import save_checkpoint
from revoxel.ct.evaluation.cases import read_case
from revoxel.ct.evaluation.choice import chosen_table, weights_of
from revoxel.ct.evaluation.detailing import BASE, NO_VIEWS, REFINED, WRONG_VIEWS
from revoxel.ct.evaluation.planning import plan_evaluation, warnings_of
from revoxel.ct.evaluation.run import by_patient, evaluate_rows
from revoxel.ct.evaluation.upsampling import NETWORK_PROJECTED

CUBE = 32


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_evaluation(ct_studies.write_study(tmp_path_factory.mktemp("set")), None, 1)


def test_an_upsamplers_checkpoint_gives_its_table(plan, tmp_path):
    weights = weights_of(str(ct_studies.write_upsampler(tmp_path / "model.pt")))
    table, protocol = chosen_table(plan.study, weights, "oracle", "cpu")
    (one,) = evaluate_rows(plan.study, plan.rows, table)
    assert one.last == NETWORK_PROJECTED
    assert one.scored.scores[NETWORK_PROJECTED]["consistency_max_hu"] <= 0.5
    assert "do not say whom" in warnings_of(plan, protocol)[0]


@pytest.mark.parametrize("base", ["oracle", "backprojection"])
def test_a_detail_network_is_compared_without_views_and_with_anothers(plan, tmp_path, base):
    weights = ct_studies.write_refiner(tmp_path / "model.pt", CUBE)
    table, _ = chosen_table(plan.study, weights, base, "cpu")
    (one,) = evaluate_rows(plan.study, plan.rows, table)
    rows = by_patient([one.scored])["p1"]
    assert list(rows) == [*table.baselines, NO_VIEWS, WRONG_VIEWS, REFINED]
    assert rows[BASE]["rmse_hu"] > 10
    assert rows[REFINED]["rmse_hu"] != rows[NO_VIEWS]["rmse_hu"] != rows[WRONG_VIEWS]["rmse_hu"]


def test_cubes_of_a_scan_lie_where_they_were_cut(plan, tmp_path):
    side = CUBE // 2
    weights = ct_studies.write_refiner(tmp_path / "model.pt", side)
    table, _ = chosen_table(plan.study, weights, "oracle", "cpu")
    case = read_case(plan.study, plan.rows[0])
    parts = table.parts(case)
    assert len(parts) > 1
    for part in parts:
        assert part.grid.shape == part.coarse_grid.shape == part.truth_hu.shape
        index = np.linalg.solve(case.grid.affine, [*part.grid.world([0, 0, 0]), 1])[:3].round().astype(int)
        place = tuple(slice(start, start + side) for start in index)
        np.testing.assert_array_equal(part.truth_hu, case.truth_hu[place])


def test_a_study_of_other_voxels_is_refused(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(ct_studies, "SPACING_MM", 3.0)
    table, _ = chosen_table(plan.study, ct_studies.write_refiner(tmp_path / "m.pt", CUBE), "oracle", "cpu")
    with pytest.raises(ValueError, match="must have voxels of 3 mm"):
        list(evaluate_rows(plan.study, plan.rows, table))


def test_other_weights_are_refused(plan, tmp_path):
    path = save_checkpoint(tmp_path / "model.pt", {"model": {}}, {"model": "UNet"})
    with pytest.raises(ValueError, match="got UNet"):
        chosen_table(plan.study, path, "oracle", "cpu")

"""What training patients say about the experts, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_study
from revoxel.core.manifest import load_manifest
from revoxel.experts.names import Expert
from revoxel.sagnef.comparison.fold_weights import case_statistics, fit_fold, told_too_wide
from revoxel.sagnef.comparison.volumes import read_case
from revoxel.sagnef.gates import cautious_weights
from revoxel.sagnef.tiles import N_TILES, TileStatistics


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> list[TileStatistics]:
    manifest = load_manifest(tiny_study.write_study(tmp_path_factory.mktemp("study")))
    return [case_statistics(read_case(manifest, case)) for case in manifest.cases[:2]]


def test_best_expert_has_the_least_error_on_training(statistics: list[TileStatistics]) -> None:
    weights = fit_fold(tuple(Expert), statistics, [])
    assert weights.best is Expert.SMORE  # the least blurred of the tiny study
    assert sum(weights.simplex.values()) == pytest.approx(1)
    assert weights.tiles.shape == (*N_TILES, 4)


def test_cautious_weights_are_fitted_on_misled_rows_alone(statistics: list[TileStatistics]) -> None:
    fitted = fit_fold(tuple(Expert), statistics[:1], statistics[1:])
    alone = fit_fold(tuple(Expert), statistics[1:], [])
    assert fitted.cautious == pytest.approx(alone.simplex)
    assert fitted.notes == ()


def test_shipped_cautious_weights_stand_in_and_say_so(statistics: list[TileStatistics]) -> None:
    weights = fit_fold(tuple(Expert), statistics, [])
    assert weights.cautious == pytest.approx(cautious_weights())
    assert "shipped" in weights.notes[0]


def test_volumes_weigh_alike_whatever_their_units(statistics: list[TileStatistics], tmp_path) -> None:
    manifest = load_manifest(tiny_study.write_study(tmp_path))
    volumes = read_case(manifest, manifest.cases[0])
    louder = {expert: 10 * volume for expert, volume in volumes.experts.items()}
    scaled = case_statistics(
        type(volumes)(
            volumes.case, volumes.paths, louder, volumes.grid, 10 * volumes.truth, volumes.known, volumes.low
        )
    )
    np.testing.assert_allclose(scaled.moments, statistics[0].moments, rtol=1e-4)


def test_fold_without_trusted_rows_is_refused(statistics: list[TileStatistics]) -> None:
    with pytest.raises(ValueError, match="told the right profile"):
        fit_fold(tuple(Expert), [], statistics)


@pytest.mark.parametrize(
    ("assumed_std_mm", "wide"), [(None, False), (2.12, False), (2.4, False), (2.7, True)]
)
def test_rows_told_a_fifth_too_much_are_misled(tmp_path, assumed_std_mm: float | None, wide: bool) -> None:
    case = load_manifest(tiny_study.write_study(tmp_path)).cases[0]
    profile = case.profile.model_copy(update={"assumed_std_mm": assumed_std_mm})
    assert told_too_wide(case.model_copy(update={"profile": profile})) is wide

"""Tables of features: resumable, hashed, of one schema, native beside resampled volume."""

import json
from pathlib import Path

import numpy as np
import pytest

from revoxel.core.geometry import Grid
from revoxel.core.provenance import sha256_of
from revoxel.semivae.features import precompute
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.precompute import PrecomputeSettings, precompute_features
from revoxel.semivae.features.resampled import NetworkGrid, resampled_volume_mm3
from revoxel.semivae.features.table import RESAMPLED, read_table, write_table
from revoxel.semivae.study import read_study
from tumours import nested_tumour, write_label, write_study

SMALL = PrecomputeSettings(grid=NetworkGrid(1.875, 40))


@pytest.fixture
def study(tmp_path):
    return read_study(write_study(tmp_path, (9.0, 11.0, 13.0)))


def test_rows_hold_the_features_hashes_and_both_volumes(study, tmp_path):
    shares = []
    result = precompute_features(study, tmp_path / "table.json", SMALL, shares.append)
    table = read_table(tmp_path / "table.json")
    assert shares[-1] == 1.0
    assert [row["scan_id"] for row in table.rows] == ["p0-0", "p1-0", "p2-0"]
    row = table.row("p1-0")
    label, affine = nested_tumour(11.0, centre_mm=(-1.0, -3.0, 0.5))
    expected = extract_tumour_features(label, affine=affine)
    assert row["wt.sphericity"] == pytest.approx(expected.values["wt.sphericity"])
    assert row["sha256"] == sha256_of(tmp_path / "p1-0.nii.gz")
    assert row[RESAMPLED] == pytest.approx(row["wt.volume_mm3"], rel=0.05)
    assert table.units[RESAMPLED] == "mm^3"
    assert not result.failed


def changes_of_log_volume(radius_mm, n_places):
    """Of one ball at many places, from its 1 mm label map to a network's 1.875 mm."""
    rng = np.random.default_rng(0)
    changes = []
    for _ in range(n_places):
        centre_mm = tuple(rng.uniform(-6, 6, 3))
        label, affine = nested_tumour(radius_mm, shape=(60, 57, 55), spacing_mm=1.0, centre_mm=centre_mm)
        native = extract_tumour_features(label, affine=affine).values["wt.log_volume"]
        moved_mm3 = resampled_volume_mm3(label, Grid(label.shape, affine), NetworkGrid(1.875, 48))
        changes.append(np.log(moved_mm3) - native)
    return np.array(changes)


# A mask on one grid with the spacing of another would be wrong by ln(1.875^3) = 1.886.
@pytest.mark.parametrize("radius_mm", [10.0, 12.0, 18.0])
def test_log_volume_survives_the_networks_grid_wherever_the_tumour_lies(radius_mm):
    assert np.abs(changes_of_log_volume(radius_mm, 12)).max() < 0.05


@pytest.mark.parametrize("radius_mm", [6.0, 8.0])
def test_log_volume_of_a_small_tumour_survives_the_networks_grid_on_average(radius_mm):
    # A ball of 3 to 4 voxels gains or loses some with its place on the lattice: nearest neighbour counts
    # points, and no single place keeps within 0.05. The mean does, and none reaches the refusal at 20 %.
    changes = changes_of_log_volume(radius_mm, 30)
    assert abs(changes.mean()) < 0.05
    assert np.abs(changes).max() < 0.2


def test_unchanged_rows_are_kept_and_changed_ones_measured_again(study, tmp_path):
    out = tmp_path / "table.json"
    precompute_features(study, out, SMALL)
    write_label(tmp_path / "p1-0.nii.gz", *nested_tumour(14.0))
    again = precompute_features(study, out, SMALL)
    assert again.n_kept == 2
    assert again.table.row("p1-0")["wt.volume_mm3"] > again.table.row("p2-0")["wt.volume_mm3"]


def test_interrupted_run_goes_on_where_it_stopped(study, tmp_path, monkeypatch):
    out, measure, measured = tmp_path / "table.json", precompute._measure, []

    def stop_at_the_third(task):
        measured.append(task.scan.scan_id)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(task)

    monkeypatch.setattr(precompute, "_measure", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        precompute_features(study, out, SMALL)
    journal = next(tmp_path.glob(".table.json.*"))
    journal.write_text(journal.read_text() + '{"settings": {"half a li')
    assert precompute_features(study, out, SMALL).n_kept == 2
    assert measured == ["p0-0", "p1-0", "p2-0", "p2-0"]
    assert not journal.exists()


def test_workers_give_the_same_table(study, tmp_path):
    precompute_features(study, tmp_path / "one.json", SMALL)
    precompute_features(study, tmp_path / "two.json", PrecomputeSettings(grid=SMALL.grid, n_workers=2))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_failed_scans_are_listed_and_stop_nothing(study, tmp_path):
    (tmp_path / "p0-0.nii.gz").unlink()
    label, affine = nested_tumour(11.0)
    label[0, 0, 0] = 9
    write_label(tmp_path / "p1-0.nii.gz", label, affine)
    result = precompute_features(study, tmp_path / "table.json", SMALL)
    assert [row["scan_id"] for row in result.table.rows] == ["p2-0"]
    assert "existing label map" in result.failed["p0-0"]
    assert "got [9]" in result.failed["p1-0"]
    assert json.loads((tmp_path / "table.record.json").read_text())["failed"] == result.failed


def test_empty_label_map_is_a_row_without_values(study, tmp_path):
    label, affine = nested_tumour()
    write_label(tmp_path / "p0-0.nii.gz", label * 0, affine)
    result = precompute_features(study, tmp_path / "table.json", SMALL)
    assert result.table.row("p0-0")["flags"] == ["empty"]
    assert np.isnan(result.table.row("p0-0")[RESAMPLED])
    assert result.warnings["p0-0"] == "empty"


def test_tumour_that_the_networks_grid_spoils_is_an_error():
    label, affine = nested_tumour(2.0)
    grid = Grid(label.shape, affine)
    with pytest.raises(ValueError, match="within 20%"):
        resampled_volume_mm3(label, grid, NetworkGrid(5.0, 40))
    with pytest.raises(ValueError, match="touches its border"):
        resampled_volume_mm3(nested_tumour(14.0)[0], grid, NetworkGrid(1.0, 16))
    with pytest.raises(ValueError, match="positive"):
        NetworkGrid(0.0)


def test_images_must_lie_on_the_label_map(tmp_path):
    path = write_study(tmp_path, (9.0,))
    label, affine = nested_tumour(9.0)
    rng = np.random.default_rng(0)
    write_label(tmp_path / "t1c.nii.gz", rng.random(label.shape).astype(np.float32), affine)
    plain = json.loads(path.read_text())
    plain["scans"][0]["images"] = {"t1c": "t1c.nii.gz"}
    path.write_text(json.dumps(plain))
    assert not precompute_features(read_study(path), tmp_path / "a.json", SMALL).failed
    affine[0, 3] += 1.0
    write_label(tmp_path / "t1c.nii.gz", rng.random(label.shape).astype(np.float32), affine)
    assert "grid of" in precompute_features(read_study(path), tmp_path / "b.json", SMALL).failed["p0-0"]


def test_other_settings_or_schemas_are_never_mixed(study, tmp_path):
    out = tmp_path / "table.json"
    precompute_features(study, out, SMALL)
    with pytest.raises(ValueError, match="same settings"):
        precompute_features(study, out, PrecomputeSettings(grid=None))
    old = json.loads(out.read_text()) | {"schema_version": "0"}
    out.write_text(json.dumps(old))
    with pytest.raises(ValueError, match="schema 1, got '0'"):
        precompute_features(study, out, SMALL)
    precompute_features(study, out, PrecomputeSettings(grid=None, overwrite=True))
    assert np.isnan(read_table(out).row("p0-0")[RESAMPLED])


def test_parquet_and_json_hold_the_same(study, tmp_path):
    pytest.importorskip("pyarrow")
    first = precompute_features(study, tmp_path / "table.parquet", SMALL).table
    write_table(first, tmp_path / "copy.json")
    one, two = read_table(tmp_path / "table.parquet"), read_table(tmp_path / "copy.json")
    assert one.settings == two.settings
    assert one.units == two.units
    np.testing.assert_equal([dict(row) for row in one.rows], [dict(row) for row in two.rows])
    record = json.loads((tmp_path / "table.record.json").read_text())
    assert (record["n_scans"], record["sha256"]) == (3, sha256_of(tmp_path / "table.parquet"))


@pytest.mark.parametrize("name", ["table.csv", "table"])
def test_table_of_another_kind_is_refused_before_work(study, tmp_path, name):
    with pytest.raises(ValueError, match=r"\.parquet or \.json"):
        precompute_features(study, tmp_path / name)


def test_file_that_is_no_table_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    for name, text in (("a.json", "{}"), ("b.parquet", "PAR1"), ("c.json", "[1")):
        Path(tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="must be"):
            read_table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="existing feature table"):
        read_table(tmp_path / "none.json")

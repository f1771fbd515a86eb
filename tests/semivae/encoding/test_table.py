"""One row per visit, and growth can read the table."""

import csv

import numpy as np
import pytest

from revoxel.semivae.encoding.planning import EncodeSettings, plan_encoding
from revoxel.semivae.encoding.run import encode
from revoxel.semivae.encoding.table import TABLE, feature_rows, row_of, visit_row, write_table
from revoxel.semivae.encoding.visits import find_visits
from revoxel.semivae.growth.records import read_growth_csv
from revoxel.semivae.network.models import load_model
from tiny_semivae import PARTITION, tiny_checkpoint
from tumour_visits import write_study


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two patients of two visits, encoded."""
    folder = tmp_path_factory.mktemp("study")
    model = load_model(tiny_checkpoint(folder / "model.pt"))
    records = []
    for visit in find_visits([write_study(folder, 2, 2)]):
        plan = plan_encoding(visit, folder / "out", EncodeSettings(model.path))
        records.append(encode(plan, model))
    return folder / "out", records


def test_table_has_a_row_per_record_and_is_what_growth_reads(results):
    out, records = results
    path = write_table(out)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert path.name == TABLE
    assert [row["scan"] for row in rows] == ["p0-0", "p0-1", "p1-0", "p1-1"]
    assert [row["latent"] for row in rows] == [f"{row['scan']}_latent.json" for row in rows]
    assert float(rows[0]["predicted.wt.log_volume"]) == pytest.approx(
        records[0]["predictions"]["wt.log_volume"]["value"]
    )
    cohort = read_growth_csv(path)
    assert [(one.patient_id, one.n_visits) for one in cohort] == [("p0", 2), ("p1", 2)]
    assert all(one.log_volumes[1] > one.log_volumes[0] for one in cohort)
    place = PARTITION.slices["loc"]
    np.testing.assert_allclose(cohort[0].latent["loc"], records[0]["mu"][place])


def test_folder_without_records_has_no_table(tmp_path):
    assert write_table(tmp_path) is None


def test_foreign_record_is_refused(tmp_path):
    (tmp_path / "x_latent.json").write_text('{"mu": []}')
    with pytest.raises(ValueError, match=r"x_latent\.json must be a record of revoxel semivae encode"):
        write_table(tmp_path)


def test_console_shows_what_is_known(results):
    out, _ = results
    from revoxel.core.provenance import read_sidecar

    record = read_sidecar(out / "p0-0_latent.json")
    assert visit_row(record)["measured, ml"] == pytest.approx(row_of(record)["volume_mm3"] / 1000)
    blind = record | {"measured": None, "coverage": None}
    blind["predictions"] = {name: one | {"measured": None} for name, one in record["predictions"].items()}
    assert visit_row(blind)["measured, ml"] == visit_row(blind)["distance"] == "-"
    assert feature_rows(blind)["wt.sphericity"]["measured"] == "-"
    assert row_of(blind)["volume_mm3"] is None

"""A cohort on disk is the data set in memory, goes on where it stopped, and replaces nothing by accident."""

import csv

import numpy as np
import pytest

from revoxel.core.pulses import Pulse
from revoxel.core.volumes import read_volume
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.growth.records import read_growth_csv
from revoxel.semivae.simulation import cohort
from revoxel.semivae.simulation.cohort import CohortRecipe, patients_to_make, write_cohort
from revoxel.semivae.simulation.course import CourseSettings
from revoxel.semivae.simulation.dataset import SyntheticTumourDataset
from revoxel.semivae.simulation.phantom import PhantomSettings
from revoxel.semivae.study import read_study

PHANTOM = PhantomSettings(voxel_mm=6.0, radius_mm=(14.0, 26.0))


def recipe(n_patients=3, **changes):
    return CohortRecipe(n_patients, **{"phantom": PHANTOM, "seed": 5} | changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), recipe())


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown")
    return write_cohort(folder, recipe(2, course=CourseSettings(n_visits=(2, 3))))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_the_items_of_the_data_set(written):
    study = read_study(written.study)
    for index, scan in enumerate(study.scans):
        item = SyntheticTumourDataset(3, 5, PHANTOM)[index]
        assert scan.patient_id == item["patient_id"]
        assert scan.images.keys() == set(Pulse)
        for at, pulse in enumerate(Pulse):
            volume = read_volume(study.resolve(scan.images[pulse]))
            np.testing.assert_array_equal(volume.data, item["image"][at].numpy())
            np.testing.assert_allclose(volume.grid.affine, item["affine"].numpy())
        label = read_volume(study.resolve(scan.label))
        np.testing.assert_array_equal(label.data, item["label"].numpy())


def test_folds_are_of_patients_and_apart(grown, written):
    assert read_study(grown.study).folds == []  # two patients are too few for three parts
    study = read_study(written.study)
    for fold in study.folds:
        assert sorted([*fold.train, *fold.val, *fold.test]) == sorted(scan.patient_id for scan in study.scans)


def test_volumes_over_time_are_those_of_the_label_maps(grown):
    study, records = read_study(grown.study), read_growth_csv(grown.visits)
    assert sum(record.n_visits for record in records) == grown.n_scans == len(study.scans)
    for record in records:
        for visit, scan in enumerate(study.scans_of([record.patient_id])):
            label = read_volume(study.resolve(scan.label))
            values = extract_tumour_features(label.data, affine=label.grid.affine).values
            assert record.log_volumes[visit] == pytest.approx(values["wt.log_volume"])
            assert record.times_years[visit] == pytest.approx(scan.time_years)


def test_truth_holds_rate_and_capacity_of_every_visit(grown):
    rows = rows_of(grown.truth)
    assert [row["scan_id"] for row in rows] == [scan.scan_id for scan in read_study(grown.study).scans]
    assert {row["alpha_per_year"] for row in rows if row["scan_id"].startswith("phantom-5-00000")} == {
        rows[0]["alpha_per_year"]
    }
    assert all(float(row["log_capacity"]) > float(row["log_v0"]) for row in rows)


def test_a_cohort_that_stopped_goes_on(tmp_path, monkeypatch):
    real = cohort.write_volume
    calls = []

    def breaks(*arguments, **options):
        calls.append(1)
        if len(calls) == 8:  # the third file of the second patient
            msg = "disk full"
            raise OSError(msg)
        return real(*arguments, **options)

    monkeypatch.setattr(cohort, "write_volume", breaks)
    with pytest.raises(OSError, match="disk full"):
        write_cohort(tmp_path, recipe(2))
    assert sorted(path.name for path in (tmp_path / "phantom-5-00001").iterdir()) == []
    assert not (tmp_path / cohort.STUDY).exists()
    assert patients_to_make(tmp_path, recipe(2)) == [1]
    shares = []
    done = write_cohort(tmp_path, recipe(2), shares.append)
    assert done.n_kept == 1
    assert shares == [0.5, 1.0]
    assert done.picture.stat().st_size > 10_000


def test_a_damaged_patient_is_never_taken_for_a_whole_one(tmp_path):
    write_cohort(tmp_path, recipe(1))
    victim = tmp_path / "phantom-5-00000" / "phantom-5-00000-0-t1c.nii.gz"
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(FileExistsError, match=r"missing or changed: phantom-5-00000-0-t1c.nii.gz"):
        write_cohort(tmp_path, recipe(1))
    assert write_cohort(tmp_path, recipe(1), overwrite=True).n_kept == 0
    assert patients_to_make(tmp_path, recipe(1)) == []


def test_a_larger_cohort_keeps_the_smaller_one(written):
    folder = written.study.parent
    assert patients_to_make(folder, recipe(5)) == [3, 4]


@pytest.mark.parametrize(
    "other",
    [
        recipe(1, seed=6),
        recipe(2),
        recipe(3, phantom=PhantomSettings(voxel_mm=5.0)),
        recipe(3, course=CourseSettings()),
    ],
    ids=["seed", "fewer", "voxels", "visits"],
)
def test_another_cohort_is_kept(written, other):
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        patients_to_make(written.study.parent, other)


def test_a_study_of_someone_else_is_kept(tmp_path):
    (tmp_path / cohort.STUDY).write_text("{}")
    with pytest.raises(FileExistsError, match="something else"):
        write_cohort(tmp_path, recipe(1))
    assert (tmp_path / cohort.STUDY).read_text() == "{}"


def test_overwriting_leaves_nothing_of_the_old_patient(tmp_path):
    write_cohort(tmp_path, recipe(1, course=CourseSettings(n_visits=(3, 3))))
    write_cohort(tmp_path, recipe(1), overwrite=True)
    scans = {path.name.split("-")[3] for path in (tmp_path / "phantom-5-00000").glob("*.nii.gz")}
    assert scans == {"0"}


@pytest.mark.parametrize("changes", [{"n_patients": 0}, {"seed": -1}])
def test_an_empty_cohort_is_refused(changes):
    with pytest.raises(ValueError, match="patients must be at least 1"):
        recipe(**changes)

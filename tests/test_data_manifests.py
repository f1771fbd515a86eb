"""Data manifests are whole, coherent, and describe the very files that lie in the data folder."""

import importlib.util
import json
import sys
from pathlib import Path

import nibabel
import pytest

from revoxel.core.volumes import read_volume

REPOSITORY = Path(__file__).resolve().parents[1]
MANIFESTS = sorted((REPOSITORY / "data_manifests").glob("*.json"))


@pytest.fixture(scope="module")
def public_volumes():
    """The benchmarks' module that reads the catalogue."""
    spec = importlib.util.spec_from_file_location(
        "public_volumes", REPOSITORY / "benchmarks/public_volumes.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_is_valid(public_volumes, path):
    assert public_volumes.load_catalogue(path).volumes


def test_only_descriptions_are_kept_there():
    suffixes = {path.suffix for path in (REPOSITORY / "data_manifests").iterdir()}
    assert suffixes <= {".json", ".csv", ".md"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "nowhere"}, "volumes.0.source"),
        ({"sha256": "12"}, "sha256"),
        ({"true_axes": []}, "volumes.0 must have true_axes"),
        ({"pulse": None}, "a pulse"),
        ({"source": "figshare_mr_gd"}, "licence bars"),
        ({"file": "mri/openms/p07_T1.nii.gz"}, "listed once"),
    ],
)
def test_a_wrong_entry_is_named(public_volumes, tmp_path, changes, words):
    content = json.loads(public_volumes.CATALOGUE.read_text())
    content["volumes"][0] |= changes
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        public_volumes.load_catalogue(path)


def test_a_patient_teaches_or_evaluates_never_both(public_volumes):
    role = public_volumes.Role
    teachers = {volume.patient for volume in public_volumes.ALL.of(role.TRAIN, role.PLANES)}
    assert teachers.isdisjoint(volume.patient for volume in public_volumes.ALL.of(role.EVALUATE))


def test_ct_of_unknown_provenance_trains_nothing_that_ships(public_volumes):
    """And a CT patient teaches or evaluates, never both."""
    teachers, judged = (
        public_volumes.ALL.of(public_volumes.Role(f"ct_{kind}")) for kind in ("train", "evaluate")
    )
    assert teachers
    assert all(public_volumes.ALL.sources[volume.source].weights_may_ship for volume in teachers)
    assert "ct/lidc_chest.nii.gz" in {volume.file for volume in judged}
    assert {volume.patient for volume in teachers}.isdisjoint(volume.patient for volume in judged)


def test_warm_starts_without_a_patient_do_not_see_its_files(public_volumes):
    everything = set(public_volumes.planes_for("all"))
    for patient in {volume.patient for volume in public_volumes.VOLUMES if volume.may_train}:
        left = set(public_volumes.planes_for(public_volumes.warm_folder(patient)))
        gone = {volume.file for volume in public_volumes.VOLUMES if volume.patient == patient}
        assert left == everything - gone


def test_files_at_hand_are_those_of_the_catalogue(public_volumes, data_path):
    assert public_volumes.differences(data_path("mri").parent) == []
    for volume in public_volumes.ALL.volumes:
        if data_path(volume.file).is_dir():
            grid = read_volume(data_path(volume.file)).grid
            assert (grid.shape, grid.spacing_mm) == (volume.shape, pytest.approx(volume.spacing_mm, abs=1e-4))
            continue
        header = nibabel.load(data_path(volume.file)).header
        assert header.get_data_shape() == volume.shape
        assert header.get_zooms()[:3] == pytest.approx(volume.spacing_mm, abs=1e-4)


def test_absent_and_changed_files_are_told_apart(public_volumes, tmp_path):
    first = public_volumes.ALL.volumes[0].file
    (tmp_path / first).parent.mkdir(parents=True)
    (tmp_path / first).write_bytes(b"something else")
    lines = public_volumes.differences(tmp_path)
    assert len(lines) == len(public_volumes.ALL.volumes)
    assert "another file" in lines[0]
    assert "missing" in lines[1]

"""Which model a scan gets."""

from pathlib import Path

import pytest

from revoxel.core.pulses import Pulse, Spacing
from revoxel.label.models import check_fit, models_with_weights, subject_of
from revoxel.label.refusals import RefusedError


def test_every_shipped_gate_is_a_model():
    models = models_with_weights()
    assert len(models) == 12
    assert models["sagnef_5mm_t1c"].pulse is Pulse.t1c
    assert models["sagnef_5mm_t1c"].spacing is Spacing.mm5


def test_bundles_without_weights_are_no_models(tmp_path):
    folder = tmp_path / "sagnef_5mm_t1c" / "configs"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
    assert not models_with_weights(tmp_path)


def test_bundles_of_other_systems_are_left_alone(tmp_path):
    for part in ("configs/metadata.json", "models/model.pt"):
        path = tmp_path / "asl_vae" / part
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert not models_with_weights(tmp_path)


@pytest.mark.parametrize("name", ["sagnef", "sagnef_5mm_t1c"])
def test_fitting_model_is_taken(name):
    check_fit(name, Pulse.t1c, Spacing.mm5)


@pytest.mark.parametrize("name", ["sagnef_3mm_t1c", "sagnef_5mm_t2w"])
def test_model_for_other_scans_is_refused_with_the_one_that_fits(name):
    with pytest.raises(RefusedError, match=f"sagnef_5mm_t1c.*got {name}"):
        check_fit(name, Pulse.t1c, Spacing.mm5)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("BraTS-GLI-00001-000-t1c.nii.gz", "BraTS-GLI-00001-000"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "sub-01"),
        ("sub-01_ses-2_T1w.nii", "sub-01_ses-2"),
        ("TCGA-FG-6692_T1POST.nii.gz", "TCGA-FG-6692"),
        ("demo-001-t1n_LR.nii.gz", "demo-001"),
        ("case7.nii.gz", "case7"),
        ("flair.nii.gz", "flair"),
    ],
)
def test_subject_is_the_name_without_its_pulse(name, subject):
    assert subject_of(Path("x") / name) == subject

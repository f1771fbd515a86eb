"""Heads differ smoothly; a mass pushes tissue outwards and leaves the skull alone."""

import csv
from pathlib import Path

import nilearn
import numpy as np
import pytest
import torch

from revoxel.core.provenance import sha256_of
from revoxel.semivae.simulation.anatomy import MassEffect, draw_anatomy
from revoxel.semivae.simulation.fields import smooth_lattice
from revoxel.semivae.simulation.template import template_maps

NO_MASS = MassEffect((0.0, 0.0, 0.0), 10.0, 0.0, 10.0)


@pytest.fixture(scope="module")
def template():
    return template_maps(6.0)


def test_template_is_the_one_of_the_data_manifest(repository):
    """Another one would give other phantoms, perhaps under another licence."""
    with (repository / "data_manifests" / "packaged_data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["package"] for row in rows} == {"nilearn"}
    for row in rows:
        assert sha256_of(Path(nilearn.__file__).parent / row["file"]) == row["sha256"], row["what"]


def test_template_maps_are_made_once(template):
    assert template_maps(6.0) is template


def test_template_is_a_brain_in_mni_space(template):
    brain_litres = float(template.brain.sum()) * template.voxel_mm**3 / 1e6
    assert 1.7 < brain_litres < 2.0
    assert template.tissues.min() >= 0
    assert template.tissues.max() <= 1
    assert (template.tissues[1:].sum(dim=0) <= 1.02).all()
    edges = template.brain[0].clone()
    edges[1:-1, 1:-1, 1:-1] = 0
    assert edges.max() < 0.01


@pytest.mark.parametrize("voxel_mm", [0.5, 9.0, float("nan")])
def test_voxels_that_no_template_has_are_refused(voxel_mm):
    with pytest.raises(ValueError, match="voxel_mm must be from 1 to 8"):
        template_maps(voxel_mm)


def test_lattices_have_unit_variance_everywhere():
    rng = np.random.default_rng(0)
    fields = smooth_lattice(1500, (60.0, 40.0, 20.0), 24.0, rng)[0]
    np.testing.assert_allclose(fields.std(dim=0).numpy(), 1.0, atol=0.08)


def test_tissue_moves_outwards_by_the_share_of_the_radius_and_no_further_away():
    mass = MassEffect((2.0, 0.0, 0.0), 10.0, 0.4, 8.0)
    along_mm = torch.tensor([2.0, 7.0, 12.0, 20.0, 100.0])
    points = torch.zeros(3, 5, 1, 1)
    points[0, :, 0, 0] = along_mm
    moved_mm = (points - mass.origin_of(points))[0, :, 0, 0].numpy()
    expected = [0.0, 2.0, 4.0, 4.0 * np.exp(-1.0), 4.0 * np.exp(-88 / 8)]
    np.testing.assert_allclose(moved_mm, expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.45])
def test_mass_effect_never_folds(share):
    mass = MassEffect((0.0, 0.0, 0.0), 20.0, share, 0.6 * 20.0)
    points = torch.zeros(3, 200, 1, 1)
    points[0, :, 0, 0] = torch.linspace(0.0, 80.0, 200)
    origins = mass.origin_of(points)[0, :, 0, 0]
    assert (origins.diff() > 0).all()


def test_mass_pushes_tissue_but_not_the_skull(template):
    anatomy = draw_anatomy(template, np.random.default_rng(1))
    mass = MassEffect((25.0, 0.0, 10.0), 15.0, 0.4, 12.0)
    before, after = anatomy.tissues(NO_MASS), anatomy.tissues(mass)
    far = (anatomy.points_mm() - torch.tensor(mass.centre_mm).reshape(3, 1, 1, 1)).norm(dim=0) > 80
    assert (before - after).abs()[:, ~far].max() > 0.2
    assert (before - after).abs()[:, far].max() < 0.02


def test_heads_differ_by_a_few_millimetres(template):
    field = draw_anatomy(template, np.random.default_rng(2)).displacement_mm
    assert 2.0 < float(field.std()) < 6.0
    steps = field.diff(dim=2).abs().max()
    assert float(steps) < 12.0  # nodes lie 12 mm apart: no folding


def test_a_place_of_the_template_is_found_in_the_head(template):
    anatomy = draw_anatomy(template, np.random.default_rng(3))
    index = np.array([14.0, 17.0, 12.0])
    place_mm = torch.tensor(anatomy.place_of(index), dtype=torch.float32).reshape(3, 1, 1, 1)
    half_mm = anatomy.half_mm.numpy()
    found = (anatomy._in_template(place_mm).numpy().ravel() + 1) * half_mm / template.voxel_mm
    np.testing.assert_allclose(found, index, atol=0.05)

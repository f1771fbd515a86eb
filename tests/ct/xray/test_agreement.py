"""Views against a volume: the error is zero for its own X-rays, and wrong arrangements are named."""

import pytest
import torch

from revoxel.ct.xray.agreement import refuse_other_arrangement, reprojection_error
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

SPACING_MM = (12.0, 12.0, 12.0)
GEOMETRY = XrayGeometry("cone", size=32)


def lopsided() -> torch.Tensor:
    """A body that looks different from every side: belly below, heart left, spine behind, HU."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, 20),) * 3, indexing="ij")
    hu = torch.full((20, 20, 20), -1000.0)
    hu[(x / 0.9) ** 2 + (y / 0.6) ** 2 < 1] = 40.0
    hu[((x - 0.1) / 0.7) ** 2 + ((y - 0.05) / 0.4) ** 2 + ((z - 0.4) / 0.9) ** 2 < 1] = -850.0
    hu[((x + 0.3) / 0.3) ** 2 + ((y - 0.2) / 0.3) ** 2 + (z / 0.4) ** 2 < 1] = 40.0
    hu[(x / 0.2) ** 2 + ((y + 0.45) / 0.2) ** 2 < 1] = 1200.0
    return hu[None, None]


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    return project_views(lopsided(), SPACING_MM, GEOMETRY)


def test_own_views_have_no_error(views):
    errors = reprojection_error(lopsided(), views, SPACING_MM, GEOMETRY)
    assert errors["rmse_nepers"] == pytest.approx(0.0, abs=1e-6)
    assert errors["frontal_correlation"] == pytest.approx(1.0)


def test_error_is_in_nepers_and_relative(views):
    errors = reprojection_error(lopsided(), views + 0.5, SPACING_MM, GEOMETRY)
    assert errors["rmse_nepers"] == pytest.approx(0.5, rel=1e-4)
    assert errors["lateral_relative"] == pytest.approx(
        0.5 / float((views[:, 1] + 0.5).square().mean().sqrt()), rel=1e-4
    )


def test_right_views_are_accepted(views):
    assert refuse_other_arrangement(views[0] * 30 + 7, views[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda v: v.flip(0), r"exchange --frontal and --lateral\.$"),
        (lambda v: torch.stack([v[0].flip(1), v[1]]), r"; --flip-frontal\.$"),
        (lambda v: torch.stack([v[0], v[1].flip(1)]), r"; --flip-lateral\.$"),
        (lambda v: v.flip(2), r"; --flip-frontal and --flip-lateral\.$"),
        (lambda v: torch.stack([v[0], v[1].flip(2)]), r"; --mirror-lateral\.$"),
        (lambda v: v.flip(0).flip(2), r"exchange .* and --flip-frontal and --flip-lateral\.$"),
        (lambda v: torch.exp(-v / 4), "transmission"),
    ],
    ids=["swapped", "frontal", "lateral", "both", "mirrored", "swapped and flipped", "inverted"],
)
def test_wrong_arrangement_is_refused_with_its_remedy(views, change, remedy):
    with pytest.raises(ValueError, match=remedy):
        refuse_other_arrangement(change(views[0]), views[0])


def test_blank_views_have_no_correlation(views):
    assert refuse_other_arrangement(torch.zeros_like(views[0]), views[0]) == 0.0


def test_wrong_number_of_views_is_refused(views):
    with pytest.raises(ValueError, match="one frontal and one lateral"):
        reprojection_error(lopsided(), views[:, :1], SPACING_MM, GEOMETRY)

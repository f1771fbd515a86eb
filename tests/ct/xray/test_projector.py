"""X-ray projector: laws of an integral, of geometry and of a linear operator."""

import math

import pytest
import torch
from torch.nn.functional import grid_sample

from laws import adjoint_error, assert_batch_equals_singles, assert_gradient, assert_linear
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import attenuation_per_mm, lift, line_integrals, project_views

VIEWS = list(View)
PARALLEL = XrayGeometry("parallel", size=20)
CONE = XrayGeometry("cone", size=20)
SPACING_MM = (3.0, 2.0, 4.0)


def random_volume(shape=(12, 15, 10), seed=0) -> torch.Tensor:
    return torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coordinates_mm(shape, spacing_mm):
    axes = [
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * step
        for n, step in zip(shape, spacing_mm, strict=True)
    ]
    return torch.meshgrid(*axes, indexing="ij")


def sphere(shape, spacing_mm, radius_mm, n_fine=3, centre_mm=(0.0, 0.0, 0.0)) -> torch.Tensor:
    """Share of each voxel inside a sphere, from `n_fine`^3 points per voxel."""
    fine_mm = [step / n_fine for step in spacing_mm]
    x, y, z = coordinates_mm([n * n_fine for n in shape], fine_mm)
    inside = (x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2 < radius_mm**2
    return torch.nn.functional.avg_pool3d(inside.double()[None, None], n_fine)


def one_grid_sample_per_plane(volume, spacing_mm, geometry, view) -> torch.Tensor:
    """The definition, for pixels no wider than a voxel."""
    shape = volume.shape[2:]
    axis, across = view.depth_axis, view.column_axis
    extent_mm = [n * step for n, step in zip(shape, spacing_mm, strict=True)]
    pixel_mm = geometry.on(tuple(shape), spacing_mm).pixel_mm
    on_detector_mm = -(torch.arange(geometry.size, dtype=torch.float64) - (geometry.size - 1) / 2) * pixel_mm
    planes = volume[0, 0].permute(axis, across, 2)
    total = 0
    for index, plane in enumerate(planes):
        depth_mm = (index - (shape[axis] - 1) / 2) * spacing_mm[axis]
        ratio = 1.0
        if geometry.kind == "cone":
            distance_mm = geometry.source_to_isocentre_mm - view.source_side * depth_mm
            ratio = distance_mm / geometry.source_to_detector_mm
        row, column = torch.meshgrid(on_detector_mm, on_detector_mm, indexing="ij")
        points = torch.stack([row * ratio / extent_mm[2] * 2, column * ratio / extent_mm[across] * 2], -1)
        total = total + grid_sample(plane[None, None], points[None], align_corners=False)
    cosine = 1.0
    if geometry.kind == "cone":
        length_mm = (row**2 + column**2 + geometry.source_to_detector_mm**2).sqrt()
        cosine = geometry.source_to_detector_mm / length_mm
    return total * spacing_mm[axis] / cosine


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_equals_one_grid_sample_per_plane(kind, view):
    volume = random_volume()
    geometry = XrayGeometry(kind, 120.0, 170.0, size=48)
    expected = one_grid_sample_per_plane(volume, SPACING_MM, geometry, view)
    torch.testing.assert_close(line_integrals(volume, SPACING_MM, geometry, view), expected)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("geometry", [PARALLEL, CONE], ids=["parallel", "cone"])
def test_linear_with_autograd_as_its_adjoint(geometry, view):
    shape = (1, 1, 7, 6, 5)

    def forward(volume):
        return line_integrals(volume, SPACING_MM, geometry, view)

    def adjoint(image):
        volume = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(forward(volume), volume, image)[0]

    assert_linear(forward, shape, tolerance=1e-9)
    assert adjoint_error(forward, adjoint, shape) < 1e-12


@pytest.mark.parametrize("geometry", [PARALLEL, CONE], ids=["parallel", "cone"])
def test_gradient_equals_finite_differences(geometry):
    hu = (random_volume((4, 5, 3)) * 900 - 700).requires_grad_()
    assert_gradient(lambda volume: project_views(volume, SPACING_MM, geometry), hu)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_sphere_has_its_analytic_chord(kind, view):
    """Chord through a sphere at the isocentre: 2 sqrt(R^2 - b^2), b the ray's distance from its centre."""
    spacing_mm, radius_mm = (1.5, 2.0, 2.5), 30.0
    shape = tuple(round(72 / step) for step in spacing_mm)
    geometry = XrayGeometry(kind, 300.0, 400.0, pixel_mm=1.0, size=96)
    image = line_integrals(sphere(shape, spacing_mm, radius_mm), spacing_mm, geometry, view)[0, 0]
    on_detector_mm = torch.arange(96, dtype=torch.float64) - 47.5
    distance_mm = torch.hypot(on_detector_mm[:, None], on_detector_mm[None])
    if kind == "cone":
        distance_mm = 300 * torch.sin(torch.atan(distance_mm / 400))
    chord_mm = 2 * (radius_mm**2 - distance_mm**2).clamp(min=0).sqrt()
    inner = distance_mm < 0.8 * radius_mm
    assert float(((image - chord_mm).abs() / chord_mm)[inner].max()) < 0.02
    assert float((image - chord_mm)[inner].abs().mean() / chord_mm[inner].mean()) < 0.01


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("size", "tolerance"), [(16, 1e-9), (40, 1e-2), (200, 1e-3)])
def test_parallel_view_keeps_mass(size, tolerance, view):
    """Every voxel's attenuation arrives once: exactly in pixels wider than voxels, else as interpolated."""
    volume = torch.zeros(1, 1, 20, 24, 18, dtype=torch.float64)
    volume[..., 4:-4, 4:-4, 4:-4] = random_volume((12, 16, 10))
    geometry = XrayGeometry("parallel", size=size)
    pixel_mm = geometry.on((20, 24, 18), SPACING_MM).pixel_mm
    image = line_integrals(volume, SPACING_MM, geometry, view)
    mass = float(volume.sum() * math.prod(SPACING_MM))
    assert float(image.sum() * pixel_mm**2) == pytest.approx(mass, rel=tolerance)


@pytest.mark.parametrize("view", VIEWS)
def test_cone_becomes_parallel_as_the_source_recedes(view):
    volume = random_volume((20, 20, 20))
    parallel = line_integrals(volume, SPACING_MM, XrayGeometry("parallel", pixel_mm=2.0, size=32), view)

    def gap(source_mm):
        cone = XrayGeometry("cone", source_mm, source_mm + 170.0, pixel_mm=2.0, size=32)
        return float((line_integrals(volume, SPACING_MM, cone, view) - parallel).abs().max() / parallel.max())

    gaps = [gap(distance_mm) for distance_mm in (1e3, 1e4, 1e5, 1e8)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4


def test_oblique_rays_run_longer_through_a_slab():
    """Through a wide slab of thickness d a ray at angle theta runs d / cos(theta)."""
    slab = torch.zeros(1, 1, 80, 3, 80, dtype=torch.float64)
    slab[:, :, :, 1] = 1.0
    geometry = XrayGeometry("cone", 100.0, 150.0, pixel_mm=4.0, size=20)
    image = line_integrals(slab, (2.0, 5.0, 2.0), geometry, View.FRONTAL)[0, 0]
    on_detector_mm = (torch.arange(20, dtype=torch.float64) - 9.5) * 4.0
    cosine = 150 / (on_detector_mm[:, None] ** 2 + on_detector_mm[None] ** 2 + 150.0**2).sqrt()
    torch.testing.assert_close(image, 5.0 / cosine)


@pytest.mark.parametrize(
    ("view", "voxel", "pixel"),
    [
        (View.FRONTAL, (9, 4, 8), (2, 1)),
        (View.FRONTAL, (1, 0, 8), (2, 9)),
        (View.LATERAL, (3, 9, 1), (9, 1)),
        (View.LATERAL, (3, 1, 8), (2, 9)),
    ],
)
def test_images_are_upright_and_radiological(view, voxel, pixel):
    """Superior on top; the frontal view's first column is the patient's right, the lateral's is anterior."""
    volume = torch.zeros(1, 1, 11, 11, 11)
    volume[(0, 0, *voxel)] = 1.0
    image = line_integrals(volume, (1.0, 1.0, 1.0), XrayGeometry("parallel", size=11), view)[0, 0]
    assert divmod(int(image.argmax()), 11) == pixel


def test_what_is_nearer_to_the_source_is_magnified_more():
    near, far = torch.zeros(2, 1, 1, 21, 21, 21).unbind()
    near[..., 7:14, 1, 10] = 1.0
    far[..., 7:14, 19, 10] = 1.0
    geometry = XrayGeometry("cone", 60.0, 90.0, size=64)
    widths = [
        int((line_integrals(volume, (1.0, 1.0, 1.0), geometry, View.FRONTAL) > 0.5).sum(dim=-1).max())
        for volume in (near, far)
    ]
    assert widths[0] > 1.2 * widths[1]


def test_batch_equals_singles():
    batch = torch.rand(3, 1, 6, 7, 5, dtype=torch.float64) * 900 - 700
    assert_batch_equals_singles(lambda hu: project_views(hu, SPACING_MM, CONE), batch)


def test_air_and_padding_do_not_attenuate():
    assert attenuation_per_mm(torch.tensor([-2048.0, -1000.0, 0.0, 1000.0])).tolist() == pytest.approx(
        [0.0, 0.0, 0.02, 0.04]
    )


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("geometry", [PARALLEL, CONE], ids=["parallel", "cone"])
def test_lift_puts_a_point_on_the_ray_that_saw_it(geometry, view):
    volume = torch.zeros(1, 1, 13, 13, 13, dtype=torch.float64)
    volume[0, 0, 8, 4, 9] = 1.0
    image = line_integrals(volume, SPACING_MM, geometry, view)
    lifted = lift(image, (13, 13, 13), SPACING_MM, geometry, view)[0, 0]
    plane = lifted.movedim(view.depth_axis, 0)[8 if view is View.LATERAL else 4]
    expected = (4 if view is View.LATERAL else 8, 9)
    assert divmod(int(plane.argmax()), 13) == expected


@pytest.mark.parametrize("n_pixels", [5, 20, 33])
@pytest.mark.parametrize("geometry", [PARALLEL, CONE], ids=["parallel", "cone"])
def test_lift_of_a_constant_is_that_constant_where_seen(geometry, n_pixels):
    lifted = lift(torch.full((1, 2, n_pixels, n_pixels), 3.0), (9, 8, 7), SPACING_MM, geometry, View.FRONTAL)
    assert lifted.shape == (1, 2, 9, 8, 7)
    seen = lifted[lifted != 0]
    torch.testing.assert_close(seen, torch.full_like(seen, 3.0))
    assert seen.numel() > 0.9 * lifted.numel()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "fan"}, "parallel or cone"),
        ({"source_to_isocentre_mm": -1.0}, "positive length"),
        ({"pixel_mm": math.nan}, "positive length"),
        ({"size": 1}, "at least 2"),
        ({"source_to_detector_mm": 100.0}, "swap them"),
    ],
)
def test_bad_geometry_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        XrayGeometry(**arguments)


def test_bad_volumes_are_refused():
    with pytest.raises(ValueError, match="batch, 1, x, y, z"):
        project_views(torch.zeros(1, 2, 4, 4, 4), SPACING_MM, CONE)
    with pytest.raises(ValueError, match="three positive"):
        project_views(torch.zeros(1, 1, 4, 4, 4), (1.0, 0.0, 1.0), CONE)
    with pytest.raises(ValueError, match="half the volume's depth"):
        project_views(torch.zeros(1, 1, 4, 4, 4), (500.0, 500.0, 500.0), CONE)
    with pytest.raises(ValueError, match="batch, channel, row"):
        lift(torch.zeros(4, 4), (4, 4, 4), SPACING_MM, CONE, View.FRONTAL)

"""Views from files: what was written comes back, units mean what they say, bad files are named."""

import json

import numpy as np
import pydicom
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.io import imsave

from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.geometry_file import GeometryRecord, read_geometry, write_geometry
from revoxel.ct.xray.projector import project_views
from revoxel.ct.xray.transforms import LoadViewsd, ProjectViewsd
from revoxel.ct.xray.view_files import ViewsUnit, views_beside
from revoxel.ct.xray.views import ViewOptions, load_views, require_nepers, settle_views

SIZE = 32
SPACING_MM = (12.0, 12.0, 12.0)
GEOMETRY = XrayGeometry("cone", size=SIZE)


def chest() -> torch.Tensor:
    """Different from every side, HU."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, 20),) * 3, indexing="ij")
    hu = torch.full((20, 20, 20), -1000.0)
    hu[(x / 0.9) ** 2 + (y / 0.6) ** 2 < 1] = 40.0
    hu[((x - 0.1) / 0.7) ** 2 + ((y - 0.05) / 0.4) ** 2 + ((z - 0.4) / 0.9) ** 2 < 1] = -850.0
    hu[(x / 0.2) ** 2 + ((y + 0.45) / 0.2) ** 2 < 1] = 1200.0
    return hu[None, None]


@pytest.fixture(scope="module")
def nepers() -> torch.Tensor:
    return project_views(chest(), SPACING_MM, GEOMETRY)[0]


def save_pair(folder, images, suffix=".tiff"):
    paths = [folder / f"case_{name}_drr{suffix}" for name in ("pa", "lat")]
    for path, image in zip(paths, images, strict=True):
        imsave(path, np.asarray(image), check_contrast=False)
    return paths


def save_dicom(path, values, pixel_mm=2.0, photometric="MONOCHROME2"):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    item.Modality, item.PhotometricInterpretation = "DX", photometric
    item.Rows, item.Columns = values.shape
    item.SamplesPerPixel, item.PixelRepresentation = 1, 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 12, 11
    item.ImagerPixelSpacing = [pixel_mm, pixel_mm]
    item.PixelData = values.astype(np.uint16).tobytes()
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path


def as_levels(image, top) -> np.ndarray:
    return np.rint(np.asarray(image) / float(image.max()) * top)


def test_nepers_come_back(nepers, tmp_path):
    paths = save_pair(tmp_path, nepers[:, 0])
    views = load_views(*paths, ViewOptions(ViewsUnit.NEPERS, geometry=GEOMETRY))
    torch.testing.assert_close(views.images, nepers)
    assert not views.is_relative


def test_transmission_becomes_nepers(nepers, tmp_path):
    paths = save_pair(tmp_path, torch.exp(-nepers[:, 0]))
    views = load_views(*paths, ViewOptions(ViewsUnit.TRANSMISSION, geometry=GEOMETRY))
    torch.testing.assert_close(views.images, nepers, rtol=1e-4, atol=1e-4)


def test_black_transmission_is_said_to_be_a_lower_bound(nepers, tmp_path):
    levels = [np.floor(np.exp(-2 * image[0].numpy()) * 255).astype(np.uint8) for image in nepers]
    views = load_views(
        *save_pair(tmp_path, levels, ".png"), ViewOptions(ViewsUnit.TRANSMISSION, geometry=GEOMETRY)
    )
    assert "lower bound" in views.notes[0]


def test_display_with_a_stated_scale_is_nepers_to_half_a_level(nepers, tmp_path):
    paths = save_pair(tmp_path, [as_levels(image[0], 255).astype(np.uint8) for image in nepers], ".png")
    scale = {view: float(nepers[index].max()) for index, view in enumerate(View)}
    file = write_geometry(tmp_path / "geometry.json", GeometryRecord.of(GEOMETRY, scale))
    views = load_views(*paths, ViewOptions(geometry=file))
    assert not views.is_relative
    assert float((views.images - nepers).abs().max()) < 0.51 * float(nepers.max()) / 255


def test_display_without_a_scale_is_relative_until_a_volume_gives_one(nepers, tmp_path):
    paths = save_pair(tmp_path, [as_levels(image[0], 200).astype(np.uint8) for image in nepers], ".png")
    views = load_views(*paths, ViewOptions(geometry=GEOMETRY))
    assert views.is_relative
    assert "not amounts" in views.notes[0]
    with pytest.raises(ValueError, match="must have a scale"):
        require_nepers(views)
    settled, found = settle_views(views, chest(), SPACING_MM)
    assert float((settled[0] - nepers).abs().max()) < 0.05
    assert found["views_correlation"] > 0.99
    assert found["display_map"]["frontal"]["nepers_per_unit"] > 0


def test_views_with_a_scale_are_only_checked(nepers, tmp_path):
    views = load_views(*save_pair(tmp_path, nepers[:, 0]), ViewOptions(ViewsUnit.NEPERS, geometry=GEOMETRY))
    settled, found = settle_views(views, chest(), SPACING_MM)
    torch.testing.assert_close(settled, require_nepers(views))
    assert "display_map" not in found


def test_swapped_files_are_refused_and_flips_mend(nepers, tmp_path):
    frontal, lateral = save_pair(tmp_path, nepers[:, 0].flip(1))
    wrong = load_views(frontal, lateral, ViewOptions(ViewsUnit.NEPERS, geometry=GEOMETRY))
    with pytest.raises(ValueError, match="--flip-frontal and --flip-lateral"):
        settle_views(wrong, chest(), SPACING_MM)
    swapped = load_views(lateral, frontal, ViewOptions(ViewsUnit.NEPERS, tuple(View), geometry=GEOMETRY))
    with pytest.raises(ValueError, match="exchange --frontal and --lateral"):
        settle_views(swapped, chest(), SPACING_MM)
    mended = load_views(frontal, lateral, ViewOptions(ViewsUnit.NEPERS, tuple(View), geometry=GEOMETRY))
    torch.testing.assert_close(settle_views(mended, chest(), SPACING_MM)[0][0], nepers)


def test_mirrored_view_is_mended(nepers, tmp_path):
    paths = save_pair(tmp_path, torch.stack([nepers[0, 0], nepers[1, 0].flip(1)]))
    options = ViewOptions(ViewsUnit.NEPERS, mirror=(View.LATERAL,), geometry=GEOMETRY)
    torch.testing.assert_close(load_views(*paths, options).images, nepers)


def test_larger_images_of_the_same_detector_are_averaged(nepers, tmp_path):
    fine = nepers[:, 0].repeat_interleave(3, 1).repeat_interleave(3, 2)
    views = load_views(*save_pair(tmp_path, fine), ViewOptions(ViewsUnit.NEPERS, geometry=GEOMETRY))
    assert float((views.images - nepers).square().mean().sqrt()) < 0.05 * float(nepers.std())


def test_dicom_states_its_pixels_and_is_cropped_to_the_detector(nepers, tmp_path):
    """40 rows of 2 mm and 50 columns of 2 mm on a detector of 32 pixels of 2 mm: the middle remains."""
    images = [torch.nn.functional.pad(image[0], (9, 9, 4, 4)) for image in nepers]
    paths = [
        save_dicom(tmp_path / f"{index}.dcm", as_levels(image, 4095)) for index, image in enumerate(images)
    ]
    views = load_views(*paths, ViewOptions(geometry=XrayGeometry("cone", pixel_mm=2.0, size=SIZE)))
    for own, given in zip(views.images, nepers, strict=True):
        torch.testing.assert_close(own, given / given.max(), rtol=0, atol=2e-3)


def test_dark_bones_of_monochrome1_are_turned_round(nepers, tmp_path):
    levels = as_levels(nepers[0, 0], 4000)
    plain = save_dicom(tmp_path / "plain.dcm", levels)
    dark = save_dicom(tmp_path / "dark.dcm", 4095 - levels, photometric="MONOCHROME1")
    views = load_views(plain, dark, ViewOptions(geometry=GEOMETRY))
    torch.testing.assert_close(views.images[0], views.images[1], rtol=0, atol=2e-3)


def test_detector_that_only_dicom_states_is_taken(nepers, tmp_path):
    path = save_dicom(tmp_path / "a.dcm", as_levels(nepers[0, 0], 4000), pixel_mm=0.5)
    views = load_views(path, path, ViewOptions(geometry=GEOMETRY))
    assert views.geometry.pixel_mm == pytest.approx(0.5)


def test_grey_colours_are_one_channel(nepers, tmp_path):
    levels = as_levels(nepers[0, 0], 255).astype(np.uint8)
    imsave(tmp_path / "grey.png", levels, check_contrast=False)
    imsave(tmp_path / "rgb.png", np.stack([levels] * 3, axis=-1), check_contrast=False)
    views = load_views(tmp_path / "grey.png", tmp_path / "rgb.png", ViewOptions(geometry=GEOMETRY))
    torch.testing.assert_close(views.images[0], views.images[1])


def test_views_are_found_beside_their_ct(tmp_path):
    ct = tmp_path / "p7.nii.gz"
    assert views_beside(ct) is None
    (tmp_path / "p7_pa_drr.png").touch()
    with pytest.raises(ValueError, match="p7_lat_drr"):
        views_beside(ct)
    (tmp_path / "p7_lat_drr.tiff").touch()
    assert [path.name for path in views_beside(ct)] == ["p7_pa_drr.png", "p7_lat_drr.tiff"]


def broken(folder, name, content=b""):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "make", "unit", "message"),
    [
        ("a.jpg", b"x", "display", "must be one of"),
        ("a.png", b"not an image", "display", "readable image"),
        ("a.dcm", b"not an image", "display", "readable image"),
        ("a.png", np.zeros((8, 8), np.uint8), "display", "one grey value"),
        ("a.png", np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), "display", "greyscale"),
        ("a.png", np.eye(8, dtype=np.uint8), "nepers", "whole numbers; pass --views-unit display"),
        ("a.tiff", np.eye(8, dtype=np.float32) * 255, "nepers", "0 to 255"),
        ("a.tiff", np.eye(8, dtype=np.float32) * 3, "transmission", "0 to 3"),
        ("a.tiff", np.full((8, 8), np.nan, np.float32), "nepers", "finite"),
        ("a.tiff", np.eye(8, 9, dtype=np.float32), "nepers", "must be square"),
    ],
)
def test_bad_files_are_named(tmp_path, name, make, unit, message):
    path = tmp_path / name
    if isinstance(make, bytes):
        path.write_bytes(make)
    else:
        imsave(path, make, check_contrast=False)
    with pytest.raises(ValueError, match=message) as caught:
        load_views(path, path, ViewOptions(ViewsUnit(unit), geometry=GEOMETRY))
    assert name in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        load_views(tmp_path / "none.png", tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_geometry(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "geometry in JSON"),
        ('{"kind": "fan"}', "kind must be right"),
        ('{"pixel": 1}', "pixel must be right"),
        ('{"source_to_detector_mm": 10}', "swap them"),
        ('{"display_max_nepers": {"top": 1}}', "display_max_nepers"),
    ],
)
def test_bad_geometry_files_are_named(tmp_path, content, message):
    path = tmp_path / "geometry.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_geometry(path)
    assert "geometry.json" in str(caught.value)


def test_geometry_comes_back(tmp_path):
    geometry = XrayGeometry("parallel", pixel_mm=0.7, size=99)
    path = write_geometry(tmp_path / "g.json", GeometryRecord.of(geometry))
    assert read_geometry(path).geometry == geometry
    assert json.loads(path.read_text())["kind"] == "parallel"


def test_transforms_project_and_load(nepers, tmp_path):
    affine = torch.diag(torch.tensor([*SPACING_MM, 1.0], dtype=torch.float64))
    item = ProjectViewsd("image", geometry=GEOMETRY)({"image": MetaTensor(chest()[0], affine=affine)})
    torch.testing.assert_close(item["views"], nepers)
    frontal, lateral = save_pair(tmp_path, nepers[:, 0])
    load = LoadViewsd(options=ViewOptions(ViewsUnit.NEPERS, geometry=GEOMETRY))
    loaded = load({"frontal": frontal, "lateral": lateral})
    torch.testing.assert_close(loaded["views"], nepers)
    assert loaded["views_loaded"].geometry == GEOMETRY

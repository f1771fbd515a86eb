"""A derived series is the same volume in the same place, says what it is, and names the right patient."""

import errno

import numpy as np
import pytest
from pydicom import dcmread

from ct_scans import grid_around, sphere_hu
from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of
from revoxel.core.volumes import read_volume
from revoxel.ct.scans.dicom_series import write_dicom_series
from revoxel.ct.scans.transforms import LoadCTd

SHAPE = (20, 24, 14)


def written(folder, axes="RAS", turned_deg=0.0, reference=None):
    grid = grid_around(SHAPE, (1.5, 2.0, 3.0), axes, turned_deg)
    return grid, write_dicom_series(sphere_hu(grid), grid.affine, reference, folder)


def headers(folder):
    return [dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
@pytest.mark.parametrize("turned_deg", [0.0, 12.0])
def test_series_comes_back_with_its_hu_and_its_place(tmp_path, axes, turned_deg):
    """Whatever the orientation: 0.5 HU and 0.01 mm."""
    grid, folder = written(tmp_path / "series", axes, turned_deg)
    back = read_volume(folder)
    np.testing.assert_allclose(back.data, np.rint(sphere_hu(back.grid)), atol=1)
    assert sorted(back.grid.shape) == sorted(SHAPE)
    corners = [np.sort(g.world(g.corners()), axis=0) for g in (grid, back.grid)]
    assert np.abs(corners[0] - corners[1]).max() < 0.01


def test_values_are_kept_to_half_a_unit(tmp_path):
    grid, folder = written(tmp_path / "series")
    image = LoadCTd("ct")({"ct": folder})["ct"]
    assert np.abs(np.asarray(image)[0] - sphere_hu(grid)).max() <= 0.5
    assert np.abs(grid_of(image).affine - grid.affine).max() < 0.01


@pytest.mark.reference
def test_itk_reads_the_same_series(tmp_path):
    itk = pytest.importorskip("itk")
    _, folder = written(tmp_path / "series", turned_deg=12.0)
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(folder))
    (uid,) = names.GetSeriesUIDs()
    image = itk.imread(list(names.GetFileNames(uid)), itk.F)
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    grid = Grid(tuple(image.shape[::-1]), np.diag([-1.0, -1, 1, 1]) @ affine)
    assert np.abs(itk.array_from_image(image).T - sphere_hu(grid)).max() <= 1


def test_slices_are_axial_from_foot_to_head(tmp_path):
    _, folder = written(tmp_path / "series", "PIR")
    slices = headers(folder)
    assert [float(x) for x in slices[0].ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    heights = [float(header.ImagePositionPatient[2]) for header in slices]
    assert heights == sorted(heights)
    assert [header.InstanceNumber for header in slices] == list(range(1, len(slices) + 1))


def test_series_says_that_it_is_derived_and_for_research(tmp_path):
    first, *others = headers(written(tmp_path / "series")[1])
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert first.BurnedInAnnotation == "NO"
    assert "revoxel" in first.SeriesDescription
    assert "research use" in first.SeriesDescription
    assert "not for diagnosis" in first.DerivationDescription
    assert (float(first.RescaleSlope), float(first.RescaleIntercept)) == (1, 0)
    assert len({header.SOPInstanceUID for header in [first, *others]}) == len(others) + 1
    assert {header.SeriesInstanceUID for header in others} == {first.SeriesInstanceUID}


def test_patient_study_and_frame_are_those_of_the_source_and_the_series_is_new(tmp_path):
    _, source = written(tmp_path / "source")
    for path in source.iterdir():
        dataset = dcmread(path)
        dataset.PatientName, dataset.PatientID, dataset.LossyImageCompression = "Doe^Jane", "42", "01"
        dataset.save_as(path)
    _, folder = written(tmp_path / "derived", reference=source)
    old, new = headers(source)[0], headers(folder)[0]
    for name in (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "LossyImageCompression",
    ):
        assert new[name].value == old[name].value
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.SOPInstanceUID != old.SOPInstanceUID


def test_without_a_source_nobody_is_named_and_the_study_is_new(tmp_path):
    one, two = (headers(written(tmp_path / name)[1])[0] for name in ("one", "two"))
    assert not one.PatientName
    assert not one.PatientID
    assert one.StudyInstanceUID != two.StudyInstanceUID
    assert one.FrameOfReferenceUID != two.FrameOfReferenceUID


def test_folder_that_holds_something_is_kept(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="series must be a new or empty folder"):
        written(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    from pydicom import Dataset

    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", fail)
    with pytest.raises(OSError, match="series must be writable, got 'No space left on device'"):
        written(tmp_path / "series")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 40000.0])
def test_values_that_are_no_hu_are_refused(tmp_path, bad):
    hu = sphere_hu(grid_around(SHAPE))
    hu[0, 0, 0] = bad
    with pytest.raises(ValueError, match="volume_hu must be a finite 3D volume from -32768 to 32767"):
        write_dicom_series(hu, grid_around(SHAPE).affine, None, tmp_path / "series")


def test_sheared_volume_is_refused(tmp_path):
    affine = grid_around(SHAPE).affine.copy()
    affine[:3, 2] += 0.2 * affine[:3, 1]
    with pytest.raises(ValueError, match="must have perpendicular axes"):
        write_dicom_series(sphere_hu(grid_around(SHAPE)), affine, None, tmp_path / "series")


def test_real_series_is_the_source_of_its_derived_one(tmp_path, dicom_folder):
    volume = read_volume(dicom_folder)
    data, affine = volume.data[200:240, 210:240, :6], volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.world((200, 210, 0))
    back = read_volume(write_dicom_series(data, affine, dicom_folder, tmp_path / "series"))
    np.testing.assert_array_equal(back.data, data)
    assert np.abs(back.grid.affine - affine).max() < 0.01


def test_series_without_rescale_or_of_another_modality_is_refused(tmp_path):
    _, folder = written(tmp_path / "series")
    for change, words in (
        ({"RescaleType": "OD"}, "must be in HU, got unit 'OD'"),
        ({"RescaleIntercept": None}, "must state RescaleSlope and RescaleIntercept"),
        ({"Modality": "MR"}, "must be a CT slice, got modality 'MR'"),
    ):
        path = next(folder.iterdir())
        dataset = dcmread(path)
        for name, value in change.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
        with pytest.raises(ValueError, match=words):
            LoadCTd("ct")({"ct": folder})

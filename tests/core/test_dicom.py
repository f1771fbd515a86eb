"""A DICOM folder lies where its tags say, whatever its file names; what is not one volume is refused."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from revoxel.core.dicom import find_series
from revoxel.core.geometry import Grid, offset_voxels
from revoxel.core.volumes import read_volume

N_SLICES = 6
STEP_MM = 5.5
ROTATION = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix()


def pixels(index):
    return (np.arange(8 * 10).reshape(8, 10) + 100 * index).astype(np.uint16)


def write_slice(path, index, series_uid, position=None, **tags):
    """One 8-row, 10-column oblique MR slice; `tags` replace or add elements, None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = series_uid
    dataset.InstanceNumber = N_SLICES - index
    dataset.ImageOrientationPatient = [float(f"{value:.9f}") for value in ROTATION[:, :2].T.ravel()]
    position = index * STEP_MM * ROTATION[:, 2] if position is None else position
    dataset.ImagePositionPatient = [float(f"{value:.6f}") for value in np.array([-30, 12, 5]) + position]
    dataset.PixelSpacing = [0.9, 1.1]
    dataset.SliceThickness = 5.0
    dataset.Rows, dataset.Columns = 8, 10
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels(index).tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, indices=range(N_SLICES), series_uid=None, **tags):
    folder.mkdir(exist_ok=True)
    series_uid = series_uid or generate_uid()
    for index in indices:
        # File names run against the slice order: only positions may decide.
        write_slice(folder / f"{90 - index}_{series_uid[-4:]}.dcm", index, series_uid, **tags)
    return folder


def expected_grid():
    """Columns run along `i`, rows along `j`; PixelSpacing is (between rows, between columns)."""
    affine = np.eye(4)
    affine[:3, :3] = ROTATION @ np.diag([1.1, 0.9, STEP_MM])
    affine[:3, 3] = (-30, 12, 5)
    return Grid((10, 8, N_SLICES), np.diag([-1, -1, 1, 1]) @ affine)


def refused(folder, *said):
    with pytest.raises(ValueError, match="must") as caught:
        read_volume(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert folder.name in message
    for words in said:
        assert words in message


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "series"


def test_slices_are_ordered_by_position_and_placed_by_tags(folder):
    write_series(folder)
    (folder / "notes.txt").write_text("not DICOM")
    volume = read_volume(folder)
    assert offset_voxels(expected_grid(), volume.grid) < 1e-3
    expected = np.stack([pixels(index).T for index in range(N_SLICES)], axis=-1)
    np.testing.assert_array_equal(volume.data, expected)
    assert volume.thickness_mm == 5.0
    assert volume.path == folder


@pytest.mark.reference
def test_itk_agrees_where_the_series_lies(folder):
    itk = pytest.importorskip("itk")
    write_series(folder)
    image = itk.imread([str(file) for file in find_series(folder).files])
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    oracle = Grid((10, 8, N_SLICES), np.diag([-1.0, -1, 1, 1]) @ affine)
    assert offset_voxels(oracle, read_volume(folder).grid) < 1e-3


def test_gap_and_overlap_are_noted(folder):
    assert "5 mm lie 5.5 mm apart: there is a gap" in read_volume(write_series(folder)).notes[0]
    other = folder.with_name("overlapping")
    assert "an overlap" in read_volume(write_series(other, SliceThickness=7.0)).notes[0]
    exact = folder.with_name("exact")
    assert not read_volume(write_series(exact, SliceThickness=5.5, SpacingBetweenSlices=5.5)).notes


def test_positions_win_over_a_wrong_spacing_tag(folder):
    volume = read_volume(write_series(folder, SpacingBetweenSlices=4.0, SliceThickness=None))
    assert volume.thickness_mm is None
    assert volume.grid.spacing_mm[2] == pytest.approx(STEP_MM, abs=1e-4)
    assert "positions are used" in volume.notes[0]


def test_rescale_tags_give_physical_units(folder):
    volume = read_volume(write_series(folder, RescaleSlope=2.0, RescaleIntercept=-1024.0))
    assert volume.data.min() == -1024
    assert volume.data[1, 0, 0] == -1022


def test_gantry_tilt_stays_a_shear(folder):
    folder.mkdir()
    tilted_step = STEP_MM * ROTATION[:, 2] + 1.2 * ROTATION[:, 1]
    for index in range(N_SLICES):
        write_slice(folder / f"{index}.dcm", index, "1.2.3", position=index * tilted_step)
    grid = read_volume(folder).grid
    np.testing.assert_allclose(grid.affine[:3, 2], np.array([-1, -1, 1]) * tilted_step, atol=1e-4)


def test_missing_slice_is_refused_with_both_distances(folder):
    refused(write_series(folder, indices=[0, 1, 2, 4, 5]), "equally spaced", "11.000 mm", "5.500 mm")


def test_uneven_slices_are_refused(folder):
    folder.mkdir()
    for index, height_mm in enumerate((0, 3, 6, 9.4, 12)):
        write_slice(folder / f"{index}.dcm", index, "1.2.3", position=height_mm * ROTATION[:, 2])
    refused(folder, "equally spaced")


def test_rounded_positions_are_accepted(folder):
    folder.mkdir()
    for index in range(N_SLICES):
        position = np.round(index * STEP_MM * ROTATION[:, 2], 2)
        write_slice(folder / f"{index}.dcm", index, "1.2.3", position=position)
    assert read_volume(folder).data.shape == (10, 8, N_SLICES)


def test_two_series_are_refused(folder):
    write_series(folder)
    refused(write_series(folder), "one DICOM series, got 2")


def test_repeated_positions_are_refused(folder):
    write_series(folder, series_uid="1.2.3.4")
    write_slice(folder / "again.dcm", 2, "1.2.3.4")
    refused(folder, "one 3D volume")


def test_localizer_among_the_slices_is_refused(folder):
    write_series(folder, series_uid="1.2.3.4")
    write_slice(folder / "localizer.dcm", 9, "1.2.3.4", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    refused(folder, "another orientation")


def test_multi_frame_file_is_refused(folder):
    refused(write_series(folder, NumberOfFrames=4), "many frames")


def test_slices_without_position_are_refused(folder):
    refused(write_series(folder, ImagePositionPatient=None), "ImagePositionPatient")


@pytest.mark.parametrize("n_files", [0, 1])
def test_folder_without_a_series_is_refused(folder, n_files):
    refused(write_series(folder, indices=range(n_files)), f"got {n_files}")


def test_truncated_slice_is_refused(folder):
    write_series(folder)
    slice_file = sorted(folder.iterdir())[2]
    slice_file.write_bytes(slice_file.read_bytes()[:-60])
    refused(folder)


def test_blank_series_is_refused(folder):
    refused(write_series(folder, PixelData=np.zeros((8, 10), np.uint16).tobytes()), "constant 0")


def test_real_series_is_read_in_hounsfield_units(dicom_folder):
    volume = read_volume(dicom_folder)
    assert volume.data.shape == (512, 512, 20)
    assert volume.grid.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert volume.thickness_mm == 3.0
    assert volume.data.min() <= -1000
    assert volume.data.max() > 200

"""Every usable format lies where its header says; every unusable one is a line that names the file."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from revoxel.core.geometry import Grid, offset_voxels
from revoxel.core.volumes import Volume, atomic_path, read_volume, volume_stem, write_volume

SHAPE = (7, 6, 5)


@pytest.fixture
def data():
    return np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.float32)


@pytest.fixture
def grid():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (8, -11, 23), degrees=True).as_matrix() @ np.diag(
        (0.9, 1.1, 5)
    )
    affine[:3, 3] = (-20, 31, 7)
    return Grid(SHAPE, affine)


def save_nifti(path, data, affine=None, dtype=np.float32, **header):
    image = nibabel.Nifti1Image(np.asarray(data).astype(dtype), np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def refused(path, *said):
    with pytest.raises(ValueError, match="must") as caught:
        read_volume(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    for words in said:
        assert words in message


def itk_write(data, grid, path):
    itk = pytest.importorskip("itk")
    lps = np.diag([-1.0, -1, 1, 1]) @ grid.affine
    image = itk.image_from_array(np.ascontiguousarray(data.T))
    image.SetSpacing([float(value) for value in grid.spacing_mm])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / np.array(grid.spacing_mm)))
    itk.imwrite(image, str(path))
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_written_volume_comes_back_on_its_grid(tmp_path, data, grid, name):
    path = write_volume(tmp_path / "new" / name, data, grid)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, data)
    assert offset_voxels(grid, volume.grid) < 1e-3
    assert volume.data.flags.c_contiguous
    header = nibabel.load(path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert header.get_data_dtype() == np.float32
    assert bytes(header["descrip"].item()) == b"research use, not for diagnosis"


def test_channels_are_written_last(tmp_path, data, grid):
    path = write_volume(tmp_path / "weights.nii.gz", np.stack([data, 2 * data], axis=-1), grid)
    assert nibabel.load(path).shape == (*SHAPE, 2)


@pytest.mark.reference
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii.gz"])
def test_itk_and_nibabel_agree_where_an_oblique_volume_lies(tmp_path, data, grid, suffix):
    volume = read_volume(itk_write(data, grid, tmp_path / f"v{suffix}"))
    np.testing.assert_array_equal(volume.data, data)
    assert offset_voxels(grid, volume.grid) < 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_stored_integers_become_float32_in_file_units(tmp_path, dtype):
    stored = np.arange(210).reshape(SHAPE)
    volume = read_volume(save_nifti(tmp_path / "v.nii.gz", stored, dtype=dtype))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, stored)


def test_header_scaling_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SHAPE), np.eye(4))
    image.header.set_slope_inter(2.0, -5.0)
    nibabel.save(image, tmp_path / "v.nii")
    assert read_volume(tmp_path / "v.nii").data.max() == pytest.approx(209 * 2 - 5, rel=1e-3)


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (2, 2)])
def test_either_orientation_code_is_enough(tmp_path, data, grid, qform, sform):
    image = nibabel.Nifti1Image(data, grid.affine)
    image.set_qform(grid.affine, code=qform)
    image.set_sform(grid.affine, code=sform)
    nibabel.save(image, tmp_path / "v.nii.gz")
    volume = read_volume(tmp_path / "v.nii.gz")
    assert offset_voxels(grid, volume.grid) < 1e-3
    assert not volume.notes


def test_file_without_orientation_is_read_with_a_note(tmp_path, data):
    image = nibabel.Nifti1Image(data, None)
    image.header["pixdim"][1:4] = (1, 1, 5)
    nibabel.save(image, tmp_path / "v.nii.gz")
    volume = read_volume(tmp_path / "v.nii.gz")
    assert volume.grid.spacing_mm == pytest.approx((1, 1, 5))
    assert "orientation" in volume.notes[0]


def test_trailing_single_frame_is_one_volume(tmp_path, data):
    assert read_volume(save_nifti(tmp_path / "v.nii.gz", data[..., None])).data.shape == SHAPE


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.nii\.gz"):
        read_volume(tmp_path / "absent.nii.gz")


def test_four_dimensions_are_refused(tmp_path, data):
    refused(save_nifti(tmp_path / "v.nii.gz", np.stack([data] * 2, -1)), "one 3D volume", "(7, 6, 5, 2)")


def test_flat_image_is_refused(tmp_path):
    refused(save_nifti(tmp_path / "v.nii.gz", np.ones((5, 5))), "one 3D volume")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_empty_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    path.touch()
    refused(path, "empty file")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_gzip_is_refused(tmp_path, data, share):
    whole = save_nifti(tmp_path / "whole.nii.gz", data).read_bytes()
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "readable image")


def test_corrupted_gzip_is_refused(tmp_path, data):
    content = bytearray(save_nifti(tmp_path / "v.nii.gz", data).read_bytes())
    content[200:260] = b"\x00" * 60
    (tmp_path / "v.nii.gz").write_bytes(content)
    refused(tmp_path / "v.nii.gz", "readable image")


@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
def test_truncated_pixels_are_refused(tmp_path, data, grid, suffix):
    path = itk_write(data, grid, tmp_path / f"v{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) // 4])
    refused(path, "readable image")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_garbage_is_refused(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    path.write_bytes(b"this is not an image " * 40)
    refused(path, "readable image")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([".nii", ".nii.gz"]))
def test_no_bytes_break_the_reader(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("bytes") / f"v{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    refused(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 347), st.binary(min_size=1, max_size=8))
def test_no_damaged_header_breaks_the_reader(tmp_path_factory, position, damage):
    path = tmp_path_factory.mktemp("header") / "v.nii"
    save_nifti(path, np.arange(210).reshape(SHAPE))
    content = bytearray(path.read_bytes())
    content[position : position + len(damage)] = damage
    path.write_bytes(content)
    try:
        volume = read_volume(path)
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert np.isfinite(volume.data).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_voxels_are_counted(tmp_path, data, bad):
    data[1, 2, 3] = bad
    refused(save_nifti(tmp_path / "v.nii.gz", data), "1 NaN or infinite")


def test_constant_volume_is_refused(tmp_path):
    refused(save_nifti(tmp_path / "v.nii.gz", np.full(SHAPE, 7.0)), "constant 7")


@pytest.mark.parametrize("spacing_mm", [0.0, -2.0, np.nan])
def test_bad_spacing_is_refused(tmp_path, data, spacing_mm):
    path = save_nifti(tmp_path / "v.nii", data)
    content = bytearray(path.read_bytes())
    content[76 + 4 * 3 : 76 + 4 * 4] = np.float32(spacing_mm).tobytes()
    path.write_bytes(content)
    refused(path, "positive voxel spacing", f"{spacing_mm:g}")


def test_singular_affine_is_refused(tmp_path, data):
    image = nibabel.Nifti1Image(data, np.eye(4))
    path = tmp_path / "v.nii"
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[280:312] = np.array([1, 1, 0, 0] * 2, np.float32).tobytes()
    path.write_bytes(content)
    refused(path, "invertible")


def test_colour_image_is_refused(tmp_path):
    colour = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "v.nii.gz")
    refused(tmp_path / "v.nii.gz", "one real number per voxel")


def test_unknown_format_lists_the_known_ones(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(b"x")
    refused(path, ".nii.gz", ".nrrd", "DICOM")


def test_itk_volume_series_is_refused(tmp_path, data):
    itk = pytest.importorskip("itk")
    path = tmp_path / "v.nrrd"
    itk.imwrite(itk.image_from_array(np.stack([data] * 3)), str(path))
    refused(path, "one 3D volume")


@pytest.mark.parametrize("spacing_line", ["ElementSpacing = 1 0 1", "ElementSpacing = 1 nan 1"])
def test_bad_metaimage_spacing_is_refused(tmp_path, data, grid, spacing_line):
    path = itk_write(data, Grid(SHAPE, np.eye(4)), tmp_path / "v.mha")
    header, mark, pixels = path.read_bytes().partition(b"ElementDataFile")
    lines = [line for line in header.decode().splitlines() if not line.startswith("ElementSpacing")]
    path.write_bytes("\n".join([*lines, spacing_line, ""]).encode() + mark + pixels)
    refused(path)


def test_bids_sidecar_states_the_thickness_and_the_gap(tmp_path, data, grid):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    (tmp_path / "v.json").write_text(json.dumps({"SliceThickness": 4.0, "SpacingBetweenSlices": 5.0}))
    volume = read_volume(path)
    assert volume.thickness_mm == 4.0
    assert volume.notes == ("slices of 4 mm lie 5 mm apart: there is a gap.",)


def test_disagreeing_sidecar_is_noted_and_the_header_wins(tmp_path, data, grid):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    (tmp_path / "v.json").write_text(json.dumps({"SpacingBetweenSlices": 6.0}))
    volume = read_volume(path)
    assert volume.grid.spacing_mm[2] == pytest.approx(5)
    assert "6 mm between slices" in volume.notes[0]


@pytest.mark.parametrize("text", ['{"SliceThickness": ', "[1]", '{"SliceThickness": "thick"}'])
def test_unreadable_sidecar_is_ignored_with_a_note(tmp_path, data, grid, text):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    (tmp_path / "v.json").write_text(text)
    volume = read_volume(path)
    assert volume.thickness_mm is None
    assert "ignored" in volume.notes[0]


def test_sidecar_without_thickness_says_nothing(tmp_path, data, grid):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    (tmp_path / "v.json").write_text(json.dumps({"SliceThickness": None, "revoxel": "0.1.0"}))
    assert (read_volume(path).thickness_mm, read_volume(path).notes) == (None, ())


def test_stem_drops_the_whole_suffix(tmp_path):
    names = ["a.b.nii.gz", "a.b.NII", "a.b.nrrd", "a.b"]
    assert {volume_stem(tmp_path / name) for name in names} == {"a.b"}


def test_volume_must_fit_its_grid(data):
    with pytest.raises(ValueError, match="shape"):
        Volume(data, Grid((5, 6, 7), np.eye(4)))


def test_existing_file_is_kept_unless_told_otherwise(tmp_path, data, grid):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"v\.nii\.gz.*--overwrite"):
        write_volume(path, 2 * data, grid)
    assert path.read_bytes() == before
    write_volume(path, 2 * data, grid, overwrite=True)
    np.testing.assert_array_equal(read_volume(path).data, 2 * data)


def test_only_nifti_is_written(tmp_path, data, grid):
    with pytest.raises(ValueError, match=r"\.nii"):
        write_volume(tmp_path / "v.mha", data, grid)


@pytest.mark.parametrize("spoil", ["nan", "shape"])
def test_spoiled_result_is_not_written(tmp_path, data, grid, spoil):
    if spoil == "nan":
        data[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"v\.nii\.gz"):
        write_volume(tmp_path / "v.nii.gz", data if spoil == "nan" else data[1:], grid)
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_line_that_names_the_file(tmp_path, data, grid, monkeypatch):
    def fill(image, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nibabel, "save", fill)
    with pytest.raises(OSError, match=r"v\.nii\.gz must be writable, got 'No space left on device'"):
        write_volume(tmp_path / "v.nii.gz", data, grid)
    assert not list(tmp_path.iterdir())


def test_full_disk_keeps_the_older_result(tmp_path, data, grid, monkeypatch):
    path = write_volume(tmp_path / "v.nii.gz", data, grid)
    before = path.read_bytes()

    def fill(image, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nibabel, "save", fill)
    with pytest.raises(OSError, match="No space left"):
        write_volume(path, 2 * data, grid, overwrite=True)
    assert path.read_bytes() == before


def test_unwritable_folder_is_named(tmp_path, data, grid):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"v\.nii\.gz must be writable"):
        write_volume(tmp_path / "file" / "v.nii.gz", data, grid)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_named(tmp_path, data, grid):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"v\.nii\.gz must be writable"):
        write_volume(tmp_path / "v.nii.gz", data, grid)


def test_other_errors_in_the_block_pass_unchanged_and_leave_nothing(tmp_path):
    def fail(error):
        with atomic_path(tmp_path / "v.json") as temporary:
            temporary.write_text("half")
            raise error

    for error in (FileNotFoundError(errno.ENOENT, "gone", "other.txt"), KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(error)) as caught:
            fail(error)
        assert caught.value is error
    assert not list(tmp_path.iterdir())


def test_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    with atomic_path(tmp_path / "v.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".v.nii.gz")
        temporary.write_text("x")
    assert [item.name for item in tmp_path.iterdir()] == ["v.nii.gz"]


def test_killed_writer_leaves_no_half_result(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from revoxel.core.volumes import atomic_path
        with atomic_path(sys.argv[1]) as temporary:
            with temporary.open("wb") as file:
                file.write(b"half" * 1000)
                file.flush()
                print("writing", flush=True)
                time.sleep(60)
        """
    )
    target = tmp_path / "v.nii.gz"
    with subprocess.Popen([sys.executable, "-c", script, target], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    assert not target.exists()


def test_real_scans_are_read_with_their_spacing(data_path):
    for name, spacing in [("TCGA-FG-6692_t1c", 5.5), ("patient04_study1_T2W", 3.3)]:
        volume = read_volume(data_path(f"mri/thick/{name}.nii.gz"))
        assert max(volume.grid.spacing_mm) == pytest.approx(spacing, abs=1e-3)
    volume = read_volume(data_path("mri/misc/M2208_T2w.nii.gz"))
    assert volume.data.dtype == np.float32


def test_whole_numbers_are_rounded_and_stored_unscaled(tmp_path, data, grid):
    path = write_volume(tmp_path / "hu.nii.gz", data, grid, dtype=np.int16)
    stored = nibabel.load(path)
    assert stored.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(stored.dataobj), np.rint(data))


def test_values_that_do_not_fit_whole_numbers_are_refused_not_wrapped(tmp_path, data, grid):
    with pytest.raises(ValueError, match=r"must fit int16 \(-32768 to 32767\), got .*32768"):
        write_volume(tmp_path / "hu.nii.gz", np.where(data > 100, 32768.0, data), grid, dtype=np.int16)
    assert not list(tmp_path.iterdir())

"""Slice profiles: stated widths, round trips of their names, files."""

import math

import numpy as np
import pytest

from revoxel.experts.profiles import FWHM_PER_STD, ProfileKind, SliceProfile


@pytest.mark.reference
@pytest.mark.parametrize("text", ["gauss:5", "rect:5", "slr:5"])
def test_standard_deviation_is_that_of_the_density(text: str) -> None:
    profile = SliceProfile.parse(text)
    edges = np.linspace(-30, 30, 60_001)
    density = np.diff(profile.cumulative(edges))
    middle = (edges[1:] + edges[:-1]) / 2
    assert density.sum() == pytest.approx(1.0, abs=1e-6)
    assert math.sqrt((density * middle**2).sum()) == pytest.approx(profile.std_mm, rel=1e-4)


@pytest.mark.reference
def test_textbook_widths() -> None:
    assert SliceProfile.gauss(2.3548).std_mm == pytest.approx(1.0, rel=1e-4)
    assert SliceProfile.rect(math.sqrt(12)).std_mm == pytest.approx(1.0)
    assert SliceProfile.rect(5).fwhm_mm == pytest.approx(5 / math.sqrt(12) * FWHM_PER_STD)


@pytest.mark.parametrize("text", ["gauss:5", "rect:4.5", "slr:6"])
def test_label_reads_back(text: str) -> None:
    assert SliceProfile.parse(text).label == text
    assert SliceProfile.parse(SliceProfile.parse(text).label) == SliceProfile.parse(text)


def test_same_shape_at_another_width() -> None:
    profile = SliceProfile.rect(5).with_std(2.0)
    assert profile.kind is ProfileKind.RECT
    assert profile.std_mm == pytest.approx(2.0)


def test_file_with_step_is_read(tmp_path) -> None:
    path = tmp_path / "profile.npy"
    np.save(path, np.ones(5))
    profile = SliceProfile.parse(f"{path}@1.0")
    assert profile.std_mm == pytest.approx(SliceProfile.rect(5).std_mm)
    assert SliceProfile.parse(profile.label) == profile


@pytest.mark.parametrize("samples", [np.ones(4), np.ones((3, 3)), np.array([1.0, -1.0, 1.0]), np.zeros(3)])
def test_samples_that_are_no_profile_are_refused(samples, tmp_path) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, samples)
    with pytest.raises(ValueError, match=r"bad\.npy must be a 1D array"):
        SliceProfile.parse(str(path))


@pytest.mark.parametrize("text", ["gauss", "gauss:", "gauss:0", "rect:-3", "slr:nan", "triangle:5", ""])
def test_unreadable_profiles_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        SliceProfile.parse(text)


def test_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npy"):
        SliceProfile.parse("nowhere.npy")


def test_file_that_is_no_array_is_refused(tmp_path) -> None:
    path = tmp_path / "text.npy"
    path.write_text("not an array")
    with pytest.raises(ValueError, match="unreadable"):
        SliceProfile.parse(str(path))

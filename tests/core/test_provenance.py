"""Sidecars are whole JSON or absent, and say what made a file."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from revoxel import __version__
from revoxel.core.provenance import read_sidecar, sha256_of, write_sidecar


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Settings:
    width_mm: float
    colour: Colour


def test_fingerprint_is_sha256(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"revoxel" * 1000)
    assert sha256_of(file) == hashlib.sha256(b"revoxel" * 1000).hexdigest()


def test_folder_fingerprint_changes_with_any_file(tmp_path):
    (tmp_path / "1.dcm").write_bytes(b"one")
    first = sha256_of(tmp_path)
    (tmp_path / "2.dcm").write_bytes(b"two")
    assert sha256_of(tmp_path) != first


def test_missing_file_has_no_fingerprint(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "absent.nii.gz")


def test_record_comes_back_plain_with_versions_and_time(tmp_path):
    record = {
        "input": Path("scan.nii.gz"),
        "settings": Settings(5.0, Colour.RED),
        "weights": np.array([0.25, 0.75], np.float32),
        "count": np.int64(3),
        "unknown": float("nan"),
        "pair": (1, 2),
        Colour.RED: None,
    }
    found = read_sidecar(write_sidecar(tmp_path / "out.json", record))
    assert found["input"] == "scan.nii.gz"
    assert found["settings"] == {"width_mm": 5.0, "colour": "red"}
    assert found["weights"] == [0.25, 0.75]
    assert (found["count"], found["unknown"], found["pair"]) == (3, None, [1, 2])
    assert found["revoxel"] == __version__
    assert {"python", "torch", "numpy"} <= set(found["versions"])
    assert found["time_utc"].endswith("+00:00")
    assert found["notice"] == "research use, not for diagnosis"


def test_existing_record_is_kept_unless_told_otherwise(tmp_path):
    path = write_sidecar(tmp_path / "out.json", {"run": 1})
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_sidecar(path, {"run": 2})
    assert read_sidecar(path)["run"] == 1
    write_sidecar(path, {"run": 2}, overwrite=True)
    assert read_sidecar(path)["run"] == 2


@pytest.mark.parametrize("text", ['{"run": 1, "se', "", "[1, 2]", "\xff"])
def test_half_written_record_is_named(tmp_path, text):
    path = tmp_path / "out.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"out\.json must be"):
        read_sidecar(path)


def test_missing_record_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sidecar(tmp_path / "absent.json")


def test_sidecar_is_strict_json(tmp_path):
    path = write_sidecar(tmp_path / "out.json", {"psnr_db": float("inf")})
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

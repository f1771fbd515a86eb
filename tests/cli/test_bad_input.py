"""Bad input is one line that names the file, exit code 2, and nothing half-written."""

from __future__ import annotations

import errno
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from quick_experts import write_expert_files, write_gate, write_thick_scan
from revoxel.cli.main import app
from revoxel.core.volumes import read_volume, write_volume
from revoxel.experts.names import Expert


@pytest.fixture(scope="module")
def good(brain, brain_affine, tmp_path_factory) -> Path:
    """A folder with a scan, its experts and a gate, all sound."""
    folder = tmp_path_factory.mktemp("good")
    scan = write_thick_scan(folder / "scan_t1c.nii.gz", brain, brain_affine)
    write_expert_files(read_volume(scan), folder / "scan_t1c")
    write_gate(folder / "gate.pt")
    return folder


@pytest.fixture
def folder(good, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(good, tmp_path / "in"))


def _arguments(folder: Path, verb: str, out: Path) -> list[str]:
    if verb == "superresolve":
        return [verb, str(folder / "scan_t1c.nii.gz"), "-o", str(out)]
    experts = ",".join(f"{expert}={folder / f'scan_t1c_SR-{expert}.nii.gz'}" for expert in Expert)
    options = {
        "--experts": experts,
        "--lr": folder / "scan_t1c.nii.gz",
        "--ckpt": folder / "gate.pt",
        "--spacing": "5mm",
        "--pulse": "t1c",
        "--out": out / "fused.nii.gz",
    }
    return [verb, *(str(part) for pair in options.items() for part in pair)]


def _refused(arguments: list[str], out: Path, name: str) -> str:
    """Run, and check that it fails in one line naming `name` without leaving a file."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    assert name in lines[0]
    assert not out.is_dir() or not [path for path in out.rglob("*") if path.is_file()]
    return lines[0]


def _rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), path)


def _with_nan(data: np.ndarray) -> np.ndarray:
    data = data.copy()
    data[0, 0, 0] = np.nan
    return data


def _with_infinity(data: np.ndarray) -> np.ndarray:
    data = data.copy()
    data[1, 1, 1] = np.inf
    return data


def _zero_spacing(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[76 + 4 * 3 : 76 + 4 * 4] = np.float32(0).tobytes()  # pixdim[3] of the NIfTI-1 header
    path.write_bytes(gzip.compress(bytes(raw)))


def _negative_spacing(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[76 + 4 : 76 + 8] = np.float32(-1).tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))


DAMAGE = {
    "NaN": (lambda path: _rewrite(path, _with_nan), "NaN"),
    "infinity": (lambda path: _rewrite(path, _with_infinity), "infinite"),
    "constant": (lambda path: _rewrite(path, np.ones_like), "constant"),
    "4D": (lambda path: _rewrite(path, lambda data: np.stack([data, data], axis=-1)), "3D"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "truncated gzip": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "readable"),
    "unreadable header": (lambda path: path.write_bytes(gzip.compress(b"not an image" * 99)), "readable"),
    "zero spacing": (_zero_spacing, "spacing"),
    "negative spacing": (_negative_spacing, "spacing"),
    "missing": (lambda path: path.unlink(), "existing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("verb", ["superresolve", "predict"])
def test_damaged_scan_is_named(folder, tmp_path, verb, damage) -> None:
    change, reason = DAMAGE[damage]
    change(folder / "scan_t1c.nii.gz")
    line = _refused(_arguments(folder, verb, tmp_path / "out"), tmp_path / "out", "scan_t1c.nii.gz")
    assert reason in line


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_expert_is_named(folder, tmp_path, damage) -> None:
    change, reason = DAMAGE[damage]
    change(folder / "scan_t1c_SR-SMORE.nii.gz")
    line = _refused(
        _arguments(folder, "predict", tmp_path / "out"), tmp_path / "out", "scan_t1c_SR-SMORE.nii.gz"
    )
    assert reason in line


def test_forgotten_expert_is_named(folder, tmp_path) -> None:
    arguments = _arguments(folder, "predict", tmp_path / "out")
    arguments[2] = arguments[2].rpartition(",")[0]
    assert "without UNIRES" in _refused(arguments, tmp_path / "out", "--experts")


def test_experts_on_different_grids_are_named(folder, tmp_path) -> None:
    path = folder / "scan_t1c_SR-ECLARE.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 10
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    line = _refused(_arguments(folder, "predict", tmp_path / "out"), tmp_path / "out", path.name)
    assert "10.00" in line


@pytest.mark.parametrize(("option", "value"), [("--pulse", "t2w"), ("--spacing", "3mm")])
def test_checkpoint_for_something_else_is_named(folder, tmp_path, option, value) -> None:
    arguments = _arguments(folder, "predict", tmp_path / "out")
    arguments[arguments.index(option) + 1] = value
    assert value in _refused(arguments, tmp_path / "out", "gate.pt")


def test_slices_outside_the_models_range_are_refused(folder, tmp_path) -> None:
    arguments = _arguments(folder, "predict", tmp_path / "out")
    arguments[arguments.index("--spacing") + 1] = "7mm"
    assert "6-9 mm" in _refused(arguments, tmp_path / "out", "7mm")


def test_checkpoint_of_another_architecture_is_named(folder, tmp_path) -> None:
    write_gate(folder / "gate.pt", wf=16)
    _refused(_arguments(folder, "predict", tmp_path / "out"), tmp_path / "out", "gate.pt")


def test_file_that_is_no_checkpoint_is_named(folder, tmp_path) -> None:
    (folder / "gate.pt").write_bytes(b"weights")
    _refused(_arguments(folder, "predict", tmp_path / "out"), tmp_path / "out", "gate.pt")


def test_isotropic_scan_is_nothing_to_do(folder, tmp_path) -> None:
    shutil.copy(folder / "scan_t1c_SR-SMORE.nii.gz", folder / "scan_t1c.nii.gz")
    arguments = _arguments(folder, "superresolve", tmp_path / "out")
    assert "nothing to do" in _refused(arguments, tmp_path / "out", "")


def test_nameless_pulse_lists_the_choices(folder, tmp_path) -> None:
    scan = (folder / "scan_t1c.nii.gz").rename(folder / "scan.nii.gz")
    line = _refused(["superresolve", str(scan), "-o", str(tmp_path / "out")], tmp_path / "out", "scan.nii.gz")
    assert "t1c, t1n, t2f, t2w" in line


@pytest.mark.parametrize("verb", ["superresolve", "predict"])
def test_output_folder_that_cannot_be_made_is_named(folder, tmp_path, verb) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    _refused(_arguments(folder, verb, tmp_path / "out"), tmp_path / "out", str(tmp_path / "out"))


def test_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch) -> None:
    """The third file does not fit: the two before it must not stay either."""
    written = []

    def save(image: nibabel.Nifti1Image, path: Path) -> None:
        written.append(path)
        Path(path).write_bytes(b"half a volume")
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("revoxel.core.volumes.nibabel.save", save)
    line = _refused(_arguments(folder, "predict", tmp_path / "out"), tmp_path / "out", "fused")
    assert "No space left on device" in line
    assert len(written) == 3


def test_existing_result_is_kept(folder, tmp_path) -> None:
    kept = write_volume(
        tmp_path / "out" / "fused.nii.gz", *_as_written(folder / "scan_t1c_SR-SMORE.nii.gz")
    ).read_bytes()
    result = CliRunner().invoke(app, _arguments(folder, "predict", tmp_path / "out"))
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert (tmp_path / "out" / "fused.nii.gz").read_bytes() == kept


def _as_written(path: Path):
    volume = read_volume(path)
    return volume.data, volume.grid

"""The zip of a bundle: complete, always the same, whole or not there, refused where it would mislead."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

import weighted_bundle
from revoxel.cli.main import app
from revoxel.core import bundle_zip, bundles
from revoxel.core.bundle_export import ExportFormat
from revoxel.core.bundle_zip import pack_bundle
from revoxel.core.bundles import METADATA, WEIGHTS, bundles_root, generated_files, read_metadata
from revoxel.core.provenance import sha256_of

NAME = "sagnef_5mm_t1c"
VERSION = read_metadata(bundles_root() / NAME)["version"]
ZIP = f"{NAME}_v{VERSION}.zip"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return weighted_bundle.copy_bundle(NAME, tmp_path / "bundles", wf=8)


def test_zip_holds_what_a_model_zoo_asks_for(bundle: Path, tmp_path: Path) -> None:
    (bundle / "models" / "last.pt").touch()
    path = pack_bundle(bundle, tmp_path / "new" / "dist")
    assert path == tmp_path / "new" / "dist" / ZIP
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "there")
    expected = {*generated_files(bundle), WEIGHTS.as_posix()}
    assert {"LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt"} <= expected
    found = {p.relative_to(tmp_path / "there" / NAME).as_posix() for p in tmp_path.glob("there/**/*.*")}
    assert found | {"LICENSE"} == expected
    assert sha256_of(tmp_path / "there" / NAME / WEIGHTS) == sha256_of(bundle / WEIGHTS)


def test_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    first = sha256_of(pack_bundle(bundle, tmp_path))
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / NAME, copy_function=shutil.copyfile)
    (moved / "LICENSE").chmod(0o600)
    assert sha256_of(pack_bundle(moved, tmp_path / "again")) == first


def test_exports_are_added_on_request(bundle: Path, tmp_path: Path) -> None:
    stages: list[tuple[str, float]] = []
    path = pack_bundle(
        bundle, tmp_path, formats=[ExportFormat.torchscript], report=lambda *stage: stages.append(stage)
    )
    assert f"{NAME}/models/model.ts" in ZipFile(path).namelist()
    assert stages == [("check", 0), ("check", 1), ("torchscript", 0), ("torchscript", 1)]
    assert not (bundle / "models" / "model.ts").exists()


def test_existing_zip_is_kept_unless_told_otherwise(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / ZIP).write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        pack_bundle(bundle, tmp_path)
    assert (tmp_path / ZIP).read_text() == "precious"
    assert ZipFile(pack_bundle(bundle, tmp_path, overwrite=True)).testzip() is None


def test_bundle_without_weights_is_packed_only_on_request(bundle: Path, tmp_path: Path) -> None:
    (bundle / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="revoxel bundles adopt"):
        pack_bundle(bundle, tmp_path)
    with pytest.raises(FileNotFoundError, match="revoxel bundles adopt"):
        pack_bundle(bundle, tmp_path, need_weights=False, formats=[ExportFormat.onnx])
    names = ZipFile(pack_bundle(bundle, tmp_path, need_weights=False)).namelist()
    assert f"{NAME}/{METADATA.as_posix()}" in names
    assert not [name for name in names if "/models/" in name]


def test_file_above_the_limit_of_a_zoo_leaves_nothing_behind(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_zip, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(ValueError, match=r"at most 25 MB, got larger \['models/model.pt'\]"):
        pack_bundle(bundle, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one bundle."""
    root = bundles_root().parent
    shutil.copytree(root / "configs", tmp_path / "configs")
    weighted_bundle.give_random_weights(shutil.copytree(root / "bundles" / NAME, tmp_path / "bundles" / NAME))
    shutil.copy(root / "LICENSE", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(bundles, "repository_root", lambda: tmp_path)
    return tmp_path


def _pack(checkout: Path, *arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["bundles", "pack", *arguments, "-o", str(checkout / "dist")])
    return answer.exit_code, answer.output


def test_verb_prints_size_and_checksum(checkout: Path) -> None:
    code, output = _pack(checkout, NAME)
    assert code == 0, output
    assert f"{ZIP}  " in output.replace("\n", "")
    assert f"sha256 {sha256_of(checkout / 'dist' / ZIP)}" in output.replace("\n", "")


def test_bundle_that_drifted_from_its_sources_is_refused(checkout: Path) -> None:
    (checkout / "bundles" / NAME / "LICENSE").write_text("mine")
    code, output = _pack(checkout, NAME)
    assert code == 2
    assert f"got {NAME}/LICENSE" in output.replace("\n", "")
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("name", ["sagnef_9mm_t1c", "..", ""])
def test_unknown_bundle_is_refused(checkout: Path, name: str) -> None:
    code, output = _pack(checkout, name)
    assert code == 2
    assert "see revoxel bundles list" in output

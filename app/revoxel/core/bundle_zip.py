"""The zip of a bundle that a model zoo takes: `{name}_v{version}.zip` with the folder `{name}` inside."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from revoxel.core.bundle_checks import check_fit, check_metadata
from revoxel.core.bundle_export import ExportFormat, export_network
from revoxel.core.bundles import WEIGHTS, generated_files
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

MAX_FILE_BYTES = 25_000_000
_FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644 << 16


def pack_bundle(
    folder: Path,
    target: Path,
    *,
    formats: Collection[ExportFormat] = (),
    need_weights: bool = True,
    overwrite: bool = False,
    report: Callable[[str, float], None] | None = None,
) -> Path:
    """Check a bundle and write its zip; the same bundle gives the same bytes.

    Args:
        folder: the bundle.
        target: folder of the zip; made if it is not there.
        formats: exports to add beside `models/model.pt`.
        need_weights: refuse a bundle without weights.
        overwrite: replace a zip that exists.
        report: is told the name of a stage and its share done.

    Returns:
        The zip.

    Raises:
        FileNotFoundError: If the metadata or the weights are missing.
        FileExistsError: If the zip exists and `overwrite` is off.
        ValueError: If a check fails or a file is above a zoo's 25 MB.
    """
    zip_path = target / f"{folder.name}_v{check_metadata(folder)['version']}.zip"
    if zip_path.exists() and not overwrite:
        msg = f"{zip_path} must not exist yet, got a file; give --overwrite or a new version in the metadata."
        raise FileExistsError(msg)
    with _stage("check", report):
        check_fit(folder, need_weights=need_weights or bool(formats))
    members = {name: folder / name for name in generated_files(folder)}
    if (folder / WEIGHTS).exists():
        members[WEIGHTS.as_posix()] = folder / WEIGHTS
    with tempfile.TemporaryDirectory() as scratch:
        for export_format in formats:
            name = WEIGHTS.with_suffix(f".{export_format}")
            with _stage(export_format.name, report):
                members[name.as_posix()] = export_network(folder, Path(scratch) / name.name, export_format)
        _check_sizes(members)
        with atomic_path(zip_path, overwrite=overwrite) as partial:
            _write(partial, {f"{folder.name}/{name}": members[name] for name in sorted(members)})
    return zip_path


@contextmanager
def _stage(name: str, report: Callable[[str, float], None] | None) -> Iterator[None]:
    if report:
        report(name, 0)
    yield
    if report:
        report(name, 1)


def _check_sizes(members: dict[str, Path]) -> None:
    large = [name for name, path in members.items() if path.stat().st_size > MAX_FILE_BYTES]
    if large:
        msg = f"every file of a bundle must be at most 25 MB, got larger {large}; make the network smaller."
        raise ValueError(msg)


def _write(target: Path, members: dict[str, Path]) -> None:
    with ZipFile(target, "w") as archive:
        for name, path in members.items():
            # Neither time, nor rights, nor the operating system of the packer may change the bytes.
            info = ZipInfo(name, _FIRST_MOMENT)
            info.compress_type, info.external_attr, info.create_system = ZIP_DEFLATED, _PLAIN_FILE, 3
            archive.writestr(info, path.read_bytes())

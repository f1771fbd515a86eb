"""Several files that belong together: all appear, or none does."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def all_or_nothing(target: Path, record: str, replaced: Iterable[Path] = ()) -> Iterator[Path]:
    """Give a hidden folder beside the targets; what the block wrote there is moved when it succeeds.

    Args:
        target: Folder of the results, made if missing; files of the same names are replaced.
        record: Name of the file that vouches for the others: its old version goes first, its new one comes
            last, so that files without a record are known to be incomplete.
        replaced: Older results, files or folders, that must not outlive the new ones.

    Yields:
        Folder to write files to.

    Raises:
        OSError: If the folder cannot be made or written to; older results are still there then.
    """
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target, prefix=".partial.") as hidden:
        yield Path(hidden)
        move_together(Path(hidden), target, record, replaced)


def move_together(source: Path, target: Path, record: str, replaced: Iterable[Path] = ()) -> None:
    """Move every file of a folder to another on the same file system, as `all_or_nothing` does.

    Args:
        source: Folder with files that are whole.
        target: As of `all_or_nothing`.
        record: Likewise.
        replaced: Likewise.

    Raises:
        OSError: If a file cannot be moved; there is no record at the target then.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = sorted(source.iterdir(), key=lambda file: file.name == record)
    for old in (target / record, *replaced):
        if old.is_dir():
            rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for file in made:
        file.replace(target / file.name)

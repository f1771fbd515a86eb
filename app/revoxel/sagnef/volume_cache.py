"""Whole prepared cases in memory or on disk; a file that cannot be used is named before anything trains.

MONAI's `PersistentDataset` keys its files by paths and reads a whole volume for every patch; here the key
covers what is in the files and how they are prepared, and a patch reads no more than its own voxels.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from revoxel import __version__
from revoxel.core.checkpoints import save_tensors
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import read_volume

logger = logging.getLogger(__name__)

Item = dict[str, Any]


class CaseDataset(Dataset[Item]):
    """Cases of a manifest, transformed; whatever fails names the file that it failed on.

    Args:
        data: items from `fold_items`.
        transform: from paths to volumes.
    """

    def __init__(self, data: Sequence[Item], transform: Callable[[Item], Item]) -> None:
        self.data = list(data)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item:
        item = self.data[index]
        try:
            return self.transform(dict(item))
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(_explanation(item, error)) from error


class MappedCases(Dataset[Item]):
    """Prepared cases on disk, mapped into memory when they are read.

    Args:
        paths: files, one per case.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        return torch.load(self.paths[index], mmap=True, weights_only=True)


def prepare_cases(
    data: Sequence[Item],
    transform: Callable[[Item], Item],
    *,
    cache_dir: str | Path | None = None,
    workers: int = 2,
    skip_bad_cases: bool = False,
) -> Sequence[Item] | MappedCases:
    """Prepare every case once, before training.

    Args:
        data: items from `fold_items`.
        transform: deterministic, from paths to volumes.
        cache_dir: folder that keeps the prepared volumes over runs; None keeps them in memory.
        workers: cases that are prepared at once.
        skip_bad_cases: leave out, with a warning, cases whose files cannot be used.

    Returns:
        The prepared cases, in order.

    Raises:
        ValueError: If a case cannot be used and is not to be skipped, or none is left; the file is named.
        OSError: If the cache cannot be written.
    """
    cases = CaseDataset(data, transform)
    fetch = cases.__getitem__ if cache_dir is None else partial(_stored, cases, Path(cache_dir))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        jobs = pool.map(partial(_attempt, fetch), range(len(cases)))
        hidden = True if idist.get_rank() else None
        results = list(tqdm(jobs, total=len(cases), desc="cases", disable=hidden))
    problems = [result for result in results if isinstance(result, ValueError)]
    if problems and (not skip_bad_cases or len(problems) == len(results)):
        more = f" (and {len(problems) - 1} more cases)" if len(problems) > 1 else ""
        msg = f"{problems[0]}{more}"
        raise ValueError(msg) from problems[0]
    for problem in problems:
        logger.warning("case left out: %s", problem)
    prepared: list[Any] = [result for result in results if not isinstance(result, ValueError)]
    return prepared if cache_dir is None else MappedCases(prepared)


def _attempt(fetch: Callable[[int], Any], index: int) -> Any:
    try:
        return fetch(index)
    except ValueError as error:
        return error


def _stored(cases: CaseDataset, folder: Path, index: int) -> Path:
    """File with a prepared case, written first if it is not there."""
    path = folder / f"{fingerprint(cases.data[index], cases.transform)}.pt"
    if not path.is_file():
        save_tensors(cases[index], path)
    return path


def fingerprint(item: Item, transform: Any) -> str:
    """Name of a prepared case: changes with its files, its facts, the preparation and the package.

    Args:
        item: paths and facts of a case.
        transform: a transform, or several in `transforms`; its attributes are its parameters.

    Returns:
        64 hexadecimal digits, equal in every process.
    """
    files = {key: _stamp(value) for key, value in item.items() if _is_file(value)}
    steps = [[type(step).__name__, vars(step)] for step in getattr(transform, "transforms", [transform])]
    content = [__version__, item, files, steps]
    text = json.dumps(content, default=lambda value: type(value).__name__, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_file(value: object) -> bool:
    return isinstance(value, str) and Path(value).is_file()


def _stamp(path: str) -> tuple[int, int]:
    state = Path(path).stat()
    return state.st_size, state.st_mtime_ns


def _explanation(item: Mapping[str, Any], error: BaseException) -> str:
    """One line that names the file: of the first unreadable one, else of what was refused."""
    for path in filter(_is_file, item.values()):
        try:
            read_volume(path)
        except (OSError, ValueError) as problem:
            return reason_of(problem)
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{item.get('subject', 'case')} ({item.get('pulse', 'no pulse')}): {reason_of(error)}"

"""What the speed benchmarks share: ways timed in turns, the machine's limits, and rows of one table."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from revoxel.core.compute import fast_dtype

_TABLE_WIDTH = 128
_LIMIT_CHANNELS = 64
# A processor is fastest on what its cache holds, a GPU on what keeps all of it busy.
_LIMIT_SIDE = {"cpu": 32, "cuda": 128}
_COPIED_BYTES = 1 << 28


@dataclass(frozen=True)
class Seconds:
    """One call.

    Attributes:
        clock: Seconds on the wall.
        processor: Seconds of all threads: on a busy machine the wall measures the neighbours.
    """

    clock: float
    processor: float


@dataclass(frozen=True)
class Row:
    """One line of the table of benchmarks; times in seconds of the clock unless `what` says otherwise.

    Attributes:
        what: Work and its size.
        ours: Seconds of the package.
        stock: Seconds of what it is compared with.
        ratio: Median over the turns of stock / ours.
        limit: Seconds that the machine's measured peak rate would take.
        bound: Name of that rate.
    """

    what: str
    ours: float
    stock: float
    ratio: float
    limit: float
    bound: str


def timed(run: Callable[[], object]) -> Seconds:
    """Time one call, with what it leaves a GPU to do."""
    _wait_for_gpu()
    clock, processor = time.perf_counter(), time.process_time()
    run()
    _wait_for_gpu()
    return Seconds(time.perf_counter() - clock, time.process_time() - processor)


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def in_turns(
    ways: Mapping[str, Callable[[], Seconds]], n_turns: int, n_warm: int = 1
) -> dict[str, list[Seconds]]:
    """Time every way once per turn, so that a change of the machine's load meets all of them.

    Args:
        ways: Calls that time themselves, see `timed`.
        n_turns: Turns that count.
        n_warm: Turns before that, which do not.
    """
    turns = [{name: run() for name, run in ways.items()} for _ in range(n_warm + n_turns)][n_warm:]
    return {name: [turn[name] for turn in turns] for name in ways}


def compare(
    what: str,
    ours: Sequence[Seconds],
    stock: Sequence[Seconds],
    limit: tuple[Seconds, str],
    *,
    processor: bool,
) -> Row:
    """One row from two ways timed in turns.

    Args:
        what: Work and its size.
        ours: Turns of the package.
        stock: Turns of the other way.
        limit: Time at the machine's peak rate, and the name of the rate.
        processor: Count seconds of the processor instead of the clock.
    """
    clock = "processor" if processor else "clock"
    own, other = ([getattr(turn, clock) for turn in turns] for turns in (ours, stock))
    ratio = statistics.median(b / a for a, b in zip(own, other, strict=True))
    seconds = statistics.median(own), statistics.median(other)
    return Row(f"{what} ({clock})", *seconds, ratio, getattr(limit[0], clock), limit[1])


def convolving(operations: float, device: torch.device | str = "cpu") -> Seconds:
    """Time for so many operations at the highest measured rate of a 3D convolution in the fast format."""
    device = torch.device(device)
    side = _LIMIT_SIDE[device.type]
    layer = torch.nn.Conv3d(_LIMIT_CHANNELS, _LIMIT_CHANNELS, 3, padding=1, bias=False)
    layer = layer.to(device, fast_dtype(device), memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    x = torch.rand((1, _LIMIT_CHANNELS, side, side, side), device=device, dtype=fast_dtype(device))
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        best = _fastest(lambda: layer(x), 12)
    share = operations / (2 * 27 * _LIMIT_CHANNELS**2 * side**3)
    return Seconds(best.clock * share, best.processor * share)


def copying(n_bytes: float, device: torch.device | str = "cpu") -> Seconds:
    """Time to read so many bytes once and write them once, at the highest measured rate of a copy."""
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best, share = _fastest(lambda: target.copy_(source), 5), n_bytes / _COPIED_BYTES
    return Seconds(best.clock * share, best.processor * share)


def _fastest(run: Callable[[], object], n_calls: int) -> Seconds:
    calls = [timed(run) for _ in range(n_calls)]
    return Seconds(min(call.clock for call in calls), min(call.processor for call in calls))


def parser(description: str | None, *, gpu: bool = False) -> argparse.ArgumentParser:
    """Options that all speed benchmarks have.

    Args:
        description: What the script says of itself.
        gpu: Whether it can run on one, and so has `--device`.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--quick", action="store_true", help="fewer repeats")
    options.add_argument("--threads", type=int, help="processor threads; all cores if left out")
    if gpu:
        options.add_argument("--device", default="cpu", help="cpu, cuda:N, or auto: a GPU if there is one")
    options.add_argument("--rows", type=Path, help="file that the rows are appended to")
    return options


def show(rows: Sequence[Row], title: str, file: Path | None = None) -> None:
    """Print rows as a table, and append them to a file for `table.py`.

    Args:
        rows: What was measured.
        title: Line above the table.
        file: JSON lines.
    """
    table = Table("what", "ours s", "stock s", "ratio", "limit s", "share of limit", "limit is", title=title)
    for row in rows:
        share = f"{100 * row.limit / row.ours:.0f} %"
        numbers = (f"{value:.3g}" for value in (row.ours, row.stock, row.ratio, row.limit))
        table.add_row(row.what, *numbers, share, row.bound)
    Console(width=_TABLE_WIDTH).print(table)
    if file:
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(row)) + "\n" for row in rows)

"""Scaling: time and memory as volumes grow, one thread and two, a cohort with one worker and with two.

    python benchmarks/scaling.py [--quick] [--threads N] [--device cpu]

Bargain: less than 4 minutes on 2 idle cores (--quick, smaller and fewer volumes: 1.5 minutes). Needs no data.
Every size of a synthetic head runs in a process of its own, after a small volume that does not count.
"chain" is the whole of `revoxel superresolve` from file to files, but the learned experts tune for a few
steps only: their tuning takes the same time whatever the volume.
Growing: "stock" is so many times the time of the smallest volume, so 1 is linear and more is better. Threads
and workers: "stock" is one worker with one thread, the limit half of its time.
Memory: the most that a process held above what it held before and what it returned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from pairs import Row, Seconds, compare, parser, show
from rich.console import Console
from rich.table import Table
from scaling_cohort import Crew, cohort_time, write_cohort
from scaling_work import (
    WARM,
    Cost,
    Shape,
    apart,
    chain_cost,
    gate_call,
    gate_cost,
    step_call,
    turns_by_threads,
    unires_call,
    write_scan,
    write_stack,
)

from revoxel.core.compute import n_cores, resolve_device, set_threads

CREWS = {"1 worker": Crew(1, 1), "2 workers": Crew(2, 1), "1 worker of 2 threads": Crew(1, 2)}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        factors: Sizes of the growing volume; the first is 1.
        gate: Shape of the volume at eight times the smallest, for the gate.
        chain: The same for the chain.
        threads: Volume on which threads are counted.
        subjects: Cases of the cohort.
        subject: Shape of a case at 1 mm.
        tuning: Steps of the learned experts on a case of the cohort.
    """

    factors: tuple[int, ...] = (1, 2, 4, 8)
    gate: Shape = (302, 302, 195)
    chain: Shape = (240, 240, 160)
    threads: Shape = (160, 160, 104)
    subjects: int = 4
    subject: Shape = (128, 128, 80)
    tuning: int = 40


QUICK = Sizes((1, 4), (240, 240, 156), (160, 160, 105), (120, 120, 80), 4, (96, 96, 60), 20)


def growing(
    what: str, cost: Callable[..., Cost], files: dict[Shape, Path], threads: int | None, device: str
) -> list[Row]:
    """Print time and memory of every size, and compare each with the smallest; the first file warms up."""
    (_, warm), *sized = files.items()
    costs = {shape: apart(cost, warm, file, threads, device) for shape, file in sized}
    smallest = prod(sized[0][0])
    table = Table("volume", "voxels", "clock s", "processor s", "us per voxel", "extra MB", title=what)
    rows = []
    for shape, taken in costs.items():
        n_voxels, seconds = prod(shape), taken.seconds
        numbers = f"{seconds.clock:.2f}", f"{seconds.processor:.2f}", f"{1e6 * seconds.clock / n_voxels:.2f}"
        table.add_row(str(shape), f"{n_voxels / 1e6:.1f} M", *numbers, f"{taken.extra_bytes / 2**20:.0f}")
        linear = _times(costs[sized[0][0]].seconds, n_voxels / smallest)
        label = f"{what}, {n_voxels / smallest:.0f}x voxels"
        processor = device == "cpu"
        rows.append(compare(label, [seconds], [linear], (linear, "linear growth"), processor=processor))
    Console().print(table)
    return rows[1:]


def _times(seconds: Seconds, factor: float) -> Seconds:
    return Seconds(seconds.clock * factor, seconds.processor * factor)


def grown(eightfold: Shape, factors: Sequence[int]) -> list[Shape]:
    """Shapes of one form that have so many times the voxels of an eighth of the largest."""
    sides = [tuple(round(side * (factor / 8) ** (1 / 3)) for side in eightfold) for factor in factors]
    return [(x, y, z) for x, y, z in sides]


def volume_rows(sizes: Sizes, folder: Path, threads: int | None, device: str) -> list[Row]:
    """Gate inference and the whole chain as volumes grow."""
    rows = []
    for what, suffix, write, cost, largest in (
        ("gate", ".npy", write_stack, gate_cost, sizes.gate),
        ("chain", ".nii.gz", write_scan, chain_cost, sizes.chain),
    ):
        shapes = [WARM, *grown(largest, sizes.factors)]
        files = {shape: folder / f"{what}{prod(shape)}{suffix}" for shape in shapes}
        for shape, file in files.items():
            write(shape, file)
        rows += growing(what, cost, files, threads, device)
    return rows


def thread_rows(sizes: Sizes, n_turns: int) -> list[Row]:
    """Each piece of work with one thread and with two."""
    rows = []
    for what, make in {"gate": gate_call, "UniRes": unires_call, "training step": step_call}.items():
        one, two = apart(turns_by_threads, make, sizes.threads, n_turns)
        half = _times(min(one, key=lambda seconds: seconds.clock), 0.5)
        rows.append(compare(f"{what}, 2 threads", two, one, (half, "half the time"), processor=False))
    return rows


def cohort_rows(sizes: Sizes, folder: Path) -> list[Row]:
    """A cohort by two workers, and by one with two threads, against one with one."""
    manifest, warm = write_cohort(folder, sizes.subjects, sizes.subject), folder / "warm.nii.gz"
    write_scan(WARM, warm)
    table = Table(
        "workers",
        "start-up s",
        "cases a minute",
        title=f"{sizes.subjects} cases, {sizes.tuning} steps of tuning",
    )
    seconds = {}
    for name, crew in CREWS.items():
        taken = cohort_time(manifest, warm, crew, sizes.tuning)
        table.add_row(name, f"{taken.start_up:.1f}", f"{60 * sizes.subjects / taken.work:.1f}")
        seconds[name] = [Seconds(taken.work, 0)]
    Console().print(table)
    alone = seconds.pop("1 worker")
    half = _times(alone[0], 0.5), "half the time"
    return [
        compare(f"cohort, {name}", taken, alone, half, processor=False) for name, taken in seconds.items()
    ]


def main() -> None:
    """Print times and memory, and the rows."""
    options = parser(__doc__, gpu=True).parse_args()
    sizes, device = QUICK if options.quick else Sizes(), str(resolve_device(options.device))
    n_threads = set_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        rows = volume_rows(sizes, Path(name), options.threads, device)
        if n_cores() > 1 and device == "cpu":
            rows += thread_rows(sizes, 2 if options.quick else 3) + cohort_rows(sizes, Path(name))
    show(rows, f"scaling, {n_threads} threads", options.rows)


if __name__ == "__main__":
    main()

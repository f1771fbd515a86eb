"""What `scaling.py` measures, each piece in a process of its own: work, its time and its memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from gate_inference import AGREEMENT, resident_bytes, stand_in_experts, synthetic_head
from pairs import Seconds, in_turns, timed
from torch import Tensor
from training_step import batch, make_step

from revoxel.core.compute import set_seed, set_threads
from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume, write_volume
from revoxel.core.windows import FastWindowInferer
from revoxel.experts import run as experts_run
from revoxel.experts.prepare import prepare
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate
from revoxel.experts.unires import unires
from revoxel.sagnef import SAGNEF
from revoxel.sagnef.mixtures import mean_of_experts, spread_of_experts
from revoxel.sagnef.pipeline import superresolve
from revoxel.sagnef.planning import SuperresolveSettings

Shape = tuple[int, int, int]
Given = ParamSpec("Given")
Result = TypeVar("Result")
PROFILE = SliceProfile.gauss(5.0)
SEPARATION_MM, INTENSITY = 5.0, 1000.0
N_EXPERTS, WF, STEP_SIDE = 4, 24, 48
WARM = (40, 40, 40)
#: Tuning of the learned experts takes the same time whatever the volume, so little of it is enough here.
N_TUNING_STEPS = 4
_PRELOADED = ["monai.inferers", "monai.losses", "revoxel.core.training", "revoxel.sagnef.pipeline"]


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Attributes:
        seconds: Its time.
        extra_bytes: Most memory above its inputs and outputs.
    """

    seconds: Seconds
    extra_bytes: int


def apart(function: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Call in a new process: threads, caches and the peak of memory are a process's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *given, **named).result()


def write_stack(shape: Shape, file: Path) -> None:
    """The scan and four experts of a synthetic head."""
    np.save(file, stand_in_experts(synthetic_head(shape)).numpy())


def gate_cost(warm: Path, file: Path, threads: int | None, device: str) -> Cost:
    """Gate inference along the head, from experts in memory to the fused volume and the weights."""
    set_threads(threads)
    run_gate(torch.from_numpy(np.load(warm)).to(device))
    stack = torch.from_numpy(np.load(file)).to(device)
    return _costed(lambda: run_gate(stack), device)


def run_gate(stack: Tensor) -> tuple[Tensor, ...]:
    """What `fuse` does with a gate; its weights make no difference to the cost."""
    set_seed(0)
    gate = SAGNEF(N_EXPERTS + 1, N_EXPERTS, WF, residual=True).eval().to(stack.device)
    experts = stack[:, 1:]
    uniform = torch.full((1, N_EXPERTS, 1, 1, 1), 1 / N_EXPERTS, device=stack.device)
    active = (spread_of_experts(experts) > AGREEMENT)[0, 0]
    return FastWindowInferer(64)(stack, gate, active=active, fallback=(mean_of_experts(experts), uniform))


def thick_head(shape: Shape) -> Volume:
    """5 mm slices of a synthetic head of 1 mm voxels."""
    truth = Volume(INTENSITY * synthetic_head(shape), Grid(shape, np.eye(4)))
    return simulate(truth, profile=PROFILE, separation_mm=SEPARATION_MM, axis=2)


def thick_problem(shape: Shape) -> SliceProblem:
    """The same, cropped to tissue, as the experts see it."""
    return prepare(thick_head(shape), PROFILE).problem


def write_scan(shape: Shape, file: Path) -> None:
    """The thick head as a file."""
    low = thick_head(shape)
    write_volume(file, low.data, low.grid, overwrite=True)


def chain_cost(warm: Path, file: Path, threads: int | None, device: str) -> Cost:
    """`revoxel superresolve`: from the scan's file to all files of the result, with little tuning."""
    set_threads(threads)
    cut_tuning(N_TUNING_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        run_chain(warm, Path(folder), device)
        return _costed(partial(run_chain, file, Path(folder), device), device)


def run_chain(file: Path, out: Path, device: str) -> list[Any]:
    """The arrays of a result whose files are written."""
    settings = SuperresolveSettings(pulse="t1c", device=device)
    result = superresolve(file, out, settings)
    stack = result.stack
    return [result.fused.volume, result.fused.weights, stack.low_on_high, *stack.experts.values()]


def cut_tuning(n_steps: int) -> None:
    """Tune the learned experts of this process for fewer steps."""
    recipes = experts_run.RECIPES.items()
    experts_run.RECIPES = {name: replace(recipe, n_steps_warm=n_steps) for name, recipe in recipes}


def _costed(run: Callable[[], Sequence[Any]], device: str) -> Cost:
    outputs: list[Any] = []
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before, seconds = torch.cuda.memory_allocated(), timed(lambda: outputs.extend(run()))
        peak = torch.cuda.max_memory_allocated()
        outputs = [part for part in outputs if getattr(part, "is_cuda", False)]
    else:
        # What the small volume left free would hide what this one takes.
        ctypes.CDLL(None).malloc_trim(0)
        before, seconds = resident_bytes(), timed(lambda: outputs.extend(run()))
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(seconds, max(0, peak - before - sum(part.nbytes for part in outputs)))


def gate_call(shape: Shape) -> Callable[[], object]:
    """Gate inference, ready to be called."""
    return partial(run_gate, stand_in_experts(synthetic_head(shape)))


def unires_call(shape: Shape) -> Callable[[], object]:
    """The UniRes-type expert, ready to be called."""
    return partial(unires, thick_problem(shape))


def step_call(_shape: Shape) -> Callable[[], object]:
    """One step of the gate's training, ready to be called."""
    return partial(make_step("revoxel", seed=0), *batch(STEP_SIDE, 0))


def turns_by_threads(
    make: Callable[[Shape], Callable[[], object]], shape: Shape, n_turns: int
) -> tuple[list[Seconds], list[Seconds]]:
    """Seconds of a call with one thread and with two, in turns."""
    run = make(shape)

    def with_threads(n_threads: int) -> Seconds:
        set_threads(n_threads)
        return timed(run)

    turns = in_turns({str(count): partial(with_threads, count) for count in (1, 2)}, n_turns)
    return turns["1"], turns["2"]

"""`revoxel asl evaluate`: the fit, the blurred fit and networks on simulated scans whose truth is known."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from revoxel.cli.asl_parsing import parse_named_paths, parse_numbers
from revoxel.cli.options import (
    DebugOption,
    DeviceOption,
    DryRunOption,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from revoxel.asl.evaluation.comparison import Comparison, EvaluationPlan
    from revoxel.asl.evaluation.held_out import ScanRecipe
    from revoxel.asl.network.inference import NetworkEstimator
    from revoxel.asl.quantification.estimation import MapEstimator

ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Trained network; repeat for several, repeat a NAME for the mean of networks.",
        metavar="NAME=FILE",
    ),
]


def evaluate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/asl_evaluation"),
    model: ModelsOption = None,
    kind: Annotated[Literal["folded", "seed", "uniform"], typer.Option(help="Phantoms.")] = "folded",
    phantoms: Annotated[int, typer.Option(min=1, help="Slices per noise level.")] = 20,
    size: Annotated[int, typer.Option(min=16, help="Rows and columns of a slice.")] = 64,
    snr: Annotated[str, typer.Option(help="Noise levels, SNR60, by commas.")] = "5,10,30",
    noise: Annotated[Literal["gaussian", "rician"], typer.Option(help="Thermal noise.")] = "gaussian",
    mismatch_snr: Annotated[
        float, typer.Option(min=0, help="Noise level of scans with other constants; 0 leaves them out.")
    ] = 10.0,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Score the fit, the best blurred fit and networks on held-out phantoms, all over the same voxels.

    SNR60 is the signal of PCASL at CBF 60 ml/100g/min, ATT 1500 ms and PLD 2000 ms over the noise of a
    difference image. Written: metrics.json (whole brain, right constants), scores.csv (every statistic by
    region, with 95 % intervals over phantoms, right and wrong constants), evaluation.json, evaluation.png.

    Example: revoxel asl evaluate -o out/asl_evaluation --model mine=runs/asl/best.pt --snr 10,30
    """
    from rich.console import Console

    from revoxel.asl.evaluation.comparison import EvaluationPlan, run_plan
    from revoxel.asl.evaluation.held_out import ScanRecipe
    from revoxel.asl.evaluation.score_outputs import EvaluationPaths, save_evaluation
    from revoxel.asl.simulation.noise import AslNoise
    from revoxel.asl.simulation.phantom import PhantomConfig
    from revoxel.core.compute import set_threads

    set_threads(threads)
    recipe = ScanRecipe(PhantomConfig(kind, size), AslNoise(noise), n_phantoms=phantoms, seed=seed)
    plan = EvaluationPlan(recipe, parse_numbers(snr, "--snr"), mismatch_snr or None)
    paths, networks = EvaluationPaths(out), parse_named_paths(model or [], "--model")
    if not overwrite:
        paths.refuse_existing()
    console = Console()
    if dry_run:
        console.print(_plan_table(plan, networks, out))
        return
    methods = {name: _network(files, device) for name, files in networks.items()}
    plan = replace(plan, recipe=_with_delays_of(recipe, methods))
    with stage_bars() as report:
        comparisons = run_plan(plan, methods, report)
        linear = _linearity(plan, methods, report)
    facts = {
        "command": shlex.join(["revoxel", *sys.argv[1:]]),
        "models": {name: [str(item.path) for item in network.models] for name, network in methods.items()},
        "amplitude_linearity": linear,
    }
    files = save_evaluation(paths, plan, comparisons, facts, overwrite=overwrite)
    _tell(console, plan, comparisons, linear)
    console.print("\n".join(f"{what:8} {path}" for what, path in files.items()), soft_wrap=True)


def _network(files: list[Path], device: str) -> NetworkEstimator:
    from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
    from revoxel.asl.network.models import load_asl_model

    return NetworkEstimator([load_asl_model(path) for path in files], InferenceOptions(device=device))


def _with_delays_of(recipe: ScanRecipe, networks: Mapping[str, NetworkEstimator]) -> ScanRecipe:
    """Scans with the delays and constants that the networks were made for."""
    models = [model for network in networks.values() for model in network.models if not model.any_protocol]
    if not models:
        return recipe
    others = [str(model.path) for model in models if model.protocol != models[0].protocol]
    if others:
        msg = f"networks must have the same delays, got others in {others[0]}; evaluate them apart."
        raise ValueError(msg)
    first = models[0]
    return replace(recipe, protocol=first.protocol, physics=first.physics, assumed=first.physics)


def _linearity(
    plan: EvaluationPlan, networks: Mapping[str, MapEstimator], report: Callable[[str, float], None]
) -> dict[str, dict[str, dict[str, float]]]:
    from revoxel.asl.evaluation.baselines import FIT, fitted
    from revoxel.asl.evaluation.comparison import amplitude_linearity

    methods, found = {FIT: fitted, **networks}, {}
    for number, (name, method) in enumerate(methods.items()):
        report("linearity", number / len(methods))
        found[name] = amplitude_linearity(method, plan.recipe)
    report("linearity", 1.0)
    return found


def _tell(
    console: Console,
    plan: EvaluationPlan,
    comparisons: Sequence[Comparison],
    linear: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> None:
    from revoxel.asl.evaluation.comparison import Scenario
    from revoxel.asl.evaluation.score_tables import accuracy_rows, mismatch_rows, pairing_rows, region_rows
    from revoxel.core.report import number_table

    matched = [item for item in comparisons if item.scenario is Scenario.MATCHED][: len(plan.snrs)]
    for item in matched:
        title = f"SNR60 {item.snr:g}, right constants [95 % interval over phantoms]"
        console.print(number_table(title, accuracy_rows(item), first_column="whole brain"))
    middle = matched[len(matched) // 2]
    for method in middle.scores.methods:
        title = f"{method}, SNR60 {middle.snr:g}, by region"
        console.print(number_table(title, region_rows(middle, method), first_column="region"))
        wrong = mismatch_rows(comparisons, method)
        if wrong:
            title = f"{method}, SNR60 {plan.mismatch_snr:g}, told the standard constants"
            console.print(number_table(title, wrong, first_column="true constants"))
    title = f"The fit at SNR60 {middle.snr:g} under right and wrong pairings with the truth (ATT: CBF > 15)"
    console.print(number_table(title, pairing_rows(middle), first_column="pairing"))
    rows = {
        f"{method}, {what}": dict(numbers)
        for method, kinds in linear.items()
        for what, numbers in kinds.items()
    }
    console.print(number_table("Linearity of CBF", rows, first_column="method and signals"))


def _plan_table(plan: EvaluationPlan, networks: Mapping[str, Sequence[Path]], out: Path) -> Table:
    from revoxel.asl.evaluation.baselines import BLURRED_FIT, FIT
    from revoxel.core.report import fact_table

    phantom = plan.recipe.phantom
    wrong = "left out" if plan.mismatch_snr is None else f"at SNR60 {plan.mismatch_snr:g}"
    facts = {
        "scans": f"{plan.recipe.n_phantoms} {phantom.kind} phantoms of {phantom.size} x {phantom.size}, "
        f"seed {plan.recipe.seed}",
        "noise": f"{plan.recipe.noise.kind}, SNR60 {', '.join(f'{snr:g}' for snr in plan.snrs)}",
        "wrong constants": wrong,
        "methods": ", ".join((FIT, BLURRED_FIT, *networks)),
        **{name: ", ".join(map(str, files)) for name, files in networks.items()},
        "folder": str(out),
    }
    return fact_table("Dry run: nothing is written", facts)

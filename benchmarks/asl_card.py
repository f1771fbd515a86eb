"""Figures of an ASL bundle's model card, from held-out phantoms: `python benchmarks/asl_card.py asl_cbf_att`.

Writes `configs/asl/figures/NAME.md`; `revoxel bundles build` puts it into the card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from revoxel.asl.evaluation.baselines import BLURRED_FIT, FIT
from revoxel.asl.evaluation.comparison import (
    Comparison,
    EvaluationPlan,
    Scenario,
    amplitude_linearity,
    run_plan,
)
from revoxel.asl.evaluation.held_out import ScanRecipe
from revoxel.asl.evaluation.regions import Region, Target
from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
from revoxel.asl.network.models import AslModel, load_asl_model
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.core.bundles import WEIGHTS, bundle_folder, configs_root
from revoxel.core.provenance import sha256_of

TRAINING = "training"
NETWORK, ONE_PASS = "network", "network, one pass"
REGIONS = (Region.GREY_MATTER, Region.WHITE_MATTER, Region.CSF, Region.LESION, Region.BOUNDARY)
MATCHED_COLUMNS = (
    "SNR60",
    "method",
    "CBF MAE",
    "ATT MAE",
    "CBF bias",
    "ATT bias",
    "CBF slope",
    "wins over the fit",
    "wins over the blurred fit",
    "within 1 sd",
    "within 1.96 sd",
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--weights", type=Path, help="checkpoint instead of the bundle's own")
    parser.add_argument("--phantoms", type=int, default=60)
    chosen = parser.parse_args()
    path = chosen.weights or bundle_folder(chosen.bundle) / WEIGHTS
    target = configs_root() / "asl" / "figures" / f"{chosen.bundle}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(_lines(path, chosen.phantoms, chosen.bundle)) + "\n", encoding="utf-8")
    sys.stdout.write(target.read_text(encoding="utf-8"))


def _methods(model: AslModel) -> dict[str, NetworkEstimator]:
    """The shipped network, and of an ensemble every training by itself."""
    alone = [replace(model, network=part) for part in getattr(model.network, "members", [])]
    return {f"{TRAINING} {number}": NetworkEstimator([one]) for number, one in enumerate(alone, 1)} | {
        ONE_PASS: NetworkEstimator([model], InferenceOptions(flips=False)),
        NETWORK: NetworkEstimator([model]),
    }


def _lines(path: Path, n_phantoms: int, bundle: str) -> Iterator[str]:
    model = load_asl_model(path)
    methods = _methods(model)
    recipe = ScanRecipe(
        protocol=model.protocol, physics=model.physics, assumed=model.physics, n_phantoms=n_phantoms
    )
    done = run_plan(EvaluationPlan(recipe), methods)
    matched = [item for item in done if item.scenario is Scenario.MATCHED]
    trainings = [name for name in methods if name.startswith(TRAINING)]
    yield from _introduction(path, n_phantoms, bundle, len(trainings))
    yield from ["", "Right constants:", "", *_table(MATCHED_COLUMNS, map(_matched_row, *_pairs(matched))), ""]
    if trainings:
        yield from ["The trainings alone and their mean:", "", *_seed_table(matched, trainings), ""]
    yield from ["By region at SNR60 10 (CBF MAE / ATT MAE):", "", *_region_table(matched[1]), ""]
    wrong = [item for item in done if item.scenario is not Scenario.MATCHED]
    yield from [
        "Other constants than those assumed, SNR60 10 (CBF bias / ATT bias):",
        "",
        *_wrong_table(wrong),
        "",
    ]
    seed = replace(recipe, phantom=PhantomConfig("seed"), n_phantoms=min(20, n_phantoms))
    plan = EvaluationPlan(seed, (30.0,), mismatch_snr=None)
    rows = map(_matched_row, *_pairs(run_plan(plan, methods)))
    yield from ["Phantoms of the earlier project (`seed`) at its own noise, on which it was not trained:", ""]
    yield from [*_table(MATCHED_COLUMNS, rows), ""]
    line = amplitude_linearity(methods[NETWORK], replace(recipe, n_phantoms=4))
    levels, scaled = line["levels"], line["scaled inputs"]
    deviation = levels["max_deviation"]
    yield f"Linearity: slope {levels['slope']:.3f} over CBF 10 to 150 (largest deviation {deviation:.2f}),"
    yield f"{scaled['slope']:.4f} over inputs times 0.5 to 2."


def _introduction(path: Path, n_phantoms: int, bundle: str, n_trainings: int) -> Iterator[str]:
    yield f"{n_phantoms} held-out folded phantoms; CBF in ml/100g/min, ATT in ms,"
    yield "mean absolute errors over all voxels of the brain with 95 % intervals over phantoms."
    yield f"Weights SHA-256 `{sha256_of(path)[:12]}`; measured by"
    yield f"`python benchmarks/asl_card.py {bundle} --phantoms {n_phantoms}`."
    if n_trainings:
        yield f"`network` is the mean of {n_trainings} trainings that differ in seed and data; each of them"
        yield "stands in the tables by itself as well."
    yield "All are means over four mirror images, the default; `one pass` is without."


def _pairs(comparisons: Sequence[Comparison]) -> tuple[list[Comparison], list[str]]:
    pairs = [(item, method) for item in comparisons for method in item.scores.methods]
    return [item for item, _ in pairs], [method for _, method in pairs]


def _matched_row(item: Comparison, method: str) -> list[str]:
    cbf, att = (item.scores.intervals(method, target) for target in Target)

    def percent(name: str) -> str:
        return f"{100 * cbf[name].value:.0f} / {100 * att[name].value:.0f} %" if name in cbf else ""

    return [
        f"{item.snr:g}",
        method,
        f"{cbf['mae'].value:.2f} ({cbf['mae'].low:.2f} to {cbf['mae'].high:.2f})",
        f"{att['mae'].value:.1f} ({att['mae'].low:.1f} to {att['mae'].high:.1f})",
        f"{cbf['bias'].value:+.2f}",
        f"{att['bias'].value:+.1f}",
        f"{cbf['slope'].value:.3f}",
        "" if method == FIT else percent(f"win_{FIT}"),
        "" if method == BLURRED_FIT else percent(f"win_{BLURRED_FIT}"),
        percent("coverage68"),
        percent("coverage95"),
    ]


def _seed_table(items: Sequence[Comparison], trainings: Sequence[str]) -> list[str]:
    """Mean, range and standard deviation over trainings, beside the ensemble."""

    def cells(item: Comparison, target: Target) -> list[str]:
        digits = 3 if target is Target.CBF else 1
        found = [float(item.scores.intervals(name, target)["mae"].value) for name in trainings]
        spread = f"{mean(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"
        both = float(item.scores.intervals(NETWORK, target)["mae"].value)
        return [spread, f"{stdev(found):.{digits}f}", f"{both:.{digits}f}"]

    rows = [[f"{item.snr:g}", *(cell for target in Target for cell in cells(item, target))] for item in items]
    parts = ("alone (range)", "sd", "ensemble")
    columns = [f"{target.upper()} {part}" for target in Target for part in parts]
    return _table(("SNR60", *columns), rows)


def _region_table(item: Comparison) -> list[str]:
    def cell(method: str, region: Region) -> str:
        at = item.scores.regions.index(region)
        cbf, att = (item.scores.statistics(method, target)["mae"][at] for target in Target)
        return f"{cbf:.2f} / {att:.0f}"

    rows = [[method, *(cell(method, region) for region in REGIONS)] for method in item.scores.methods]
    return _table(("method", *REGIONS), rows)


def _wrong_table(items: Sequence[Comparison]) -> list[str]:
    def cell(item: Comparison, method: str) -> str:
        cbf, att = (item.scores.intervals(method, target)["bias"].value for target in Target)
        return f"{cbf:+.1f} / {att:+.0f}"

    rows = [[str(item.scenario), cell(item, FIT), cell(item, NETWORK)] for item in items]
    return _table(("truth", FIT, NETWORK), rows)


def _table(columns: Sequence[str], rows: object) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()

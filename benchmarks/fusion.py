"""Score a gate beside every baseline on rows of the training set.

    python benchmarks/fusion.py SET/kfolds_manifest.json --checkpoint GATE.pt -o scores.json SUBJECT ...

Rows: each expert, mean, global simplex (as shipped, or fitted by the gate's training: `--simplex`), cautious
weights without and with consistency (what superresolve does when it finds the experts over-sharpened, or told
a profile that the scan contradicts; fitted on all training patients), best expert + consistency,
SAGNEF, SAGNEF + consistency, and two oracles that see the truth: the best expert in cubes of 9 voxels, and
per voxel. Region: brain dilated by the separation; range: 99.9 percentile there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from experts import fitted, scored_region
from revoxel.core.compute import set_threads
from revoxel.core.manifest import Case, Manifest, load_manifest
from revoxel.core.metrics import Scores, score
from revoxel.core.volumes import read_volume
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.fusion import FusionSettings, ScanData, fuse
from revoxel.sagnef.gates import Gate, cautious_weights, load_gate, simplex_weights
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

Volume3D = NDArray[np.float32]
_CUBE = 9


@dataclass(frozen=True)
class GlobalWeights:
    """One weight per expert: for experts that were told the right profile, and for over-sharpened ones."""

    simplex: dict[Expert, float]
    cautious: dict[Expert, float]


def fused_rows(manifest: Manifest, case: Case, gate: Gate, weights: GlobalWeights) -> dict[str, Volume3D]:
    """Every method's volume for one case."""
    low = read_volume(manifest.resolve(case.lr))
    experts = {e: read_volume(manifest.resolve(case.experts[e.value])) for e in Expert}
    data = {expert: volume.data for expert, volume in experts.items()}
    stack = ExpertStack(
        data, data[Expert.BSPLINE], experts[Expert.BSPLINE].grid, case.axis,
        intensity_of(low, gate.protocol["intensity"]),
    )  # fmt: skip
    # Consistency uses the profile that is believed, not the one that the experts were told.
    believed = SliceProfile.gauss(1.0).with_std(case.profile.std_mm)
    problem = prepare(low, believed, 1.0)
    scan = ScanData(problem.low, problem.problem.operator, case.profile.confidence)
    widths = ProfileWidths(*case.planes())
    plain = FusionSettings(consistency=False, window=gate.window)
    consistent = replace(plain, consistency=True)
    simplex = weights.simplex
    best = [float(e is max(simplex, key=lambda name: simplex[name])) for e in Expert]
    cautious = [weights.cautious[expert] for expert in Expert]
    best_mix = [simplex[expert] for expert in Expert]
    return {
        **{expert.value: volume for expert, volume in data.items()},
        "mean": np.mean(list(data.values()), axis=0),
        "simplex": fuse(stack, best_mix).volume,
        "cautious": fuse(stack, cautious).volume,
        "cautious + consistency": fuse(stack, cautious, scan=scan, settings=consistent).volume,
        "best + consistency": fuse(stack, best, scan=scan, settings=consistent).volume,
        "SAGNEF": fuse(stack, gate.network, widths=widths, scan=scan, settings=plain).volume,
        "SAGNEF + consistency": fuse(
            stack, gate.network, widths=widths, scan=scan, settings=replace(consistent, fallback=best_mix)
        ).volume,
    }


def oracle_rows(rows: dict[str, Volume3D], truth: Volume3D) -> dict[str, Volume3D]:
    """Volumes that see the truth: what any choice among the experts could reach."""
    experts = np.stack([fitted(rows[expert.value], truth.shape) for expert in Expert])
    error = torch.from_numpy((experts - truth) ** 2)[:, None]
    cube = torch.nn.functional.avg_pool3d(error, _CUBE, stride=1, padding=_CUBE // 2, count_include_pad=False)
    choice = cube[:, 0].argmin(0, keepdim=True).numpy()
    return {
        "9-cube oracle": np.take_along_axis(experts, choice, axis=0)[0],
        "voxel oracle": np.clip(truth, experts.min(axis=0), experts.max(axis=0)),
    }


def score_case(manifest: Manifest, case: Case, gate: Gate, weights: GlobalWeights) -> dict[str, Scores]:
    """Scores of every method on one case."""
    truth = read_volume(manifest.resolve(Path(str(case.hr)))).data
    region = scored_region(truth, case.separation_mm)
    rows = fused_rows(manifest, case, gate, weights)
    rows |= oracle_rows(rows, truth)
    return {name: score(fitted(volume, truth.shape), truth, region) for name, volume in rows.items()}


def main() -> None:
    """Print the table and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("subjects", nargs="+")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--simplex", type=Path, help="simplex.json beside the checkpoint")
    parser.add_argument("--cautious", type=Path, help="weights that simplex.py fitted without these patients")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    set_threads(options.threads)
    manifest, gate = load_manifest(options.manifest), load_gate(options.checkpoint)
    simplex = simplex_weights(gate.pulse, gate.spacing)
    if options.simplex:
        fitted_weights = json.loads(options.simplex.read_text(encoding="utf-8"))
        simplex = {expert: float(fitted_weights[expert.value]) for expert in Expert}
    cautious = cautious_weights()
    if options.cautious:
        table = json.loads(options.cautious.read_text(encoding="utf-8"))
        cautious = {expert: float(table["any"]["over_sharpened"][expert.value]) for expert in Expert}
    global_weights = GlobalWeights(simplex, cautious)
    by_subject = {case.subject: case for case in manifest.cases}
    results = {
        name: score_case(manifest, by_subject[name], gate, global_weights) for name in options.subjects
    }
    plain = {name: {m: s.as_dict() for m, s in scores.items()} for name, scores in results.items()}
    options.out.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    table = Table("method", *results, box=box.MARKDOWN)
    for method in next(iter(results.values())):
        table.add_row(method, *(f"{r[method].psnr_db:.2f} / {r[method].ssim:.4f}" for r in results.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()

"""What each part of SAGNEF is worth: a gate per variant and seed, trained alike, scored on a new patient.

    python benchmarks/ablations.py SET/kfolds_manifest.json -o OUT [--only "strict form"] [--seeds 0 1 2]

5 mm, wf 16, patches of 48 voxels, 600 steps of batch 1, squared error and entropy term, fold `without-GLI`,
pulses t1c and t2f in one pool (one patient remains to learn from); scored on the glioma's t1c and t2f: PSNR
in dB inside the brain dilated by the separation, as the difference to the best expert of the training
patient. A row is MEAN +- standard deviation over the seeds. Resumable; about two minutes per gate on one
core.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gate_training import GateRun
from rich import box
from rich.console import Console
from rich.table import Table

from revoxel.core.compute import set_threads
from revoxel.core.manifest import Case, Manifest, load_manifest, save_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.comparison.volumes import read_case
from revoxel.sagnef.fusion import FusionSettings, ScanData, fuse
from revoxel.sagnef.gates import load_gate
from revoxel.sagnef.regions import brain_region
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

_FOLD = "without-GLI"
_PULSES = (Pulse.t1c, Pulse.t2f)
_TESTS = (
    "GLI-t1c_axis2_5mm_right",
    "GLI-t1c_axis2_5mm_wide",
    "GLI-t2f_axis2_5mm_right",
    "GLI-t2f_axis2_5mm_wide",
)
_REFERENCE_EXPERT = Expert.ECLARE
_SHARED: dict[str, object] = {
    "batch_size": 1, "patch_size": [48, 48, 48], "wf": 16, "learning_rate": 0.002,
    "w_ssim": 0.0, "w_tv": 0.0, "w_entropy": 0.001,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One change to the reference.

    Args:
        overrides: Values of `train.json`.
        one_axis: Train on one slice axis per volume only.
        consistency: Make the result agree with the slices.
    """

    overrides: dict[str, object] = field(default_factory=dict)
    one_axis: bool = False
    consistency: bool = False


REFERENCE = "reference"
VARIANTS = {
    REFERENCE: Variant(),
    "entropy as in the source (sharpen)": Variant({"entropy": "sharpen"}),
    "strict form (no residual)": Variant({"residual": False}),
    "no profile input": Variant({"n_profile": 0, "modulation": False}),
    "profile planes without modulation": Variant({"modulation": False}),
    "no disagreement input": Variant({"disagreement": False}),
    "random start": Variant({"simplex_start": False}),
    "one slice axis per volume": Variant(one_axis=True),
    "with consistency": Variant(consistency=True),
}


def one_axis_manifest(manifest: Path, target: Path) -> Path:
    """The training set with the first slice axis of each volume only."""
    study = load_manifest(manifest)
    first: dict[tuple[str, str], int] = {}
    for case in study.cases:
        first.setdefault((case.patient, case.pulse.value), case.axis)
    kept = [c for c in study.cases if first[c.patient, c.pulse.value] == c.axis]
    target.parent.mkdir(parents=True, exist_ok=True)
    return save_manifest(study.model_copy(update={"cases": kept, "root": study.resolve(Path())}), target)


def score_gate(study: Manifest, case: Case, checkpoint: Path, *, consistency: bool) -> dict[str, float]:
    """PSNR of a gate and of the expert that the training patient would choose."""
    gate = load_gate(checkpoint)
    volumes = read_case(study, case)
    intensity = intensity_of(volumes.low, gate.protocol["intensity"])
    low_on_high = volumes.experts[Expert.BSPLINE]
    stack = ExpertStack(volumes.experts, low_on_high, volumes.grid, case.axis, intensity)
    problem = prepare(volumes.low, SliceProfile.gauss(1.0).with_std(case.profile.std_mm), 1.0)
    scan = ScanData(problem.low, problem.problem.operator, case.profile.confidence)
    settings = FusionSettings(consistency=consistency, window=gate.window)
    widths = ProfileWidths(*case.planes())
    fused = fuse(stack, gate.network, widths=widths, scan=scan, settings=settings).volume
    region = brain_region(volumes.truth, volumes.margin)
    compared = {"sagnef": fused, "expert": volumes.experts[_REFERENCE_EXPERT]}
    return {
        name: region.score(volumes.cut(volume), volumes.truth).psnr_db for name, volume in compared.items()
    }


def run_variant(name: str, seed: int, manifest: Path, out: Path) -> dict[str, dict[str, float]]:
    """Train one gate and score it on the tests; both are kept."""
    variant = VARIANTS[name]
    slug = "".join(c if c.isalnum() else "-" for c in name)
    scores = out / "scores" / f"{slug}_seed{seed}.json"
    if scores.is_file():
        return dict(json.loads(scores.read_text(encoding="utf-8")))
    trained = replace(variant, consistency=False) == VARIANTS[REFERENCE]
    source = one_axis_manifest(manifest, out / "one_axis.json") if variant.one_axis else manifest
    run = GateRun(
        source, out / (REFERENCE if trained else slug) / f"seed{seed}", Spacing.mm5, Pulse.t1c, _FOLD,
        _PULSES, (Pulse.t2f,), 600,
        {**_SHARED, "seed": seed, "cache_dir": out / "cache", **variant.overrides},
    )  # fmt: skip
    checkpoint = run.train()
    study = load_manifest(manifest)
    cases = [case for case in study.cases if case.subject in _TESTS]
    result = {c.subject: score_gate(study, c, checkpoint, consistency=variant.consistency) for c in cases}
    scores.parent.mkdir(parents=True, exist_ok=True)
    scores.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def table_of(results: dict[str, list[dict[str, dict[str, float]]]]) -> Table:
    """One row per variant: gain over the expert, mean and spread over the seeds."""
    table = Table("variant", *_TESTS, box=box.MARKDOWN)
    for name, seeds in results.items():
        gains = [[seed[test]["sagnef"] - seed[test]["expert"] for seed in seeds] for test in _TESTS]
        spread = [f" +- {statistics.stdev(gain):.2f}" if len(gain) > 1 else "" for gain in gains]
        table.add_row(name, *(f"{statistics.mean(g):+.2f}{s}" for g, s in zip(gains, spread, strict=True)))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and score what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    set_threads(1)
    results: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in options.only}
    for seed in options.seeds:
        for name in options.only:
            results[name].append(run_variant(name, seed, options.manifest.resolve(), options.out.resolve()))
    Console(width=200).print(table_of(results))


if __name__ == "__main__":
    main()

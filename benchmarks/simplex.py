"""Fit the shipped global weights of the experts from a training set, one vector per spacing and pulse.

    python benchmarks/simplex.py SET/kfolds_manifest.json -o app/revoxel/sagnef/simplex_weights.json

Every case of a patient whose licence permits training counts, inside the brain dilated by the separation.
Cases whose experts were told a profile that is far too wide give one more vector, `any: over_sharpened`, for
scans whose experts turn out to be over-sharpened. `revoxel evaluate` fits the same weights per fold.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from public_volumes import VOLUMES
from rich.progress import track

from revoxel.core.manifest import Case, load_manifest
from revoxel.core.volumes import atomic_path
from revoxel.sagnef.comparison.fold_weights import case_statistics, told_too_wide
from revoxel.sagnef.comparison.volumes import expert_order, read_case
from revoxel.sagnef.simplex import StackingStatistics, fit_simplex

OVER_SHARPENED = ("any", "over_sharpened")


def group_of(case: Case) -> tuple[str, str]:
    """Spacing and pulse, or the group of the misled experts."""
    return OVER_SHARPENED if told_too_wide(case) else (case.spacing.value, case.pulse.value)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--leave-out", default="", help="patient whose cases do not count")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    manifest = load_manifest(options.manifest)
    order = expert_order(manifest.experts)
    may_train = {volume.patient for volume in VOLUMES if volume.may_train} - {options.leave_out}
    cases = [case for case in manifest.cases if case.patient in may_train]
    sums: dict[tuple[str, str], StackingStatistics] = {}
    for case in track(cases, "training rows"):
        statistics = case_statistics(read_case(manifest, case)).pooled()
        key = group_of(case)
        sums[key] = sums[key] + statistics if key in sums else statistics
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (spacing, pulse), pooled in sorted(sums.items()):
        weights = zip(order, fit_simplex(pooled), strict=True)
        table[spacing][pulse] = {expert.value: round(float(weight), 4) for expert, weight in weights}
    with atomic_path(options.out, overwrite=True) as temporary:
        temporary.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Fit the shipped global weights of the experts from a training set, one vector per spacing and pulse.

    python benchmarks/simplex.py SET/kfolds_manifest.json -o app/revoxel/sagnef/simplex_weights.json

Every case of a training patient counts, inside the brain dilated by the separation. Cases whose experts were
told a profile that is far too wide (variant `wide`) give one more vector, `any: over_sharpened`, for scans
whose experts turn out to be over-sharpened. Volumes are scaled by the 99.9 percentile of the truth, so that
every case weighs alike.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from public_volumes import VOLUMES

from experts import fitted, scored_region
from revoxel.core.manifest import Case, Manifest, load_manifest
from revoxel.core.volumes import read_volume
from revoxel.experts.names import Expert
from revoxel.sagnef.simplex import StackingStatistics, fit_simplex

OVER_SHARPENED = ("any", "over_sharpened")


def statistics_of(manifest: Manifest, case: Case) -> StackingStatistics:
    """Sums of one case over its scored region."""
    truth = read_volume(manifest.resolve(Path(str(case.hr)))).data
    region = scored_region(truth, case.separation_mm)
    scale = float(np.percentile(truth[region], 99.9))
    volumes = [read_volume(manifest.resolve(case.experts[expert.value])).data for expert in Expert]
    experts = np.stack([fitted(volume, truth.shape) / scale for volume in volumes])
    return StackingStatistics.of_volume(
        torch.from_numpy(experts), torch.from_numpy(truth / scale), torch.from_numpy(region)
    )


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--leave-out", default="", help="patient whose cases do not count")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    manifest = load_manifest(options.manifest)
    may_train = {volume.patient for volume in VOLUMES if volume.may_train} - {options.leave_out}
    groups: dict[tuple[str, str], list[StackingStatistics]] = defaultdict(list)
    for case in manifest.cases:
        key = OVER_SHARPENED if case.subject.endswith("_wide") else (case.spacing.value, case.pulse.value)
        if case.patient in may_train:
            groups[key].append(statistics_of(manifest, case))
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (spacing, pulse), parts in sorted(groups.items()):
        weights = fit_simplex(reduce(add, parts))
        table[spacing][pulse] = {
            expert.value: round(float(weight), 4) for expert, weight in zip(Expert, weights, strict=True)
        }
    options.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

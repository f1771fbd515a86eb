"""Quality and time of the four experts, every volume printed, leave one patient out.

    python benchmarks/experts.py --data DATA --warm WARM -o SET [ROW ...]

`WARM` holds the leave-one-out warm starts (see warm_starts.py): no expert saw planes of the patient it is
scored on. The slices are Gaussian and known (FWHM = separation) unless a row says otherwise, see
training_set.py. Region: brain (truth above background) dilated by the separation; range: 99.9 percentile of
the truth there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from training_set import Places, Row, make_case

from revoxel.core.compute import set_threads
from revoxel.core.geometry import Grid
from revoxel.core.metrics import Scores
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import Volume, read_volume, volume_sidecar
from revoxel.experts.names import Expert
from revoxel.sagnef.comparison.volumes import truth_on_grid
from revoxel.sagnef.regions import brain_region, margin_voxels

GOAL_ROWS = ("GLI-t1c", "MRGd-t1c", "GLI-t2f", "p07-t2f", "p19-t2f")


def compare(
    truth: Volume, volumes: Mapping[Expert, NDArray[np.float32]], grid: Grid, separation_mm: float
) -> dict[Expert, Scores]:
    """Scores of volumes on one grid, inside the brain grown by the slice separation."""
    matched, known, _ = truth_on_grid(truth, grid)
    region = brain_region(matched, margin_voxels(separation_mm, max(grid.spacing_mm)))
    return {expert: region.score(volume[known], matched) for expert, volume in volumes.items()}


def score_row(row: Row, places: Places) -> dict[Expert, tuple[Scores, float]]:
    """Scores and seconds of every expert on one simulated acquisition."""
    case = make_case(row, places)
    paths = {expert: places.out / case.experts[expert.value] for expert in Expert}
    read = {expert: read_volume(path) for expert, path in paths.items()}
    scores = compare(
        read_volume(places.out / str(case.hr)),
        {expert: volume.data for expert, volume in read.items()},
        read[Expert.BSPLINE].grid,
        row.spacing.nominal_mm,
    )
    seconds = {expert: read_sidecar(volume_sidecar(path))["seconds"] for expert, path in paths.items()}
    return {expert: (scores[expert], float(seconds[expert])) for expert in Expert}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", default=[f"{name}:2:5mm:right" for name in GOAL_ROWS])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True, help="where volumes are kept")
    options = parser.parse_args()
    set_threads(options.threads)
    places = Places(options.data, options.out.resolve(), options.warm)
    table = Table("row", "expert", "PSNR dB", "SSIM", "gain over BSPLINE dB", "seconds")
    for text in options.rows:
        results = score_row(Row.parse(text), places)
        base = results[Expert.BSPLINE][0].psnr_db
        for expert, (scores, seconds) in results.items():
            gain = f"{scores.psnr_db - base:+.2f}"
            cells = (f"{scores.psnr_db:.2f}", f"{scores.ssim:.4f}", gain, f"{seconds:.1f}")
            table.add_row(text, expert.value, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

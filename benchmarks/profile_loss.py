"""What estimating the slice profile costs against knowing it: learned experts on rectangular 5 mm slices.

    python benchmarks/profile_loss.py --data DATA --warm WARM -o SET [VOLUME ...]

Each volume is sliced once; ECLARE and SMORE restore it told the true profile, the estimated one, and the
naive Gaussian of FWHM = thickness. Leave-one-out warm starts. PSNR in dB as in experts.py. About two minutes
per volume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from public_volumes import warm_folder
from rich import box
from rich.console import Console
from rich.table import Table
from training_set import Places, Row, acquire

from experts import GOAL_ROWS, compare
from revoxel.core.compute import set_threads
from revoxel.core.volumes import Volume
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import ExpertRequest, run_experts

_LEARNED = (Expert.ECLARE, Expert.SMORE)


def psnr_when_told(
    row: Row, places: Places, pair: tuple[Volume, Volume], told: SliceProfile | None
) -> list[str]:
    """Width that the experts were told, and PSNR of both learned experts."""
    truth, low = pair
    warm = places.warm / warm_folder(row.volume.patient)
    run = run_experts(ExpertRequest(volume=low, experts=_LEARNED, profile=told, warm_dir=warm))
    results = compare(truth, run.volumes, run.high_grid, row.spacing.nominal_mm)
    scores = [f"{results[expert].psnr_db:.2f}" for expert in _LEARNED]
    return [f"{run.profile.std_mm:.2f}", " / ".join(scores)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("volumes", nargs="*", default=list(GOAL_ROWS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    set_threads(options.threads)
    places = Places(options.data, options.out.resolve(), options.warm)
    table = Table("volume", "told", "std mm (true 1.44)", "ECLARE / SMORE dB", box=box.MARKDOWN)
    for name in options.volumes:
        row = Row.parse(f"{name}:2:5mm:estimated")
        pair = acquire(row, places)
        for label, told in (
            ("truth", row.true_profile),
            ("estimate", None),
            ("thickness", SliceProfile.gauss(row.spacing.nominal_mm)),
        ):
            table.add_row(name, label, *psnr_when_told(row, places, pair, told))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

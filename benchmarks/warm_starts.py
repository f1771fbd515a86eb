"""Train every warm start behind the published figures: one folder per patient left out, and `all`.

    python benchmarks/warm_starts.py --data DATA -o WARM [--folders all without-GLI ...] [--ratios 3 5 7]

`all` is what the package ships. About three minutes per expert and ratio on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from public_volumes import VOLUMES, planes_for, warm_folder

from revoxel.experts.warm_training import main as train

_FIRST = 5  # trained from nothing; the other ratios take its body over


def main() -> None:
    """Train what is missing."""
    folders = sorted({warm_folder(volume.patient) for volume in VOLUMES})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folders", nargs="+", default=folders, choices=folders)
    parser.add_argument("--ratios", nargs="+", type=int, default=[_FIRST, 3, 7])
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    for folder in options.folders:
        volumes = [str(options.data / file) for file in planes_for(folder)]
        for ratio in options.ratios:
            rest = [] if ratio == _FIRST else ["--body-from", str(_FIRST), "--steps", "1000"]
            train([*volumes, "--ratio", str(ratio), *rest, "-o", str(options.out / folder)])


if __name__ == "__main__":
    main()

"""Studies whose patients a tiny network has, or has not, been trained on, with a fold."""

import json
from pathlib import Path

from tumour_visits import write_study


def write_folds(folder: Path, n_train=9, n_test=4, *, prefix="q") -> Path:
    """Study of one fold; patients of the tiny network are called p0, p1, ..."""
    path = write_study(folder, n_train + n_test)
    content = json.loads(path.read_text())
    names = [prefix + scan["patient_id"][1:] for scan in content["scans"]]
    for scan, name in zip(content["scans"], names, strict=True):
        scan["patient_id"] = name
    # Alternate, so that small and large tumours are on both sides.
    test = names[1 :: max(len(names) // n_test, 1)][:n_test]
    train = [name for name in names if name not in test]
    content["folds"] = [{"name": "fold0", "train": train, "val": [], "test": test}]
    path.write_text(json.dumps(content))
    return path

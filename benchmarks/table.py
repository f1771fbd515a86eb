"""All speed benchmarks one after the other, and one table: ours, stock, ratio, limit.

    python benchmarks/table.py [--quick] [--threads N] [-o rows.jsonl]

Bargain: less than 15 minutes on 2 idle cores (--quick: 6 minutes). Needs no data. Each script runs in a
process of its own and may be run alone; its docstring says what "stock" and the limit are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pairs import Row, show

SCRIPTS = (
    "gate_inference.py",
    "training_step.py",
    "ssim.py",
    "data_loading.py",
    "expert_speed.py",
    "scaling.py",
    "xray.py",
    "ct_upsampling.py",
)


def main() -> None:
    """Run the scripts and print their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller volumes")
    parser.add_argument("--threads", type=int, help="processor threads; all cores if left out")
    parser.add_argument("-o", "--out", type=Path, help="keep the rows in this file, one JSON object a line")
    options = parser.parse_args()
    flags = ["--quick"] * options.quick + (["--threads", str(options.threads)] if options.threads else [])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        for script in SCRIPTS:
            path = Path(__file__).with_name(script)
            subprocess.run([sys.executable, str(path), *flags, "--rows", str(file)], check=True)
        lines = file.read_text(encoding="utf-8")
    if options.out:
        options.out.write_text(lines, encoding="utf-8")
    show([Row(**json.loads(line)) for line in lines.splitlines()], "benchmarks")


if __name__ == "__main__":
    main()

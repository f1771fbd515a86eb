"""All speed benchmarks one after the other, and one table: ours, stock, ratio, limit.

    python benchmarks/table.py [--quick] [--threads N] [--device cuda] [-o rows.jsonl]

Bargain: less than 15 minutes on 2 idle cores (--quick: 6 minutes). Needs no data. Each script runs in a
process of its own and may be run alone; its docstring says what "stock" and the limit are. On a GPU only
those run that can.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pairs import Row, show
from rich.console import Console

GPU_SCRIPTS = ("gate_inference.py", "training_step.py", "ssim.py", "data_loading.py", "scaling.py")
SCRIPTS = (*GPU_SCRIPTS, "expert_speed.py", "xray.py", "ct_upsampling.py")


def flags(options: argparse.Namespace) -> list[str]:
    """What every script is told."""
    device = ["--device", options.device] if options.device else []
    threads = ["--threads", str(options.threads)] if options.threads else []
    return ["--quick"] * options.quick + threads + device


def main() -> None:
    """Run the scripts and print their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller volumes")
    parser.add_argument("--threads", type=int, help="processor threads; all cores if left out")
    parser.add_argument(
        "--device", help="cuda:N, for the scripts that can run there; the processor if left out"
    )
    parser.add_argument("-o", "--out", type=Path, help="keep the rows in this file, one JSON object a line")
    options = parser.parse_args()
    console, start = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        for script in GPU_SCRIPTS if options.device else SCRIPTS:
            path = Path(__file__).with_name(script)
            subprocess.run([sys.executable, str(path), *flags(options), "--rows", str(file)], check=True)
            console.print(f"{(time.perf_counter() - start) / 60:.1f} minutes", highlight=False)
        lines = file.read_text(encoding="utf-8")
    if options.out:
        options.out.write_text(lines, encoding="utf-8")
    show([Row(**json.loads(line)) for line in lines.splitlines()], "benchmarks")


if __name__ == "__main__":
    main()

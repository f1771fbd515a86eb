"""Options that every computing verb shares, so that they read the same everywhere.

Use as `def verb(..., device: DeviceOption = "auto", threads: ThreadsOption = None, seed: SeedOption = 0,
overwrite: OverwriteOption = False, debug: DebugOption = False) -> None`.
"""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.errors import remember_debug

PANEL = "Common options"
EXTERNAL = "Original tools (run in their own environment instead of the embedded experts)"

DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu or cuda:N.", rich_help_panel=PANEL, metavar="DEVICE")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; default: all cores.", rich_help_panel=PANEL),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of everything random.", rich_help_panel=PANEL)
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that exist.", rich_help_panel=PANEL)
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, write nothing.", rich_help_panel=PANEL)
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the full traceback of an error.",
        rich_help_panel=PANEL,
        callback=remember_debug,
        is_eager=True,
    ),
]

ScanArgument = Annotated[Path, typer.Argument(help="NIfTI, NRRD or MHA file, or a DICOM series folder.")]
ProfileOption = Annotated[
    str, typer.Option(help="Slice profile: auto, gauss:FWHM, rect:WIDTH, slr:WIDTH (mm) or FILE.npy.")
]
VoxelOption = Annotated[str, typer.Option(help="Isotropic voxel size in mm; native: the in-plane size.")]
ColdOption = Annotated[bool, typer.Option("--cold", help="Do without the shipped warm starts.")]
CompanionsOption = Annotated[
    list[str] | None,
    typer.Option("--with", help="Further pulse of the patient; repeatable.", metavar="PULSE=FILE"),
]
EclareOption = Annotated[
    Path | None, typer.Option(help="run-eclare of PyPI's eclare.", rich_help_panel=EXTERNAL)
]
SmoreOption = Annotated[
    Path | None,
    typer.Option(
        help="run-smore of gitlab.com/iacl/smore (PyPI's smore is another program).", rich_help_panel=EXTERNAL
    ),
]
UniresOption = Annotated[
    Path | None, typer.Option(help="unires of github.com/brudfors/UniRes.", rich_help_panel=EXTERNAL)
]
ExactOption = Annotated[bool, typer.Option("--exact", help="Reference path of the gate (slower).")]
ConsistencyOption = Annotated[
    bool, typer.Option("--consistency/--no-consistency", help="Pull the result onto the slices.")
]
ExtrapolationOption = Annotated[
    bool,
    typer.Option("--allow-extrapolation", help="Accept slices outside the models' range."),
]
MemoryOption = Annotated[float, typer.Option(min=0.1, help="Bound for the gate's activations, GB.")]
KeepExpertsOption = Annotated[
    bool, typer.Option("--keep-experts/--no-keep-experts", help="Keep the experts' volumes.")
]

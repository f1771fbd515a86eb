"""Options that every computing verb shares, so that they read the same everywhere.

Use as `def verb(..., device: DeviceOption = "auto", threads: ThreadsOption = None, seed: SeedOption = 0,
overwrite: OverwriteOption = False, debug: DebugOption = False) -> None`.
"""

from typing import Annotated

import typer

from revoxel.cli.errors import remember_debug

PANEL = "Common options"

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

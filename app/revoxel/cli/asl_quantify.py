"""`revoxel asl quantify`: ASL scans in, CBF and ATT maps out."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption


def quantify(
    scans: Annotated[list[Path], typer.Argument(help="BIDS folder, or ASL files.")],
    debug: DebugOption = False,
) -> None:
    """Turn control/label pairs into CBF and ATT maps."""
    msg = f"scans must be quantified by a verb that is being built, got {len(scans)}; update Revoxel."
    raise ValueError(msg)

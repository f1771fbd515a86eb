"""`revoxel ct`: coarse CT to finer CT; one verb per module `revoxel.cli.ct_<verb>`.

A verb is a plain typed function with heavy imports inside; it registers itself by an import and a line below.
"""

import typer

from revoxel.cli.ct_dicom import dicom
from revoxel.cli.ct_drr import drr
from revoxel.cli.ct_evaluate import evaluate
from revoxel.cli.ct_prepare import prepare
from revoxel.cli.ct_refine import refine
from revoxel.cli.ct_simulate import simulate
from revoxel.cli.ct_train import train

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="CT refinement: coarse CT in, finer or sharper CT out, in HU and consistent with its input.",
)
app.command()(prepare)
app.command()(train)
app.command()(refine)
app.command()(evaluate)
app.command()(simulate)
app.command()(drr)
app.command()(dicom)


@app.callback()
def ct() -> None:
    """CT refinement: coarse CT in, finer or sharper CT out, in HU and consistent with its input."""

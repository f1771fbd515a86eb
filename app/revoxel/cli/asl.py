"""`revoxel asl`: perfusion from arterial spin labelling; one verb per module `revoxel.cli.asl_<verb>`.

A verb is a plain typed function with heavy imports inside; it registers itself by an import and a line below.
"""

import typer

from revoxel.cli.asl_ablate import ablate
from revoxel.cli.asl_evaluate import evaluate
from revoxel.cli.asl_quantify import quantify
from revoxel.cli.asl_simulate import simulate
from revoxel.cli.asl_train import train
from revoxel.cli.asl_validate import validate

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="ASL perfusion: control/label pairs in, CBF and ATT maps with their uncertainty out.",
)
app.command()(quantify)
app.command()(simulate)
app.command()(evaluate)
app.command()(train)
app.command()(validate)
app.command()(ablate)


@app.callback()
def asl() -> None:
    """ASL perfusion: control/label pairs in, CBF and ATT maps with their uncertainty out."""

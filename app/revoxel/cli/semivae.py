"""`revoxel semivae`: tumour features and growth; one verb per module `revoxel.cli.semivae_<verb>`.

A verb is a plain typed function with heavy imports inside; it registers itself by an import and a line below.
"""

import typer

from revoxel.cli.semivae_check import check
from revoxel.cli.semivae_encode import encode
from revoxel.cli.semivae_evaluate import evaluate
from revoxel.cli.semivae_features import features
from revoxel.cli.semivae_fit_normalizer import fit_normalizer
from revoxel.cli.semivae_growth import growth
from revoxel.cli.semivae_synthesise import synthesise
from revoxel.cli.semivae_train import train
from revoxel.cli.semivae_traverse import traverse

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Tumours in numbers: features of label maps, their normalisation, growth forecasts.",
)
app.command()(features)
app.command("fit-normalizer")(fit_normalizer)
app.command()(growth)
app.command()(check)
app.command()(encode)
app.command()(evaluate)
app.command()(synthesise)
app.command()(train)
app.command()(traverse)


@app.callback()
def semivae() -> None:
    """Tumours in numbers: features of label maps, their normalisation, growth forecasts."""

"""Entry point `revoxel`: lists the verbs at once, imports the module of a verb only when it is called.

Convention for a verb `do-this`: the module `revoxel.cli.do_this` holds one plain typed function `do_this`
(no decorator; `typer.Argument`/`typer.Option` through `Annotated`; its docstring's first part is the help).
A verb with sub-commands holds `app = typer.Typer()` instead. Raise `ValueError` or `OSError` with a message
that teaches; `revoxel.cli.errors` prints it as one line and exits with code 2 (`--debug`: traceback).
Add the verb to `VERBS` below with a panel and one help line.
"""

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from revoxel import __version__
from revoxel.cli.errors import explained


class Verb(NamedTuple):
    """One line of `revoxel --help`."""

    name: str
    panel: str
    help: str


MAIN = "Main job"
SLICES = "Slices and experts"
STUDIES = "Studies"
MODELS = "Models"
SYSTEMS = "Other systems"

VERBS = (
    Verb("demo", MAIN, "Start here: super-resolve a packaged brain, table and picture in minutes."),
    Verb("superresolve", MAIN, "Thick-slice scan in, fused isotropic volume out, with weights and report."),
    Verb("predict", MAIN, "Fuse expert volumes that you already have."),
    Verb("report", MAIN, "One HTML page about a folder of results: slices, weights, metrics, viewer."),
    Verb("axis-check", SLICES, "Tell which axes of a volume are truly high-resolution."),
    Verb("estimate-profile", SLICES, "Estimate the slice profile's width from the scan alone."),
    Verb("simulate", SLICES, "Make a thick-slice scan from a high-resolution one."),
    Verb("experts", SLICES, "Run the super-resolution experts, on a scan or on all rows of a manifest."),
    Verb("manifest", STUDIES, "Find, check and list a study's volumes; patient-wise folds."),
    Verb("cohort", STUDIES, "Many subjects: a verb on every row of a manifest, here or on a cluster."),
    Verb("train", MODELS, "Train one gate per spacing, pulse and fold; continue, score, summarise."),
    Verb("evaluate", MODELS, "Score a gate beside every baseline on the test patients of a fold."),
    Verb("bundles", MODELS, "Build, check and list the MONAI bundles."),
    Verb("asl", SYSTEMS, "Perfusion: control/label pairs in, CBF and ATT maps out."),
    Verb("ct", SYSTEMS, "CT refinement: coarse CT in, finer or sharper CT out, in HU."),
    Verb("semivae", SYSTEMS, "Tumours in numbers: features of label maps, growth forecasts."),
)

EPILOG = """
[bold]A first session[/bold]

1. [cyan]revoxel demo -o out/demo[/cyan]  (no data needed; look at out/demo)

2. [cyan]revoxel axis-check scan.nii.gz[/cyan]  (is it thick-slice, and along which axis?)

3. [cyan]revoxel superresolve scan.nii.gz --pulse t1c -o out/[/cyan]  (the main job)

4. [cyan]revoxel experts scan.nii.gz -o out/[/cyan], then [cyan]revoxel predict --help[/cyan]  (step by step)

Each verb explains itself: [cyan]revoxel superresolve --help[/cyan]. Research use, not for diagnosis.
"""


def load_verb(name: str) -> Any:
    """Import a verb's module and turn it into a command.

    Args:
        name: Verb as typed, such as `axis-check`.

    Returns:
        The command or group, ready to be invoked.
    """
    identifier = name.replace("-", "_")
    module = import_module(f"revoxel.cli.{identifier}")
    sub_app = getattr(module, "app", None)
    if sub_app is None:
        sub_app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        sub_app.command(name)(getattr(module, identifier))
    return typer.main.get_command(sub_app)


class LazyVerbs(TyperGroup):
    """Group whose commands are placeholders for the help page until one of them is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the placeholder that was called by the verb itself.

        Args:
            ctx: Context of the group.
            args: Verb and its arguments.

        Returns:
            Name, command and the remaining arguments.
        """
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_verb(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; expected failures become one line.

        Args:
            ctx: Context of the group.

        Returns:
            What the verb returns.
        """
        with explained(ctx):
            return super().invoke(ctx)


app = typer.Typer(
    name="revoxel",
    cls=LazyVerbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    epilog=EPILOG,
)


def show_version(show: bool) -> None:
    """Print the version and leave.

    Args:
        show: Whether the option was given.

    Raises:
        Exit: If it was.
    """
    if show:
        typer.echo(f"revoxel {__version__}")
        raise typer.Exit


@app.callback()
def revoxel(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=show_version, is_eager=True
    ),
) -> None:
    """Recover what the scanner left out: thick-slice MRI in, isotropic volume out."""


def placeholder() -> None:
    """Stand in for a verb on the help page; `LazyVerbs` loads the real one."""


for verb in VERBS:
    app.command(verb.name, help=verb.help, rich_help_panel=verb.panel)(placeholder)

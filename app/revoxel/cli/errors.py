"""Turn expected failures into one line on stderr and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from revoxel.core.reasons import one_line

DEBUG_KEY = "revoxel.debug"
EXIT_CODE_BAD_INPUT = 2
EXIT_CODE_INCOMPLETE = 1  # some rows were left out or failed; the others are done
EXPECTED = (ValueError, OSError)  # FileNotFoundError and FileExistsError are OSErrors


def remember_debug(context: typer.Context, debug: bool) -> bool:
    """Note for the whole invocation that the user asked for tracebacks.

    Args:
        context: The verb's context; its `meta` is shared with the parent group.
        debug: Value of `--debug`.

    Returns:
        `debug`, unchanged.
    """
    context.meta[DEBUG_KEY] = debug
    return debug


@contextmanager
def explained(context: typer.Context) -> Iterator[None]:
    """Report expected failures of the enclosed verb as one line.

    Args:
        context: Context of the running group.

    Raises:
        Exit: With code 2 after an expected failure.
    """
    try:
        yield
    except EXPECTED as error:
        if context.meta.get(DEBUG_KEY):
            raise
        typer.secho(f"error: {one_line(error)}", err=True, fg="red")
        raise typer.Exit(EXIT_CODE_BAD_INPUT) from error

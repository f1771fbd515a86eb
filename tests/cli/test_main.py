"""The command line's frame: help that teaches, lazy verbs, errors in one line."""

from importlib.util import find_spec

import pytest
import typer
from typer.testing import CliRunner

from revoxel import __version__
from revoxel.cli import main
from revoxel.cli.options import DebugOption

NAMES = [verb.name for verb in main.VERBS]
runner = CliRunner()


def failing(debug: DebugOption = False) -> None:
    """Fail as a verb does on bad input."""
    msg = "voxel_mm must be positive,\ngot -1.0; give e.g. 1.0."
    raise ValueError(msg)


def broken() -> None:
    """Fail as only a defect of ours does."""
    msg = "defect"
    raise RuntimeError(msg)


def unwritable() -> None:
    """Fail as the operating system does."""
    raise PermissionError(13, "Permission denied", "/out/result.nii.gz")


@pytest.fixture
def call(monkeypatch):
    """Function that runs the frame with one verb replaced."""

    def run(verb, *arguments):
        single = typer.Typer(add_completion=False)
        single.command()(verb)
        monkeypatch.setattr(main, "load_verb", lambda name: typer.main.get_command(single))
        return runner.invoke(main.app, ["demo", *arguments])

    return run


def test_help_lists_every_verb_and_teaches():
    answer = runner.invoke(main.app, ["--help"])
    assert answer.exit_code == 0
    assert all(name in answer.output for name in NAMES)
    assert "A first session" in answer.output
    assert "not for" in answer.output


def test_no_arguments_show_help():
    assert "A first session" in runner.invoke(main.app, []).output


def test_version_is_printed():
    assert runner.invoke(main.app, ["--version"]).output.split() == ["revoxel", __version__]


def test_misspelt_verb_is_suggested():
    answer = runner.invoke(main.app, ["superesolve"])
    assert answer.exit_code == 2
    assert "superresolve" in answer.output


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_has_a_module(name):
    assert find_spec(f"revoxel.cli.{name.replace('-', '_')}")


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_explains_itself(name):
    answer = runner.invoke(main.app, [name, "--help"], terminal_width=200)
    assert answer.exit_code == 0, answer.exception
    assert "Usage: revoxel" in answer.output


def test_expected_failure_is_one_line(call):
    answer = call(failing)
    assert answer.exit_code == 2
    assert answer.stderr.strip().splitlines() == [
        "error: voxel_mm must be positive, got -1.0; give e.g. 1.0."
    ]


def test_debug_shows_the_exception(call):
    assert isinstance(call(failing, "--debug").exception, ValueError)


def test_system_error_names_file_and_reason(call):
    answer = call(unwritable)
    assert answer.exit_code == 2
    assert answer.stderr.strip() == "error: /out/result.nii.gz: Permission denied"


def test_defect_is_not_hidden(call):
    assert isinstance(call(broken).exception, RuntimeError)

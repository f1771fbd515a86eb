"""Limits that keep the code readable and that no linter here measures."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "app").rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def n_code_lines(function: ast.FunctionDef) -> int:
    docstring = ast.get_docstring(function, clean=False) or ""
    return function.end_lineno - function.lineno + 1 - len(docstring.splitlines())


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY / "app"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_and_functions_stay_short(path):
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= MAX_FILE_LINES, f"{n_lines} lines; split the file by topic"
    long = {f.name: n for f in functions(path) if (n := n_code_lines(f)) > MAX_FUNCTION_LINES}
    assert not long


def test_no_grab_bag_modules():
    assert not [name_of(path) for path in SOURCES if path.stem in {"utils", "helpers", "misc", "common"}]

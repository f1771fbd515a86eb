"""README and docs: commands name what exists, links lead somewhere, examples run."""

import json
import re
import shlex
from pathlib import Path

import pytest

from revoxel.cli.main import VERBS, load_verb

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
VERB_NAMES = {verb.name for verb in VERBS}
MAX_README_LINES = 150


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands() -> list:
    """Every command line of every page, continuation lines joined."""
    return [
        pytest.param(line.strip(), id=f"{page.stem}: {line.strip()[:60]}")
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def check_revoxel(words: list[str]) -> None:
    """The verb exists and knows each option."""
    if words[0].startswith("--"):
        assert words[0] in {"--help", "--version", "--install-completion"}
        return
    assert words[0] in VERB_NAMES
    command = load_verb(words[0])
    if hasattr(command, "commands"):
        command = command.commands[words[1]]
    known = {
        option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
    }
    used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} - {"--help"}
    assert used <= known, f"unknown options {used - known}"


def check_make(words: list[str]) -> None:
    """The target exists."""
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in words:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def check_monai(words: list[str]) -> None:
    """The bundle's files exist, and its configuration holds every key that is set."""
    values = dict(zip(words[1::2], words[2::2], strict=True))
    assert (REPOSITORY / values.pop("--bundle_root")).is_dir()
    config = json.loads((REPOSITORY / values.pop("--config_file")).read_text())
    assert words[0] in config
    assert {key.removeprefix("--") for key in values} <= set(config)


@pytest.mark.parametrize("line", commands())
def test_command_names_what_exists(line):
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[0] == "revoxel":
        check_revoxel(words[1:])
    elif words[0] == "make":
        check_make(words[1:])
    elif words[:4] == ["python", "-m", "monai.bundle", "run"]:
        check_monai(words[4:])
    elif words[:2] == ["python", "-m"] or words[0] in {"pip", "git", "cd", "mkdocs"}:
        return
    else:
        assert words[0] == "python", f"unknown command {words[0]}"
        assert (REPOSITORY / words[1]).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_readme_says_research_use():
    assert "not for diagnosis" in (REPOSITORY / "README.md").read_text()

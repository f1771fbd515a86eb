"""A model configuration reaches the graphs that its table names, and typing errors are named."""

from pathlib import Path

import pytest

from revoxel.core.configuration import graph_values


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text("train.lr: {train: learning_rate}\npatch.size: {train: patch_size, inference: window}\n")
    return path


def _configuration(folder: Path, text: str) -> Path:
    path = folder / "model.yaml"
    path.write_text(text)
    return path


def test_values_arrive_under_the_names_of_each_graph(tmp_path: Path, table: Path) -> None:
    path = _configuration(tmp_path, "train: {lr: 0.1}\npatch: {size: [8, 8, 8]}\n")
    assert graph_values(path, table, "train") == {"learning_rate": 0.1, "patch_size": [8, 8, 8]}
    assert graph_values(path, table, "inference") == {"window": [8, 8, 8]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {learning: 1}\n", r"train\.learning"),
        ("lr: 0.1\n", "sections"),
        ("- lr\n", "mapping"),
        ("train: {lr: [\n", "must be YAML"),
    ],
)
def test_wrong_configuration_is_one_clear_line(tmp_path: Path, table: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        graph_values(_configuration(tmp_path, text), table, "train")
    assert "\n" not in str(caught.value)


def test_missing_configuration_names_its_path(tmp_path: Path, table: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        graph_values(tmp_path / "none.yaml", table, "train")

"""The generator refuses typing errors in overlays and sees every drift of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revoxel.core.bundles import (
    BundleSource,
    build_bundle,
    bundle_sources,
    bundles_root,
    check_bundle,
    list_bundles,
)

BASES = {
    "train": "spacing: 5mm\nwf: 16\n",
    "evaluate": "spacing: 5mm\n",
    "inference": "spacing: 5mm\n",
    "metadata": "name: toy\nversion: 0.1.0\ndescription: a toy\n",
    "multi_gpu_train": "device: cpu\n",
}


@pytest.fixture
def source(tmp_path: Path) -> BundleSource:
    system = tmp_path / "configs" / "toy"
    (system / "overlays").mkdir(parents=True)
    for graph, text in BASES.items():
        (system / f"base_{graph}.yaml").write_text(text)
    (system / "logging.conf").write_text("[loggers]\n")
    (system / "data_license.txt").write_text("CC BY\n")
    (system / "card.md").write_text("# $bundle at $spacing\n$figures")
    (system / "overlays" / "toy_3mm.yaml").write_text("configs: {spacing: 3mm}\nmetadata: {name: toy 3mm}\n")
    (tmp_path / "LICENSE").write_text("licence\n")
    return bundle_sources(tmp_path / "configs")[0]


def test_overlay_reaches_every_graph_and_the_card(source: BundleSource, tmp_path: Path) -> None:
    folder = build_bundle(source, tmp_path / "bundles" / source.name, tmp_path / "LICENSE")
    for graph in ("train", "evaluate", "inference"):
        assert json.loads((folder / "configs" / f"{graph}.json").read_text())["spacing"] == "3mm"
    assert (folder / "docs" / "README.md").read_text().startswith("# toy_3mm at 3mm")
    assert list_bundles(folder.parent)[0].weights is None


@pytest.mark.parametrize("text", ["configs: {spacng: 3mm}\n", "metadata: {nmae: x}\n", "graphs: {}\n"])
def test_overlay_key_that_the_base_lacks_is_an_error(source: BundleSource, tmp_path: Path, text: str) -> None:
    source.overlay.write_text(text)
    with pytest.raises(ValueError, match="unknown"):
        build_bundle(source, tmp_path / "b", tmp_path / "LICENSE")


def test_check_sees_changed_missing_and_stray_files_but_not_weights(
    source: BundleSource, tmp_path: Path
) -> None:
    folder = build_bundle(source, tmp_path / "bundles" / source.name, tmp_path / "LICENSE")
    (folder / "models" / "model.pt").touch()
    assert check_bundle(source, folder, tmp_path / "LICENSE") == []
    (folder / "configs" / "train.json").write_text("{}")
    (folder / "LICENSE").unlink()
    (folder / "docs" / "notes.md").touch()
    expected = ["toy_3mm/LICENSE", "toy_3mm/configs/train.json", "toy_3mm/docs/notes.md"]
    assert check_bundle(source, folder, tmp_path / "LICENSE") == expected


def test_figures_of_a_trained_bundle_stand_in_its_card(source: BundleSource, tmp_path: Path) -> None:
    (source.system / "figures").mkdir()
    (source.system / "figures" / "toy_3mm.md").write_text("31.0 dB\n")
    folder = build_bundle(source, tmp_path / "b", tmp_path / "LICENSE")
    assert (folder / "docs" / "README.md").read_text().endswith("31.0 dB\n")


def test_shipped_bundles_are_found() -> None:
    names = [bundle.name for bundle in list_bundles(bundles_root())]
    assert sum(name.startswith("sagnef_") for name in names) == 12
    assert "asl_cbf_att" in names

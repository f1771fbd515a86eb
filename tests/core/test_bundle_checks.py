"""A bundle that cannot work is named with what is wrong, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import weighted_bundle
from revoxel.cli.errors import one_line
from revoxel.core.bundle_checks import check_fit, check_metadata
from revoxel.core.bundles import METADATA, WEIGHTS, bundles_root, list_bundles
from revoxel.core.checkpoints import load_checkpoint, save_checkpoint

NAME = "sagnef_3mm_t2w"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return weighted_bundle.copy_bundle(NAME, tmp_path, wf=8)


def test_every_shipped_bundle_is_as_it_should_be() -> None:
    for status in list_bundles():
        check_metadata(bundles_root() / status.name)
        check_fit(bundles_root() / status.name, need_weights=False)


def test_bundle_with_weights_passes(bundle: Path) -> None:
    assert check_metadata(bundle)["name"] == "SAGNEF 3mm t2w"
    check_fit(bundle)


def _change(bundle: Path, key: str, value: object) -> None:
    content = json.loads((bundle / METADATA).read_text())
    (bundle / METADATA).write_text(json.dumps({**content, key: value}))


def test_missing_metadata_is_named(bundle: Path) -> None:
    (bundle / METADATA).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{NAME} must be a bundle, got no configs/metadata.json"):
        check_metadata(bundle)


@pytest.mark.parametrize("text", ['{"version": ', "[]", "\x00"])
def test_broken_metadata_is_named(bundle: Path, text: str) -> None:
    (bundle / METADATA).write_text(text)
    with pytest.raises(ValueError, match=r"metadata\.json must"):
        check_metadata(bundle)
    with pytest.raises(ValueError, match=r"metadata\.json must"):
        list_bundles(bundle.parent)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "one", "got at version: 'one' does not match"),
        ("version", "9.9.9", r"version 9\.9\.9 must be in the changelog"),
        ("intended_use", "clinical", "got at intended_use"),
        ("extra", 1, "got at top level"),
    ],
)
def test_metadata_that_does_not_fit_its_schema_is_refused(
    bundle: Path, key: str, value: object, message: str
) -> None:
    _change(bundle, key, value)
    with pytest.raises(ValueError, match=message):
        check_metadata(bundle)


def test_metadata_that_describes_another_network_is_refused(bundle: Path) -> None:
    weighted_bundle.replace_values(bundle / "configs" / "inference.json", residual=False)
    with pytest.raises(ValueError, match="network_data_format must describe network_def"):
        check_fit(bundle)


def _no_weights(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()


def _half_a_file(bundle: Path) -> None:
    content = (bundle / WEIGHTS).read_bytes()
    (bundle / WEIGHTS).write_bytes(content[: len(content) // 2])


def _text(bundle: Path) -> None:
    (bundle / WEIGHTS).write_text("weights")


def _another_architecture(bundle: Path) -> None:
    weighted_bundle.give_random_weights(bundle, wf=16)


def _another_pulse(bundle: Path) -> None:
    weighted_bundle.give_random_weights(bundle, pulse="t1c")


def _training_checkpoint(bundle: Path) -> None:
    checkpoint = load_checkpoint(bundle / WEIGHTS)
    save_checkpoint(bundle / WEIGHTS, {**checkpoint.states, "epoch": 1}, checkpoint.protocol)


def _changed_tensors(bundle: Path) -> None:
    import torch

    content = torch.load(bundle / WEIGHTS, weights_only=True)
    content.pop("head.bias")
    torch.save(content, bundle / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_weights, "must be the bundle's weights, got no file"),
        (_half_a_file, "got an unreadable file"),
        (_text, "got an unreadable file"),
        (_another_architecture, "architecture: wanted .*'wf': 8.* got .*'wf': 16"),
        (_another_pulse, "pulse: wanted 't2w', got 't1c'"),
        (_training_checkpoint, "must be a plain state dict"),
        (_changed_tensors, "weights must fit SagnefBundleNet"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    bundle: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        check_fit(bundle)
    assert str(bundle) in one_line(caught.value)
    assert "\n" not in str(caught.value)

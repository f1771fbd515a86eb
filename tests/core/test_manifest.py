"""Manifests name every mistake by row and field, and folds never share a patient."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from revoxel.core.manifest import load_manifest, save_manifest
from revoxel.core.provenance import sha256_of
from revoxel.core.pulses import Spacing

if TYPE_CHECKING:
    from pathlib import Path

EXPERTS = ["BSPLINE", "ECLARE", "SMORE", "UNIRES"]


def _case(patient: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "subject": f"BraTS-GLI-{patient}-000",
        "patient": patient,
        "pulse": "t1c",
        "spacing": "5mm",
        "axis": 2,
        "profile": {"label": "gauss:5", "std_mm": 2.0},
        "hr": f"{patient}.nii.gz",
        "lr": f"{patient}_lr.nii.gz",
        "experts": {name: f"{patient}_SR-{name}.nii.gz" for name in EXPERTS},
    }
    return row | changes


def _write(folder: Path, **changes: Any) -> Path:
    content = {"schema": 1, "experts": EXPERTS, "cases": [_case("1"), _case("2"), _case("3")]} | changes
    path = folder / "manifest.json"
    path.write_text(json.dumps(content))
    return path


def test_manifest_round_trips_through_json(tmp_path: Path) -> None:
    manifest = load_manifest(_write(tmp_path, root="data")).with_folds(3)
    again = load_manifest(save_manifest(manifest, tmp_path / "again.json"))
    assert again == manifest
    assert again.resolve(again.cases[0].lr) == (tmp_path / "data" / "1_lr.nii.gz").resolve()


def test_separation_defaults_to_the_nominal_spacing(tmp_path: Path) -> None:
    case = load_manifest(_write(tmp_path)).cases[0]
    assert case.separation_mm == 5.0
    assert case.planes() == (0.4, 0.4, 1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cases": [_case("1", pulse="t9")]}, ["cases.0.pulse", "'t9'"]),
        ({"cases": [_case("1"), _case("2", axis=3)]}, ["cases.1.axis", "3"]),
        ({"cases": [_case("1", spacing="4mm")]}, ["cases.0.spacing", "'4mm'"]),
        ({"cases": [_case("1", profile={"std_mm": -1})]}, ["cases.0.profile.std_mm", "-1"]),
        ({"cases": [_case("1", experts={"OTHER": "x"})]}, ["cases.0.experts", "OTHER"]),
        ({"cases": [_case("1", colour="red")]}, ["cases.0.colour"]),
        ({"schema": 2}, ["schema", "2"]),
        ({"folds": [{"name": "fold0", "train": ["1"], "val": ["1"]}]}, ["folds.0", "disjoint", "'1'"]),
        ({"folds": [{"name": "fold0", "train": ["1"], "val": ["9"]}]}, ["fold0", "'9'"]),
        ({"folds": [{"name": "a", "train": ["1"], "val": ["2"]}] * 2}, ["folds", "distinct", "'a'"]),
        ({"experts": ["SMORE", *EXPERTS]}, ["experts", "distinct", "SMORE"]),
        ({"cases": [_case("1"), _case("2", axis=3)]}, ["cases.1.axis (BraTS-GLI-2-000)"]),
        ({"cases": [_case("1"), _case("1")]}, ["cases.1.subject", "cases.0", "BraTS-GLI-1-000"]),
        (
            {"cases": [_case("1"), _case("2", subject="BraTS-GLI-1-000", pulse="t2w")]},
            ["cases.1.subject", "one patient"],
        ),
        ({"cases": [_case("1"), _case("2", hr="1.nii.gz")]}, ["cases.1.hr", "'1.nii.gz'", "one patient"]),
        ({"cases": [_case("1", subject="../1")]}, ["cases.0.subject"]),
        ({"cases": [_case("1", sha256={"lr": "12"})]}, ["cases.0.sha256.lr", "'12'"]),
        ({"cases": [_case("1", sha256={"low": "0" * 64})]}, ["cases.0", "sha256", "'low'"]),
    ],
)
def test_a_wrong_manifest_names_row_and_field(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json") as caught:
        load_manifest(_write(tmp_path, **changes))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_file_that_is_no_manifest_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json: ") as caught:
        load_manifest(path)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save_manifest(load_manifest(path), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_changed_and_vanished_files_are_listed(tmp_path: Path) -> None:
    for name, text in (("1_lr.nii.gz", "scan"), ("1.nii.gz", "truth")):
        (tmp_path / name).write_text(text)
    sums = {"lr": sha256_of(tmp_path / "1_lr.nii.gz"), "hr": sha256_of(tmp_path / "1.nii.gz")}
    manifest = load_manifest(_write(tmp_path, cases=[_case("1", sha256=sums)]))
    assert manifest.changed_files() == []
    (tmp_path / "1_lr.nii.gz").write_text("another scan")
    (tmp_path / "1.nii.gz").unlink()
    lines = manifest.changed_files()
    assert [line.partition(":")[0] for line in lines] == ["cases.0.lr", "cases.0.hr"]
    assert "no longer" in lines[0]
    assert "no such file" in lines[1]


def test_missing_manifest_teaches(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--manifest"):
        load_manifest(tmp_path / "none.json")


def test_missing_files_are_listed_by_row(tmp_path: Path) -> None:
    manifest = load_manifest(_write(tmp_path))
    (tmp_path / "1_lr.nii.gz").touch()
    lines = manifest.missing_files(manifest.cases[:1])
    assert len(lines) == 5
    assert any(line.startswith("cases.0.hr: no such file") for line in lines)


def test_select_filters_by_patient_spacing_and_pulse(tmp_path: Path) -> None:
    cases = [_case("1"), _case("1", pulse="t2w"), _case("2", spacing="3mm"), _case("3")]
    manifest = load_manifest(_write(tmp_path, cases=cases))
    assert [case.patient for case in manifest.select(["1", "2", "3"], "5mm", ["t1c"])] == ["1", "3"]


def test_unknown_fold_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fold0.*fold2"):
        load_manifest(_write(tmp_path)).with_folds(3).fold("fold7")


def test_spacing_is_the_nearest_trained_one_within_its_range() -> None:
    assert [Spacing.from_separation(mm) for mm in (2.0, 5.5, 9.0)] == [Spacing.mm3, Spacing.mm5, Spacing.mm7]
    with pytest.raises(ValueError, match="allow-extrapolation"):
        Spacing.from_separation(10.0)
    assert Spacing.from_separation(10.0, allow_extrapolation=True) is Spacing.mm7

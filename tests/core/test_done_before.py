"""Results count as done only if record, inputs, settings, version and files all say so."""

import json
from pathlib import Path

import pytest

from revoxel import __version__
from revoxel.core.done_before import as_plain, refuse_other_results, size_of, why_not_done

REQUEST = as_plain({"sha256": {"scan": "ab"}, "mode": "fast", "where": Path("x")})


@pytest.fixture
def record(tmp_path) -> Path:
    """Record of a result that is there."""
    (tmp_path / "map.nii").write_text("map")
    content = {"request": REQUEST, "n_bytes": {"map.nii": 3}, "revoxel": __version__}
    path = tmp_path / "scan.json"
    path.write_text(json.dumps(content))
    return path


def test_the_same_request_is_done(record):
    assert why_not_done(record, [record], REQUEST) == ""


@pytest.mark.parametrize(
    ("request_now", "why"),
    [
        ({**REQUEST, "sha256": {"scan": "cd"}}, "input changed: scan"),
        ({**REQUEST, "sha256": {"scan": "ab", "truth": "ef"}}, "input changed: truth"),
        ({**REQUEST, "mode": "slow"}, "settings changed: mode"),
    ],
)
def test_another_request_is_not(record, request_now, why):
    assert why_not_done(record, [record], request_now) == why


@pytest.mark.parametrize(
    ("change", "why"),
    [({"revoxel": "0.0.1"}, "was made by version 0.0.1"), ({"request": 3}, "its record is damaged")],
)
def test_a_record_of_another_kind_does_not_vouch(record, change, why):
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    assert why_not_done(record, [record], REQUEST) == why


def test_a_lost_file_or_record_is_noticed(record):
    (record.parent / "map.nii").write_text("shorter or longer")
    assert why_not_done(record, [record], REQUEST) == "missing or changed: map.nii"
    (record.parent / "map.nii").unlink()
    assert why_not_done(record, [record], REQUEST) == "missing or changed: map.nii"
    record.unlink()
    assert why_not_done(record, [record.parent / "map.nii"], REQUEST) == "its record is missing"
    assert why_not_done(record, [], REQUEST) == "new"


def test_other_results_are_refused_unless_they_may_be_replaced(record):
    with pytest.raises(FileExistsError, match="settings changed"):
        refuse_other_results(record, [record], "settings changed: mode", overwrite=False)
    refuse_other_results(record, [record], "settings changed: mode", overwrite=True)
    refuse_other_results(record, [record], "", overwrite=False)
    refuse_other_results(record, [], "new", overwrite=False)


def test_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"12")
    (tmp_path / "series" / "2.dcm").write_bytes(b"345")
    assert size_of(tmp_path / "series") == 5
    assert size_of(tmp_path / "nothing") is None

"""The page: one file, complete, escaped, written whole, worst first."""

from __future__ import annotations

import re
import shutil
from html import unescape

import numpy as np
import pytest

from report_folder import HOSTILE, attributes
from revoxel.core.geometry import Grid
from revoxel.core.volumes import RESEARCH_USE, write_volume
from revoxel.sagnef.report import build
from revoxel.sagnef.report.build import ReportRequest, write_report


def test_page_shows_every_run_and_what_it_could_not_show(page) -> None:
    html = page.read_text()
    assert RESEARCH_USE.capitalize() in html
    assert html.count("<article") == html.count("<iframe") == 2
    assert "failed: lost.nii.gz must be &lt;readable&gt;" in html
    for text in ("What fusion gives", "Against the truth", "Whom the gate trusted", "How it was made"):
        assert text in html


def test_page_names_no_other_file(page) -> None:
    html = page.read_text()
    for part in (html, *frames(html)):
        found = attributes(part)
        addresses = [value for name in ("src", "href", "srcset", "action") for value in found.get(name, [])]
        assert addresses
        assert all(address.startswith(("data:", "#")) for address in addresses)


def test_hostile_names_stay_text(page) -> None:
    html = page.read_text()
    assert HOSTILE not in html
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in html
    assert "onerror" not in attributes(html)
    assert all("onerror" not in attributes(frame) for frame in frames(html))


def frames(html: str) -> list[str]:
    """Pages inside the page."""
    return [unescape(text) for text in re.findall(r'srcdoc="([^"]*)"', html)]


def test_policy_forbids_the_network_and_foreign_scripts(page) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page.read_text())
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_folders_of_inputs_are_not_told(page, cohort) -> None:
    assert str(cohort.parent) not in page.read_text()


def test_existing_page_is_kept_without_any_computing(copied, monkeypatch) -> None:
    out = copied / "report.html"
    out.write_text("mine")
    monkeypatch.setattr(build, "see", pytest.fail)
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_report(ReportRequest(copied, out))
    assert out.read_text() == "mine"


def test_worst_runs_keep_their_viewers(copied) -> None:
    # bert's result is spoilt: far worse than any of its experts.
    path = copied / "bert_5mm_t1c" / "bert_fused.nii.gz"
    noise = np.random.default_rng(0).uniform(0, 200, (40, 44, 32))
    affine = np.eye(4)
    affine[:3, 3] = (-19.5, -21.5, -17.5)
    write_volume(path, noise, Grid(noise.shape, affine), overwrite=True)
    written = write_report(ReportRequest(copied, copied / "r.html", max_viewers=1))
    html = written.path.read_text()
    first, second = re.split("<article", html)[1:]
    assert "bert" in re.search(r"<h2[^>]*>(.*?)</h2>", first)[1]
    assert "<iframe" in first
    assert "<iframe" not in second
    assert "kept for the 1 worst" in second


def test_one_unreadable_run_does_not_stop_the_page(copied) -> None:
    (copied / "anna_5mm_t1c" / "anna_fused.nii.gz").write_bytes(b"")
    written = write_report(ReportRequest(copied, copied / "r.html", max_viewers=0))
    assert written.n_runs == 1
    assert set(written.failures) == {"lost 5mm t1c", "anna 5mm t1c"}
    assert written.path.read_text().count("<article") == 1


def test_truth_that_cannot_be_scored_is_said(copied, cohort, tmp_path) -> None:
    shutil.copytree(cohort.parent / "data", tmp_path / "study" / "data")
    manifest = shutil.copy(cohort.parent / "manifest.json", tmp_path / "study")
    truth = tmp_path / "study" / "data" / "anna_hr.nii.gz"
    affine = np.eye(4)
    affine[:3, 3] = (-19.5, -21.5, -17.5)
    write_volume(
        truth, np.random.default_rng(0).random((40, 44, 4)), Grid((40, 44, 4), affine), overwrite=True
    )
    written = write_report(ReportRequest(copied, copied / "r.html", manifest, max_viewers=0))
    assert written.n_runs == 2
    assert "no metrics" in written.path.read_text()


def test_single_run_is_shown_without_a_comparison(copied) -> None:
    written = write_report(ReportRequest(copied / "bert_5mm_t1c", copied / "r.html"))
    html = written.path.read_text()
    assert "Distributions" not in html
    assert "No truth is known" in html
    assert re.search(r'<details class="viewer" open>', html)


def test_progress_ends_at_one(copied) -> None:
    told: list[float] = []
    write_report(ReportRequest(copied, copied / "r.html", max_viewers=0), lambda _, share: told.append(share))
    assert told == [0.0, 0.5, 1.0]

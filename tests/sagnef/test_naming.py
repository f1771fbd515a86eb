"""Results get the names that others build on."""

from __future__ import annotations

from pathlib import Path

import pytest

from revoxel.experts.names import Expert
from revoxel.sagnef.naming import OutputPaths


def test_output_names_are_the_specified_ones() -> None:
    paths = OutputPaths(Path("out"), "scan")
    names = [path.name for path in paths.fusion_files()]
    assert names == [
        "scan_sagnef.nii.gz",
        "scan_weights.nii.gz",
        "scan_dominant.nii.gz",
        "scan_entropy.nii.gz",
        "scan_sagnef.png",
        "scan_sagnef.json",
    ]
    assert paths.expert(Expert.SMORE).name == "scan_SR-SMORE.nii.gz"


def test_existing_results_are_refused_before_computing(tmp_path: Path) -> None:
    paths = OutputPaths(tmp_path, "scan")
    paths.refuse_existing(overwrite=False)
    paths.weights.touch()
    paths.refuse_existing(overwrite=True)
    with pytest.raises(FileExistsError, match=r"scan_weights.*--overwrite"):
        paths.refuse_existing(overwrite=False)

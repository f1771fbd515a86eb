"""Synthetic chests pass the checks that real ones must pass."""

import numpy as np
from monai.transforms import Compose

from revoxel.ct.scans.transforms import CheckCTd, LoadCTd
from revoxel.ct.simulation.thorax_file import write_thorax


def test_written_chests_are_ct_and_lie_in_different_places(tmp_path):
    steps = Compose([LoadCTd("ct"), CheckCTd("ct")])
    items = [steps({"ct": write_thorax(tmp_path / f"{n}.nii.gz", 32, 12.0, n)}) for n in (0, 1)]
    assert all(item["fov"].all() for item in items)
    origins = [np.asarray(item["ct"].affine)[:3, 3] for item in items]
    assert np.abs(origins[0] - origins[1]).max() > 1

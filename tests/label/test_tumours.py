"""Label maps of tumours are measured, other labels are left alone."""

import json

import numpy as np
import pytest

from revoxel.label.tumours import tumour_features
from tumours import nested_tumour, write_label


def test_label_map_is_measured_in_plain_values(tmp_path):
    label, affine = nested_tumour(10.0)
    info = tumour_features(write_label(tmp_path / "seg.nii.gz", label, affine))
    assert info["values"]["wt.volume_mm3"] == pytest.approx(np.count_nonzero(label) * 1.5**3)
    assert info["present"] == {"wt": True, "tc": True, "et": True, "ncr": True, "ed": True}
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_undefined_features_are_left_out(tmp_path):
    label, affine = nested_tumour(10.0)
    info = tumour_features(write_label(tmp_path / "seg.nii.gz", np.where(label == 1, 3, label), affine))
    assert info["present"]["ncr"] is False
    assert "ncr.log_volume" not in info["values"]


@pytest.mark.parametrize("scale", [0.0, 4.0, 0.5, -1.0, 1000.7])
def test_what_is_no_label_map_of_a_tumour_is_left_alone(tmp_path, scale):
    label, affine = nested_tumour(10.0)
    path = write_label(tmp_path / "truth.nii.gz", (scale * label).astype(np.float32), affine)
    assert tumour_features(path) is None


def test_damaged_file_is_an_error(tmp_path):
    path = write_label(tmp_path / "seg.nii.gz", *nested_tumour(10.0))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="readable image"):
        tumour_features(path)

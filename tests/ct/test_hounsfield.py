import numpy as np
import pytest
import torch

from revoxel.ct.hounsfield import AIR_HU, PADDING_HU, HounsfieldWindow

WINDOW = HounsfieldWindow()
HU = np.array([PADDING_HU - 1, PADDING_HU, AIR_HU, 0.0, 1476.0, 3000.0])


def test_default_window_is_the_2500_hu_that_psnr_is_reported_over():
    assert WINDOW.width_hu == 2500.0


@pytest.mark.parametrize("values", [HU, torch.from_numpy(HU)], ids=["numpy", "torch"])
def test_restore_undoes_normalise_outside_the_window_too(values):
    np.testing.assert_allclose(WINDOW.restore(WINDOW.normalise(values)), HU, atol=1e-9)


def test_ends_of_the_window_become_zero_and_one():
    ends = WINDOW.normalise(np.array([-1024.0, 1476.0]))
    np.testing.assert_allclose(ends, [0.0, 1.0])


@pytest.mark.parametrize("values", [HU, torch.from_numpy(HU)], ids=["numpy", "torch"])
def test_clipped_share_counts_what_clip_changes(values):
    changed = np.asarray(WINDOW.clip(values)) != HU
    assert WINDOW.clipped_share(values) == pytest.approx(changed.mean()) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    "ends", [(10.0, 10.0), (200.0, -200.0), (float("nan"), 1.0), (-1024.0, float("inf"))]
)
def test_empty_window_is_refused_with_both_ends(ends):
    with pytest.raises(ValueError, match="HU window must be finite with low < high"):
        HounsfieldWindow(*ends)

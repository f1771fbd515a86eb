import itertools
from functools import partial

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import nn

from laws import assert_tiled_equals_whole
from revoxel.core.hann_inferer import HannSlidingWindowInferer
from revoxel.core.windows import FastWindowInferer, hann_weights

BIG = (240, 240, 155)


class Pointwise(nn.Module):
    """Two outputs, each a function of the voxel alone: stitching must not change them."""

    def forward(self, x):
        return x.sum(dim=1, keepdim=True), x.square()


class Identity(nn.Module):
    def forward(self, x):
        return x


def volume(shape, n_channels=2):
    return torch.rand((1, n_channels, *shape), generator=torch.Generator().manual_seed(0))


@pytest.mark.reference
def test_hann_map_equals_the_trimmed_window_of_torch():
    # sin^2(pi (i + 1/2) / n) is every second sample, from the first, of a symmetric window of 2 n + 1 points.
    taps = torch.hann_window(2 * 16 + 1, periodic=False)[1::2]
    torch.testing.assert_close(hann_weights((16,)), taps.clamp_min(1e-3))


def test_hann_map_has_no_zero_and_is_symmetric():
    weights = hann_weights((8, 16, 64))
    assert weights.shape == (8, 16, 64)
    assert weights.min() == pytest.approx(1e-3)
    torch.testing.assert_close(weights, weights.flip(0, 1, 2))


@pytest.mark.parametrize("shape", [(20, 33, 17), (16, 16, 16), (7, 40, 9), (31, 1, 19)])
@pytest.mark.parametrize("inferer", [HannSlidingWindowInferer(16), FastWindowInferer(16)])
def test_tiled_equals_whole_for_awkward_sizes(inferer, shape):
    x = volume(shape)
    for tiled, whole in zip(inferer(x, Pointwise()), Pointwise()(x), strict=True):
        assert_tiled_equals_whole(tiled, whole)


@pytest.mark.parametrize("inferer", [HannSlidingWindowInferer(64), FastWindowInferer(64)])
def test_every_voxel_of_a_brats_volume_has_a_weight(inferer):
    ones = torch.ones((1, 1, *BIG))
    first, _ = inferer(ones, lambda x: (x, x))
    assert_tiled_equals_whole(first, ones)


def test_nothing_active_needs_no_network():
    x = volume((20, 20, 20))
    nothing = torch.zeros((20, 20, 20), dtype=torch.bool)
    (result,) = FastWindowInferer(16)(x, None, active=nothing, fallback=(x[:, :1],))
    assert torch.equal(result, x[:, :1])


def test_inactive_voxels_get_exactly_the_fallback():
    x = volume((40, 24, 20))
    active = torch.zeros((40, 24, 20), dtype=torch.bool)
    active[5:18, 3:20, 4:9] = True
    uniform = torch.full((1, 2, 1, 1, 1), 0.5)
    total, squares = FastWindowInferer(16)(x, Pointwise(), active=active, fallback=(x[:, :1], uniform))
    expected_total, expected_squares = Pointwise()(x)
    assert_tiled_equals_whole(total[..., active], expected_total[..., active])
    assert_tiled_equals_whole(squares[..., active], expected_squares[..., active])
    assert torch.equal(total[..., ~active], x[:, :1][..., ~active])
    assert bool((squares[..., ~active] == 0.5).all())


def test_memory_bound_limits_the_windows():
    shapes = {}

    def network(windows):
        shapes.setdefault(memory_gb, set()).add(tuple(windows.shape))
        return windows

    for memory_gb in (1e-4, 1.0):
        FastWindowInferer(16, memory_gb=memory_gb)(volume((30, 30, 30)), network)
    assert shapes == {1e-4: {(1, 2, 16, 16, 16)}, 1.0: {(1, 2, 30, 30, 30)}}


@pytest.mark.cuda
def test_batched_windows_on_a_gpu_equal_single_ones():
    x = volume((30, 30, 30)).cuda()
    single, batched = (FastWindowInferer(16, memory_gb=bound, grow=False) for bound in (0.001, 0.1))
    torch.testing.assert_close(batched(x, Pointwise()), single(x, Pointwise()))


def test_progress_counts_up_to_the_total():
    calls = []
    FastWindowInferer(16, memory_gb=0.001, progress=lambda *call: calls.append(call))(
        volume((30,) * 3), Identity()
    )
    done, total = zip(*calls, strict=True)
    assert list(done) == list(range(1, total[0] + 1))


def test_convolutions_run_in_the_fast_format_and_the_result_is_full_precision(monkeypatch):
    monkeypatch.setattr(
        "revoxel.core.windows.autocast", lambda device: torch.autocast(device.type, dtype=torch.bfloat16)
    )
    seen = []
    layer = nn.Conv3d(2, 3, 1)
    layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    (result,) = FastWindowInferer(16)(volume((16, 16, 20)), layer)
    assert set(seen) == {torch.bfloat16}
    assert result.dtype == torch.float32


def test_half_precision_network_is_stitched_in_full_precision():
    x = volume((40, 40, 40), n_channels=1).bfloat16()
    result = HannSlidingWindowInferer(16)(x, lambda window: window.bfloat16())
    torch.testing.assert_close(result, x.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inferer", [HannSlidingWindowInferer(16), FastWindowInferer(16)])
def test_input_is_never_written(inferer):
    x = volume((20, 20, 20))
    before = x.clone()
    inferer(x, Identity())
    assert torch.equal(x, before)


def test_fast_path_gives_plain_tensors():
    x = volume((12, 9, 8))
    (result,) = FastWindowInferer(8)(MetaTensor(x), Identity())
    assert type(result) is torch.Tensor
    assert_tiled_equals_whole(result, x)


def test_exact_path_keeps_the_affine():
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
    result = HannSlidingWindowInferer(8)(MetaTensor(volume((12, 9, 8)), affine=affine), Identity())
    torch.testing.assert_close(result.affine, affine, check_dtype=False)


def test_bundle_config_can_ask_for_the_exact_path():
    parser = ConfigParser(
        {
            "inferer": {
                "_target_": "revoxel.core.hann_inferer.HannSlidingWindowInferer",
                "roi_size": [16, 16, 8],
                "sw_batch_size": 2,
                "overlap": 0.5,
            }
        }
    )
    x = volume((20, 17, 23))
    assert_tiled_equals_whole(parser.get_parsed_content("inferer")(x, Identity()), x)


def test_network_sees_windows_of_the_asked_size():
    shapes = set()

    def network(windows):
        shapes.add(tuple(windows.shape[2:]))
        return windows

    inferers = (HannSlidingWindowInferer, partial(FastWindowInferer, grow=False))
    for inferer, overlap in itertools.product(inferers, (0.0, 0.5)):
        inferer((16, 8, 12), overlap=overlap)(volume((20, 30, 5)), network)
    assert shapes == {(16, 8, 12)}


@pytest.mark.parametrize("inferer", [HannSlidingWindowInferer, FastWindowInferer])
@pytest.mark.parametrize("options", [{"roi_size": 0}, {"roi_size": (16, -1, 16)}, {"roi_size": (16, 16)}])
def test_impossible_window_is_refused(inferer, options):
    with pytest.raises(ValueError, match="roi_size must be one or three positive sides"):
        inferer(**options)


def test_bad_calls_are_refused():
    x, inferer = volume((20, 20, 20)), FastWindowInferer(16)
    active = torch.zeros((20, 20, 20), dtype=torch.bool)
    with pytest.raises(ValueError, match="overlap must be"):
        FastWindowInferer(16, overlap=1.0)
    with pytest.raises(ValueError, match="one volume at a time"):
        inferer(x.expand(2, -1, -1, -1, -1), Identity())
    with pytest.raises(ValueError, match="volume's shape"):
        inferer(x, Identity(), active=active[None])
    with pytest.raises(ValueError, match="got none"):
        inferer(x, Identity(), active=active)
    active[0, 0, 0] = True
    with pytest.raises(ValueError, match="one per output"):
        inferer(x, Identity(), active=active, fallback=(x, x))

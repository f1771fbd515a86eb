import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import assert_batch_equals_singles
from revoxel.sagnef import SAGNEF


def gate(**options) -> SAGNEF:
    torch.manual_seed(0)
    return SAGNEF(**{"in_ch": 5, "n_experts": 4, "wf": 8} | options).eval()


def stack(*shape, n_channels=5):
    return torch.rand(1, n_channels, *shape, generator=torch.Generator().manual_seed(1))


def test_default_size_is_the_documented_one():
    n_parameters = sum(parameter.numel() for parameter in SAGNEF(in_ch=5, n_experts=4).parameters())
    assert round(n_parameters / 1e6, 2) == 0.79


@settings(deadline=None, max_examples=8)
@given(st.tuples(*[st.integers(8, 14)] * 3))
def test_any_side_from_eight_gives_volume_and_convex_weights_of_the_same_grid(shape):
    fused, weights = gate()(stack(*shape))
    assert fused.shape == (1, 1, *shape)
    assert weights.shape == (1, 4, *shape)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, *shape))


def test_strict_form_is_the_weighted_sum_of_the_last_channels():
    x = stack(8, 12, 9)
    fused, weights = gate(disagreement=True)(x)
    torch.testing.assert_close(fused, (weights * x[:, 1:]).sum(dim=1, keepdim=True))


def test_strict_form_stays_between_the_experts():
    x = stack(8, 8, 8)
    fused, _ = gate()(x)
    experts = x[:, 1:]
    assert bool((fused >= experts.amin(dim=1, keepdim=True) - 1e-6).all())
    assert bool((fused <= experts.amax(dim=1, keepdim=True) + 1e-6).all())


def test_residual_is_bounded_by_the_spread_and_vanishes_where_experts_agree():
    x = stack(8, 8, 8)
    x[:, 1:, :4] = x[:, 1:2, :4]
    fused, weights = gate(residual=True)(x)
    experts = x[:, 1:]
    difference = (fused - (weights * experts).sum(dim=1, keepdim=True)).abs()
    spread = experts.amax(dim=1, keepdim=True) - experts.amin(dim=1, keepdim=True)
    assert bool((difference <= spread + 1e-6).all())
    torch.testing.assert_close(fused[:, :, :4], experts[:, :1, :4])
    assert bool((difference[:, :, 4:] > 0).any())


def test_simplex_start_gives_the_same_weights_everywhere_and_keeps_every_expert_alive():
    network = gate(residual=True)
    network.set_simplex_start([0.0, 0.3, 0.7, 0.0])
    x = stack(8, 8, 8)
    fused, weights = network(x)
    expected = torch.tensor([0.02, 0.3, 0.7, 0.02]) / 1.04
    torch.testing.assert_close(weights, expected[None, :, None, None, None].expand_as(weights))
    torch.testing.assert_close(fused, (weights * x[:, 1:]).sum(dim=1, keepdim=True))


@pytest.mark.parametrize("start", [[0.5, 0.5], [0.5, 0.5, 0.5, -0.5], [0.1, 0.1, 0.1, 0.1]])
def test_start_off_the_simplex_is_refused(start):
    with pytest.raises(ValueError, match="sum to 1"):
        gate().set_simplex_start(start)


def test_weights_depend_on_the_profile_planes():
    network = gate(in_ch=8, n_profile=3)
    x = stack(8, 8, 8, n_channels=8)
    changed = x.clone()
    changed[:, :3] = torch.tensor([1.0, 0.5, 0.0])[None, :, None, None, None]
    assert not torch.allclose(network(x)[1], network(changed)[1])


def test_batch_equals_singles():
    batch = torch.rand(3, 5, 8, 8, 12)
    network = gate(residual=True, disagreement=True)
    for output in range(2):
        assert_batch_equals_singles(lambda x, output=output: network(x)[output], batch, tolerance=1e-5)


def test_mixture_stays_in_full_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused, weights = gate()(stack(8, 8, 8))
    assert fused.dtype == weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, 8, 8, 8))


def test_every_parameter_gets_a_gradient():
    network = gate(residual=True, disagreement=True)
    fused, _ = network(stack(8, 8, 8))
    fused.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_network_equals_the_original_on_another_size():
    network = gate(residual=True, disagreement=True)
    traced = torch.jit.trace(network, stack(8, 8, 8))
    x = stack(12, 8, 16)
    torch.testing.assert_close(traced(x), network(x))


def test_exported_graph_equals_the_original():
    network = gate(disagreement=True)
    x = stack(8, 8, 8)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x))


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_gives_the_same_result_on_another_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = gate(residual=True, disagreement=True)
    free = torch.export.Dim.AUTO
    shapes = ({0: free, 2: free, 3: free, 4: free},)
    program = torch.onnx.export(
        network, (stack(16, 16, 16),), dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    program.save(tmp_path / "gate.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "gate.onnx")
    x = stack(24, 16, 20)
    outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    for ours, exported in zip(network(x), outputs, strict=True):
        torch.testing.assert_close(torch.from_numpy(exported), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"wf": 12}, {"wf": 0}, {"in_ch": 3}, {"in_ch": 6}, {"n_profile": 3}, {"n_experts": 1, "in_ch": 1}],
)
def test_impossible_architecture_is_refused(options):
    with pytest.raises(ValueError, match=r"must be .* got"):
        gate(**options)


@pytest.mark.parametrize("shape", [(5, 8, 8, 8), (1, 4, 8, 8, 8), (1, 5, 8, 8, 7)])
def test_input_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"must be .* got"):
        gate()(torch.zeros(shape))


def test_unknown_public_name_is_an_attribute_error():
    import revoxel.sagnef

    with pytest.raises(AttributeError, match="nonsense"):
        _ = revoxel.sagnef.nonsense


def test_modulation_is_the_identity_at_first_and_then_steers_by_the_profile():
    torch.manual_seed(0)
    x = torch.rand(1, 8, 8, 8, 8)
    plain, steered = (gate(in_ch=8, n_profile=3, modulation=flag) for flag in (False, True))
    steered.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(steered(x), plain(x))
    torch.nn.init.normal_(steered.unet.modulate_full.scale_and_shift.weight)
    wider = x.clone()
    wider[:, 1] += 0.1
    assert (steered(wider)[1] - steered(x)[1]).abs().max() > 3 * (plain(wider)[1] - plain(x)[1]).abs().max()


def test_modulation_without_profile_planes_is_refused():
    with pytest.raises(ValueError, match="needs 3 profile planes"):
        gate(modulation=True)


def test_layers_keep_the_numbers_of_older_checkpoints():
    names = {name for name in gate().state_dict() if name.startswith("unet.encode_1")}
    assert names == {f"unet.encode_1.{layer}.{kind}" for layer in (0, 1, 3, 4) for kind in ("weight", "bias")}


def test_channels_last_training_has_the_gradients_of_contiguous_training():
    x = stack(16, 16, 16)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        network = gate(residual=True).to(memory_format=layout)
        fused, weights = network(x.contiguous(memory_format=layout))
        gradients.append(
            torch.autograd.grad(fused.square().mean() + weights[:, 0].mean(), network.parameters())
        )
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)

"""Upsamplers on disk and in their bundle: what they are for is read back, others are refused."""

import numpy as np
import pytest
import torch

from revoxel.core.adoption import adopt_checkpoint
from revoxel.core.bundles import WEIGHTS, bundle_folder
from revoxel.core.checkpoints import save_checkpoint, save_weights
from revoxel.ct.consistency import consistency_error_hu
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.bundle_network import UpsamplerBundleNet, WholeHUd
from revoxel.ct.upsampler.models import build_upsampler, load_upsampler, upsampler_protocol

ARGUMENTS = {"head": "coarse", "channels": [8], "blocks": [1], "attention": False}
WINDOW = {"low_hu": -1024.0, "high_hu": 1476.0}


def saved(path, seed=0, **changes):
    torch.manual_seed(seed)
    network = build_upsampler(ARGUMENTS)
    torch.nn.init.normal_(network.tails[0].conv_block.weight, std=0.05)
    protocol = upsampler_protocol(ARGUMENTS, WINDOW, 1.5, {"patients": ["p1"]}) | changes
    return save_checkpoint(path, {"model": network.state_dict()}, protocol), network


def test_a_checkpoint_says_what_it_is_for(tmp_path):
    path, network = saved(tmp_path / "w.pt")
    model = load_upsampler(path)
    assert (model.factor, model.spacing_mm, model.window) == (4, 1.5, HounsfieldWindow())
    assert model.record["training"] == {"patients": ["p1"]}
    assert not model.network.training
    assert all(torch.equal(v, model.network.state_dict()[k]) for k, v in network.state_dict().items())


def test_weights_of_another_network_are_refused_with_both_names(tmp_path):
    path, _ = saved(tmp_path / "w.pt", model="DetailRefiner3D")
    with pytest.raises(ValueError, match="wanted 'ResidualUpsampler3D', got 'DetailRefiner3D'"):
        load_upsampler(path)


def test_weights_of_other_switches_than_stated_are_refused(tmp_path):
    path, _ = saved(tmp_path / "w.pt", arguments={**ARGUMENTS, "channels": [6]})
    with pytest.raises(ValueError, match="weights must fit ResidualUpsampler3D"):
        load_upsampler(path)


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="arguments of ResidualUpsampler3D"):
        build_upsampler({"width": 3})


def test_a_bundle_is_loaded_by_its_folder(tmp_path):
    bundle = tmp_path / "b"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text("{}")
    _, network = saved(tmp_path / "w.pt")
    save_weights(bundle / WEIGHTS, network.state_dict(), upsampler_protocol(ARGUMENTS, WINDOW, 1.5))
    assert load_upsampler(bundle).path == bundle / WEIGHTS


def test_bundle_network_shares_names_and_gives_consistent_hu(tmp_path):
    _, network = saved(tmp_path / "w.pt")
    adapter = UpsamplerBundleNet(ARGUMENTS, WINDOW)
    adapter.load_state_dict(network.state_dict())
    assert adapter.state_dict().keys() == network.state_dict().keys()
    image = -400 + 300 * torch.randn(2, 1, 4, 5, 6)
    fine = adapter(image)
    assert fine.shape == (2, 1, 16, 20, 24)
    assert consistency_error_hu(fine, image.clamp(-1024, 1476))[1] < 0.01
    whole = WholeHUd("pred")({"pred": fine[0]})["pred"]
    assert whole.dtype == torch.int16
    assert consistency_error_hu(whole[None], image[:1].clamp(-1024, 1476))[1] <= 0.5
    with pytest.raises(ValueError, match="views must be None"):
        adapter(image, views=torch.zeros(2, 2, 1, 8, 8))


def test_adopting_takes_fitting_weights_and_no_others(tmp_path, monkeypatch):
    import shutil

    shutil.copytree(bundle_folder("ct_upsampler_64_256"), tmp_path / "ct_upsampler_64_256")
    target = tmp_path / "ct_upsampler_64_256" / WEIGHTS
    target.unlink(missing_ok=True)
    other, _ = saved(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="arguments: wanted"):
        adopt_checkpoint("ct_upsampler_64_256", other, root=tmp_path)
    shipped = {"head": "coarse", "attention": False}
    network = build_upsampler(shipped)
    protocol = upsampler_protocol(shipped, WINDOW, 1.5, {"patients": ["p1"]})
    right = save_checkpoint(tmp_path / "right.pt", {"model": network.state_dict()}, protocol)
    assert adopt_checkpoint("ct_upsampler_64_256", right, root=tmp_path) == target
    assert load_upsampler(target.parents[1]).record["training"] == {"patients": ["p1"]}
    with pytest.raises(FileExistsError, match="--overwrite"):
        adopt_checkpoint("ct_upsampler_64_256", right, root=tmp_path)
    assert np.isclose(target.stat().st_size, 4 * 582_336, rtol=0.05)

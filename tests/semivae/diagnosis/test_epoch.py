"""All that a training logs comes under the names of the original project, and tells life from collapse."""

import numpy as np
import pytest
import torch

from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.epoch import epoch_diagnostics, ode_readiness, shift_sensitivity
from revoxel.semivae.diagnosis.reconstruction import residual_alive

NAMES = (
    *("diag/au_count_residual", "diag/au_frac_residual", "diag/recon_mu_mse", "diag/recon_z0_mse"),
    *("diag/recon_mean_image_mse", "diag/z_vol_var", "diag/z_residual_var", "diag/kl_residual"),
    *("sem/vol_r2", "sem/loc_mse", "sem/vol_pearson", "sem/loc_rmse", "sem/wt.log_volume_r2"),
    *("sem/wt.centroid_s_mm_r2", "semivae/z_vol_mu_std", "semivae/z_loc_au_frac", "semivae/z_residual_kl"),
    *("semivae/corr_z_vol_z_residual", "dcor/z_vol_z_loc", "latent_diag/shift_sensitivity"),
    *("latent_diag/correlation_off_diagonal_rms", "val_epoch/ode_readiness"),
)


def test_every_name_of_the_original_project_is_logged(network, partition, batches):
    logged = epoch_diagnostics(network, partition, batches)
    assert set(NAMES) <= set(logged)
    assert all(np.isfinite(logged[name]) for name in NAMES)
    assert logged["sem/vol_r2"] == pytest.approx(1)
    assert logged["diag/au_count_residual"] == 3
    assert logged["diag/residual_gain"] == pytest.approx(1)


def test_network_and_its_mode_are_left_as_they_were(network, partition, batches):
    network.train()
    epoch_diagnostics(network, partition, batches)
    assert network.training
    assert not torch.is_inference_mode_enabled()


def test_collapsed_residual_is_told_from_a_living_one(blind_network, network, partition, batches):
    alive, dead = (
        residual_alive(one, partition, batches, encode_scans(one, partition, batches))
        for one in (network, blind_network)
    )
    assert alive["mse_mu"] < 0.95 * alive["mse_without_residual"]
    assert dead["mse_mu"] == pytest.approx(dead["mse_without_residual"])
    assert dead["mse_mu"] == pytest.approx(dead["mse_z0"])


def test_residual_that_all_scans_share_is_not_alive(blind_network, partition, batches):
    """An offset of the means costs nats and makes 0 a strange place; it says nothing about a scan."""
    latents = encode_scans(blind_network, partition, batches)
    before = residual_alive(blind_network, partition, batches, latents)
    where = partition.slices["residual"]
    latents.mu[:, where] += 4.0
    latents.kl_nats[:, where] += 0.5 * (latents.mu[:, where] ** 2 - (latents.mu[:, where] - 4.0) ** 2)
    after = residual_alive(blind_network, partition, batches, latents)
    assert latents.kl_nats[:, where].sum(axis=1).mean() > before["kl_residual"] + 20
    assert after["kl_residual"] == pytest.approx(before["kl_residual"], abs=1e-3)
    assert after["mse_without_residual"] == pytest.approx(after["mse_mu"], rel=1e-3)


def test_residual_of_another_scan_is_worse_than_ones_own(network, partition, batches):
    found = residual_alive(network, partition, batches, encode_scans(network, partition, batches))
    assert found["mse_other_residual"] > found["mse_without_residual"] > found["mse_mu"]


@pytest.mark.reference
def test_mean_image_error_is_the_unbiased_variance_of_the_pulses_that_are_there(network, partition, batches):
    batches[0]["available"][:5, 1] = False
    image = torch.cat([batch["image"] for batch in batches]).double()
    there = torch.cat([batch["available"] for batch in batches])
    expected = [image[there[:, channel], channel].var(dim=0).mean() for channel in range(4)]
    weights = there.sum(dim=0).double()
    found = residual_alive(network, partition, batches, encode_scans(network, partition, batches))
    assert found["mse_mean_image"] == pytest.approx(
        float((torch.stack(expected) * weights).sum() / weights.sum())
    )


def test_pulses_that_are_absent_cost_nothing(network, partition, batches):
    for batch in batches:
        batch["available"][:, 3] = False
        batch["image"][:, 3] += 5.0
    found = residual_alive(network, partition, batches, encode_scans(network, partition, batches))
    assert found["mse_mu"] == pytest.approx(0, abs=1e-9)


def test_active_residual_is_counted_without_free_bits(network, partition, batches):
    # A unit normal mean with variance e^-2 carries about 1.07 nats.
    given = {bits: epoch_diagnostics(network, partition, batches, {"residual": bits}) for bits in (0.0, 1.5)}
    assert given[0.0]["diag/au_count_residual"] == 3
    assert given[1.5]["diag/au_count_residual"] == 0


def test_readiness_leaves_out_what_a_partition_lacks():
    assert ode_readiness({"sem/vol_r2": 0.8, "sem/loc_r2": 0.4, "semivae/corr_a_b": -0.2}) == pytest.approx(
        0.5 * 0.8 + 0.25 * 0.4 + 0.25 * 0.8
    )
    assert ode_readiness({"sem/vol_r2": 0.8, "semivae/corr_a_b": 0.2}) == pytest.approx(0.8)


def test_shift_of_one_scan_cannot_be_compared(network, batches):
    one = {name: values[:1] for name, values in batches[0].items()}
    assert np.isnan(shift_sensitivity(network, one))


def test_no_scan_is_refused(network, partition):
    with pytest.raises(ValueError, match="there must be scans"):
        encode_scans(network, partition, [])

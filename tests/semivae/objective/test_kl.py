"""KL by partition: closed forms against torch's own, floors on the batch mean, priors of a hierarchy."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from laws import assert_gradient
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.kl import PartitionKL, kl_per_dimension

PARTITION = LatentPartition((Part("vol", 3, ("wt.log_volume",)), Part("residual", 5)))


def _posterior(seed: int = 0, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu, logvar = torch.randn(2, 6, PARTITION.z_dim, generator=generator).double()
    return scale * mu, scale * logvar


def _normal(mu: torch.Tensor, logvar: torch.Tensor) -> Normal:
    return Normal(mu, (0.5 * logvar).exp())


@pytest.mark.reference
def test_closed_forms_are_those_of_torch():
    mu, logvar = _posterior()
    prior = dict(zip(("mu", "logvar"), _posterior(1), strict=True))
    standard = _normal(torch.zeros_like(mu), torch.zeros_like(mu))
    torch.testing.assert_close(kl_per_dimension(mu, logvar), kl_divergence(_normal(mu, logvar), standard))
    torch.testing.assert_close(
        kl_per_dimension(mu, logvar, prior),
        kl_divergence(_normal(mu, logvar), _normal(prior["mu"], prior["logvar"])),
    )


def test_posterior_equal_to_its_prior_costs_nothing():
    mu, logvar = _posterior()
    loss, nats = PartitionKL(PARTITION)(mu, logvar, {"mu": mu, "logvar": logvar})
    assert loss == 0
    assert nats == {"vol": 0, "residual": 0}


def test_every_partition_pays():
    mu, logvar = _posterior()
    loss, nats = PartitionKL(PARTITION)(mu, logvar)
    per_dimension = kl_per_dimension(mu, logvar).mean(dim=0)
    torch.testing.assert_close(nats["vol"], per_dimension[:3].sum())
    torch.testing.assert_close(nats["residual"], per_dimension[3:].sum())
    torch.testing.assert_close(loss, per_dimension.sum())


def test_beta_weighs_the_loss_and_not_the_report():
    kl = PartitionKL(PARTITION)
    loss, nats = kl(*_posterior())
    kl.beta = 0.25
    weighed, same = kl(*_posterior())
    torch.testing.assert_close(weighed, 0.25 * loss)
    assert same == nats


def test_below_its_floor_a_part_costs_the_floor_and_learns_nothing():
    mu, logvar = (values.requires_grad_() for values in _posterior(scale=0.01))
    loss, nats = PartitionKL(PARTITION, free_bits={"residual": 0.2})(mu, logvar)
    loss.backward()
    torch.testing.assert_close(loss, nats["vol"] + 5 * 0.2)
    assert nats["residual"] < 0.01
    assert (mu.grad[:, 3:] == 0).all()
    assert (mu.grad[:, :3] != 0).all()


def test_floor_is_held_against_the_batch_mean_and_not_the_sample():
    mu = torch.zeros(2, PARTITION.z_dim)
    mu[0, 3:] = 2.0
    # Residual: 5 * 2 nats in one sample, 0 in the other; 5 on average, above the floor of 4.
    loss, _ = PartitionKL(PARTITION, free_bits={"residual": 0.8})(mu, torch.zeros_like(mu))
    torch.testing.assert_close(loss, torch.tensor(5.0))


def test_floor_of_every_dimension_cannot_be_paid_by_one():
    mu = torch.zeros(2, PARTITION.z_dim)
    mu[:, 3] = 2.0
    logvar = torch.zeros_like(mu)
    free_bits = {"residual": 0.1}
    group, _ = PartitionKL(PARTITION, free_bits=free_bits)(mu, logvar)
    dimension, _ = PartitionKL(PARTITION, free_bits=free_bits, mode="dimension")(mu, logvar)
    torch.testing.assert_close(group, torch.tensor(2.0))
    torch.testing.assert_close(dimension, torch.tensor(2.0 + 4 * 0.1))


def test_gradient_is_that_of_finite_differences():
    mu, logvar = (values.requires_grad_() for values in _posterior())
    means, logvars = (values.requires_grad_() for values in _posterior(1))
    kl = PartitionKL(PARTITION, beta=0.5, free_bits={"vol": 0.1})
    assert_gradient(lambda *both: kl(*both)[0], mu, logvar)
    assert_gradient(lambda m, v, pm, pv: kl(m, v, {"mu": pm, "logvar": pv})[0], mu, logvar, means, logvars)


def test_half_precision_is_computed_in_float32():
    mu, logvar = (values.bfloat16() for values in _posterior())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = PartitionKL(PARTITION)(mu, logvar, {"mu": mu, "logvar": logvar + 1})
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    "settings",
    [{"free_bits": {"shape": 0.1}}, {"free_bits": {"vol": -1.0}}, {"beta": -1.0}, {"mode": "sum"}],
    ids=str,
)
def test_impossible_kl_is_refused(settings):
    with pytest.raises(ValueError, match="KL must have"):
        PartitionKL(PARTITION, **settings)

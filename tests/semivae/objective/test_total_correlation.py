"""Total correlation: hundreds of nats for independent latents, which are measured and taken off."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from laws import assert_gradient
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.total_correlation import TotalCorrelation, gaussian_total_correlation

PARTITION = LatentPartition((Part("vol", 4, ("wt.log_volume",)), Part("residual", 76)))
N_SCANS = 1000
ESTIMATORS = ["mws", "mss", "gaussian"]


def _latents(n: int, deviation: float = 0.3, shared: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Posteriors of one width whose mixture is the prior; the residual's latents may share a factor."""
    generator = torch.Generator().manual_seed(n)
    mu, noise = torch.randn(2, n, PARTITION.z_dim, generator=generator)
    factor = torch.randn(n, 1, generator=generator)
    mu = (1 - deviation**2) ** 0.5 * ((1 - shared) ** 0.5 * mu + shared**0.5 * factor)
    logvar = torch.full_like(mu, 2 * math.log(deviation))
    return mu + deviation * noise, mu, logvar


@pytest.mark.reference
@pytest.mark.parametrize(("n", "expected"), [(8, 585), (128, 599)])
def test_weighted_sampling_finds_hundreds_of_nats_where_there_are_none(n, expected):
    loss, parts = TotalCorrelation(PARTITION, N_SCANS)(*_latents(n))
    assert parts["estimate"] == pytest.approx(expected, abs=10)
    assert loss == pytest.approx(0, abs=1)


@pytest.mark.reference
def test_offset_of_small_batches_is_near_that_of_the_sampling_weights():
    _, parts = TotalCorrelation(PARTITION, N_SCANS)(*_latents(8))
    assert parts["offset"] == pytest.approx(75 * math.log(N_SCANS * 8), rel=0.15)


@pytest.mark.reference
@pytest.mark.parametrize(("n", "expected"), [(8, 68), (512, 2.3)])
def test_gaussian_estimate_needs_many_more_samples_than_latents(n, expected):
    loss, parts = TotalCorrelation(PARTITION, N_SCANS, "gaussian")(*_latents(n))
    assert parts["estimate"] == pytest.approx(expected, rel=0.1)
    assert loss == pytest.approx(0, abs=1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_few_latents_that_share_a_factor_are_told_from_those_that_do_not(estimator):
    loss = TotalCorrelation(PARTITION, 256, estimator, part="vol")
    torch.manual_seed(0)
    independent, _ = loss(*_latents(256, 0.5))
    dependent, _ = loss(*_latents(256, 0.5, shared=0.6))
    assert abs(independent) < 0.15
    assert dependent > 0.2


def test_sampling_is_blind_to_a_shared_factor_of_many_latents():
    # Every sample lies where its own posterior alone has any density, shuffled or not.
    for estimator in ("mws", "mss"):
        dependent, _ = TotalCorrelation(PARTITION, N_SCANS, estimator)(*_latents(64, 0.5, shared=0.5))
        assert abs(dependent) < 0.1
    dependent, _ = TotalCorrelation(PARTITION, N_SCANS, "gaussian")(*_latents(64, 0.5, shared=0.5))
    assert dependent > 10


@pytest.mark.reference
def test_gaussian_total_correlation_of_two_is_the_textbook_one():
    covariance = torch.tensor([[4.0, 1.2], [1.2, 1.0]])
    # -ln(1 - r^2) / 2 with r = 0.6.
    torch.testing.assert_close(gaussian_total_correlation(covariance), torch.tensor(-0.5 * math.log(0.64)))


@pytest.mark.reference
def test_stratified_sampling_of_all_scans_is_the_whole_mixture():
    z, mu, logvar = _latents(32)
    _, parts = TotalCorrelation(PARTITION, 32, "mss", part="vol")(z, mu, logvar)
    densities = torch.distributions.Normal(mu[:, :4], (0.5 * logvar[:, :4]).exp()).log_prob(z[:, None, :4])
    # q(z) = mean over scans of q(z|x); strata weigh 1 / (n - 1) but for the own sample, 1 / n.
    joint = densities.sum(dim=2).logsumexp(dim=1) - math.log(32)
    marginals = (densities.logsumexp(dim=1) - math.log(32)).sum(dim=1)
    assert parts["estimate"] == pytest.approx(float((joint - marginals).mean()), abs=0.15)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient_is_that_of_finite_differences_and_of_its_part_alone(estimator):
    partition = LatentPartition((Part("vol", 2, ("wt.log_volume",)), Part("residual", 3)))
    loss = TotalCorrelation(partition, 100, estimator)
    rows = [part[:5, :5].double().requires_grad_() for part in _latents(8)]

    def estimate(*latents: Tensor) -> Tensor:
        # The offset is drawn anew each time, and has no gradient.
        value, parts = loss(*latents)
        return value + parts["offset"]

    assert_gradient(estimate, *rows)
    (gradient,) = torch.autograd.grad(loss(*rows)[0], rows[1])
    assert (gradient[:, :2] == 0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_half_precision_is_computed_in_float32(estimator):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = TotalCorrelation(PARTITION, N_SCANS, estimator)(*(x.bfloat16() for x in _latents(8)))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("wrong", [{"estimator": "mcs"}, {"part": "shape"}, {"n_scans": 1}], ids=str)
def test_impossible_total_correlation_is_refused(wrong):
    with pytest.raises(ValueError, match="total correlation must have"):
        TotalCorrelation(**{"partition": PARTITION, "n_scans": 10, **wrong})


def test_single_sample_is_refused():
    with pytest.raises(ValueError, match="at least 2 samples"):
        TotalCorrelation(PARTITION, 10)(*_latents(1))

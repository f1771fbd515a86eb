"""Independence of partitions: a queue that steadies it, pairs by name, and configurations that contradict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from laws import assert_gradient
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective import dependence
from revoxel.semivae.objective.independence import IndependenceLoss

PARTITION = LatentPartition(
    (Part("vol", 4, ("wt.log_volume",)), Part("loc", 3, ("wt.centroid_r_mm",)), Part("residual", 6))
)
KINDS = ["dcor", "hsic", "dip", "dip_correlation"]


def _latents(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu, logvar = torch.randn(2, n, PARTITION.z_dim, generator=generator)
    return mu, logvar - 3


def _dependent(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Volume and residual share a factor; location does not."""
    mu, logvar = _latents(n, seed)
    factor = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed + 100))
    return torch.cat([mu[:, :4] + 3 * factor, mu[:, 4:7], mu[:, 7:] - 3 * factor], dim=1), logvar


@pytest.mark.parametrize("kind", KINDS)
def test_the_pair_that_shares_a_factor_is_found(kind):
    loss = IndependenceLoss(PARTITION, kind, queue=0)
    value, pairs = loss(*_dependent(200))
    assert set(pairs) == {"vol_loc", "vol_residual", "loc_residual"}
    assert pairs["vol_residual"] > 5 * max(pairs["vol_loc"], pairs["loc_residual"])
    torch.testing.assert_close(value, torch.stack(list(pairs.values())).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_descent_makes_partitions_independent(kind):
    loss = IndependenceLoss(PARTITION, kind, pairs=[("vol", "residual")], queue=0)
    mu, logvar = _dependent(64)
    mu.requires_grad_()
    before, _ = loss(mu, logvar)
    optimizer = torch.optim.Adam([mu], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(mu, logvar)[0].backward()
        optimizer.step()
    after, _ = loss(mu, logvar)
    assert after < 0.3 * before


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_computed_in_float32(kind):
    mu, logvar = (values.bfloat16().requires_grad_() for values in _latents())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = IndependenceLoss(PARTITION, kind)(mu, logvar)
    value.backward()
    widened, _ = IndependenceLoss(PARTITION, kind)(mu.float(), logvar.float())
    assert value.dtype == torch.float32
    assert torch.equal(value, widened)
    assert torch.isfinite(mu.grad).all()


def test_queue_steadies_what_small_batches_leave_to_chance():
    alone, queued = (IndependenceLoss(PARTITION, pairs=[("vol", "loc")], queue=n) for n in (0, 256))
    values = torch.tensor(
        [[float(loss(*_latents(8, seed))[0]) for loss in (alone, queued)] for seed in range(80)]
    )
    late = values[40:]
    assert late[:, 1].std() < 0.2 * late[:, 0].std()


def test_queue_holds_the_latest_samples_without_gradient():
    loss = IndependenceLoss(PARTITION, queue=10)
    batches = [_latents(4, seed)[0].requires_grad_() for seed in range(4)]
    for mu in batches:
        loss(mu, mu)
    latest = torch.cat(batches)[-10:].detach()
    assert not loss.queued.requires_grad
    assert torch.equal(loss.queued.sort(dim=0).values, latest.sort(dim=0).values)


def test_batch_larger_than_the_queue_leaves_its_last_samples():
    loss = IndependenceLoss(PARTITION, queue=5)
    mu, logvar = _latents(12)
    loss(mu, logvar)
    assert torch.equal(loss.queued.sort(dim=0).values, mu[-5:].sort(dim=0).values)


def test_validation_reads_the_queue_and_leaves_it():
    loss = IndependenceLoss(PARTITION, queue=16)
    loss(*_latents())
    kept = loss.queued.clone()
    with torch.no_grad():
        loss(*_latents(seed=1))
    loss.eval()(*_latents(seed=1))
    assert torch.equal(loss.queued, kept)
    assert loss.n_seen == 12


def test_state_continues_a_training():
    first, second = IndependenceLoss(PARTITION, queue=16), IndependenceLoss(PARTITION, queue=16)
    first(*_latents())
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*_latents(seed=1))[0], second(*_latents(seed=1))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_finite_differences(kind, monkeypatch):
    # Gradients leave the kernel's width alone.
    monkeypatch.setattr(dependence, "_median", lambda *distances: 5.0)
    loss = IndependenceLoss(PARTITION, kind, queue=0)
    mu, logvar = (values.double().requires_grad_() for values in _latents(5, seed=1))
    assert_gradient(lambda m, v: loss(m, v)[0], mu, logvar)


@pytest.mark.parametrize("kind", KINDS)
def test_queue_leaves_the_strength_of_the_pull(kind):
    mu, logvar = _dependent(256)
    batch = mu[:16].clone().requires_grad_()
    loss = IndependenceLoss(PARTITION, kind, queue=240)
    with torch.no_grad():
        loss.queued.copy_(mu[16:])
        loss.n_seen += 240
    (queued,) = torch.autograd.grad(loss(batch, logvar[:16])[0], batch)
    mu.requires_grad_()
    (whole,) = torch.autograd.grad(IndependenceLoss(PARTITION, kind, queue=0)(mu, logvar)[0], mu)
    # Sixteen samples stand for 256, with their own posterior variances.
    torch.testing.assert_close(queued, 16 * whole[:16], rtol=0.1, atol=2e-3)


def test_first_batches_below_four_samples_cost_nothing_yet():
    loss = IndependenceLoss(PARTITION)
    mu, logvar = _latents(2)
    mu.requires_grad_()
    value, _ = loss(mu, logvar)
    value.backward()
    assert value == 0
    assert (mu.grad == 0).all()
    assert loss(*_latents(2, seed=1))[0] != 0


@pytest.mark.reference
def test_dip_is_the_covariance_with_the_posterior_variance():
    mu, logvar = _latents()
    _, pairs = IndependenceLoss(PARTITION, "dip", pairs=[("vol", "loc"), ("vol", "vol")], queue=0)(mu, logvar)
    centred = mu - mu.mean(dim=0)
    covariance = centred.T @ centred / 11 + torch.diag(logvar.exp().mean(dim=0))
    torch.testing.assert_close(pairs["vol_loc"], covariance[:4, 4:7].square().mean())
    within = covariance[:4, :4]
    apart = within[~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(pairs["vol_vol"], apart.square().mean())


def test_only_the_scale_free_dip_cannot_be_cheated_by_shrinking():
    mu, logvar = _dependent(64)
    for kind, factor in (("dip", 0.01**4), ("dip_correlation", 1.0)):
        loss = IndependenceLoss(PARTITION, kind, queue=0)
        full, _ = loss(mu, logvar - 20)
        shrunk, _ = loss(0.01 * mu, logvar - 30)
        torch.testing.assert_close(shrunk, factor * full, rtol=1e-3, atol=0)


def test_small_batch_without_a_queue_is_refused():
    with pytest.raises(ValueError, match="got 3; give the independence loss a queue"):
        IndependenceLoss(PARTITION, queue=0)(*_latents(3))


def test_pair_that_a_hierarchy_links_is_refused():
    linked = [("loc", "vol")]
    with pytest.raises(ValueError, match="linked by a hierarchy"):
        IndependenceLoss(PARTITION, linked=linked)
    IndependenceLoss(PARTITION, pairs=[("vol", "residual")], linked=linked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "hsci"}, "kind among"),
        ({"queue": -1}, "queue >= 0"),
        ({"pairs": [("vol", "shape")]}, "pairs of different parts"),
        ({"pairs": [("vol", "vol")]}, "pairs of different parts"),
        ({"pairs": []}, "pairs of different parts"),
    ],
    ids=str,
)
def test_impossible_independence_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        IndependenceLoss(PARTITION, **settings)

"""Which latents live: a matter of the likelihood's scale, shown on linear models where the answer is known.

A latent of a linear decoder lives exactly if the data's variance along it is above the decoder's (Lucas et
al. 2019, "Don't blame the ELBO"). A mean squared error plus a KL in nats is a decoder of variance N / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from revoxel.semivae.diagnosis.activity import active_units
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.kl import PartitionKL, kl_per_dimension
from revoxel.semivae.objective.likelihood import CalibratedGaussianNLL
from semivae_naive import elbo_naive

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ACTIVE_VARIANCE = 0.01


class LinearVae(nn.Module):
    """Linear encoder of means, a variance per latent, linear decoder; of data without their mean."""

    def __init__(self, n_numbers: int, n_latents: int, scale: float = 1.0) -> None:
        super().__init__()
        start = torch.randn(n_latents, n_numbers, generator=torch.Generator().manual_seed(0)) / n_numbers**0.5
        self.encoder, self.decoder = nn.Parameter(start / scale), nn.Parameter(scale * start.T.contiguous())
        self.logvar = nn.Parameter(torch.full((n_latents,), -1.0))

    def encode(self, data: Tensor) -> tuple[Tensor, Tensor]:
        return data @ self.encoder.T, self.logvar.expand(len(data), -1)

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.decoder.T

    def loss(self, loss: Loss, data: Tensor, noise: Tensor) -> Tensor:
        mu, logvar = self.encode(data)
        return loss(self.decode(mu + (0.5 * logvar).exp() * noise), data, mu, logvar)


@dataclass
class Outcome:
    """What a trained model's latents do."""

    variance: Tensor
    kl: Tensor
    mse: float
    mse_of_mean: float

    @property
    def n_varying(self) -> int:
        """Active units by the variance of their means alone."""
        return int((self.variance > ACTIVE_VARIANCE).sum())


@torch.no_grad()
def outcome_of(model: LinearVae, data: Tensor) -> Outcome:
    mu, logvar = model.encode(data)
    error = (model.decode(mu) - data).square().mean()
    kl = kl_per_dimension(mu, logvar).mean(dim=0)
    return Outcome(mu.var(dim=0), kl, float(error), float(data.square().mean()))


def calibrated(likelihood: CalibratedGaussianNLL, n_latents: int) -> Loss:
    divergence = PartitionKL(LatentPartition((Part("residual", n_latents),)))

    def loss(recon: Tensor, image: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        # One channel of "voxels": the numbers of a sample.
        weighted, _ = likelihood(recon[:, None], image[:, None])
        return weighted + divergence(mu, logvar)[0] / image.shape[1]

    return loss


EIGENVALUES = torch.tensor([8.0, 4.0, 2.0, 0.5, 0.25, 0.1, 0.05, 0.02])
N_SAMPLES = 64


def _toy(n_latents: int) -> tuple[Tensor, Tensor]:
    """Samples with exactly these eigenvalues along random axes, and noise that is exactly white beside them.

    The mean over these few samples is then the expectation, so that the optimum is met and not only neared.
    """
    generator = torch.Generator().manual_seed(2)
    n_axes = len(EIGENVALUES)
    columns = torch.randn(N_SAMPLES, 1 + n_axes + n_latents, generator=generator).double()
    columns[:, 0] = 1
    white = torch.linalg.qr(columns).Q[:, 1:] * N_SAMPLES**0.5
    axes = torch.linalg.qr(torch.randn(n_axes, n_axes, generator=generator).double()).Q
    return white[:, :n_axes] * EIGENVALUES.sqrt() @ axes, white[:, n_axes:]


def _optimum(loss: Loss, n_latents: int, scale: float = 1.0) -> Outcome:
    data, noise = _toy(n_latents)
    model = LinearVae(len(EIGENVALUES), n_latents, scale).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=400, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = model.loss(loss, scale * data, noise)
        value.backward()
        return value

    optimizer.step(closure)
    return outcome_of(model, scale * data)


@pytest.mark.reference
@pytest.mark.parametrize(("variance", "n_above"), [(1.0, 3), (0.15, 5), (10.0, 0)])
def test_exactly_the_directions_above_the_decoders_variance_stay_active(variance, n_above):
    likelihood = CalibratedGaussianNLL(1).eval()
    likelihood.variance.fill_(variance)
    likelihood.n_updates += 1
    outcome = _optimum(calibrated(likelihood, len(EIGENVALUES)), len(EIGENVALUES))
    assert outcome.n_varying == n_above
    # Along an eigenvector a latent tells ln(eigenvalue / variance) / 2 nats.
    expected = 0.5 * (EIGENVALUES[:n_above].double() / variance).log()
    torch.testing.assert_close(
        outcome.kl.sort(descending=True).values[:n_above], expected, rtol=0.01, atol=0.01
    )
    assert outcome.kl.sum() == pytest.approx(float(expected.sum()), abs=0.02)


def test_images_ten_times_brighter_have_the_same_active_units():
    # Calibrated anew in each step, which is the optimum that the running mean nears.
    dim, bright = (
        _optimum(calibrated(CalibratedGaussianNLL(1, ema=0.0), 4), 4, scale) for scale in (1.0, 10.0)
    )
    assert dim.n_varying == bright.n_varying == 4
    assert bright.kl.sum() == pytest.approx(float(dim.kl.sum()), rel=0.05)


def test_naive_loss_lets_brightness_decide_what_lives():
    counts = [_optimum(elbo_naive, 4, scale).n_varying for scale in (1.0, 10.0)]
    # Variance N / 2 = 4: one eigenvalue is above it, and all four of images ten times brighter.
    assert counts == [1, 4]


SIDE, N_CHANNELS, N_LATENTS, FREE_BITS = 16, 4, 76, 0.2


@pytest.fixture(scope="module")
def cubes() -> Tensor:
    """Smooth random patterns of falling strength and noise, less their mean: as variable as z-scored heads.

    Total variance about 800, largest eigenvalue about 40, in 4 channels of 16^3 voxels.
    """
    generator = torch.Generator().manual_seed(3)
    n_patterns, n_samples = 100, 256
    rough = torch.randn(n_patterns, N_CHANNELS, SIDE, SIDE, SIDE, generator=generator)
    smooth = torch.from_numpy(ndimage.gaussian_filter(rough.numpy(), (0, 0, 1.5, 1.5, 1.5)))
    patterns = torch.linalg.qr(smooth.flatten(1).T).Q.T
    strengths = 39 * torch.arange(1, n_patterns + 1) ** -0.6
    data = torch.randn(n_samples, n_patterns, generator=generator) * strengths.sqrt() @ patterns
    data += 0.14 * torch.randn(data.shape, generator=generator)
    return data - data.mean(dim=0)


def _trained(loss: Loss, data: Tensor, n_steps: int = 150) -> Outcome:
    generator = torch.Generator().manual_seed(1)
    model = LinearVae(data.shape[1], N_LATENTS)
    groups = [{"params": [model.encoder, model.decoder]}, {"params": [model.logvar], "lr": 0.03}]
    optimizer = torch.optim.Adam(groups, lr=3e-4)
    for _ in range(n_steps):
        batch = data[torch.randint(len(data), (32,), generator=generator)]
        optimizer.zero_grad()
        model.loss(loss, batch, torch.randn(32, N_LATENTS, generator=generator)).backward()
        optimizer.step()
    return outcome_of(model, data)


def _active(outcome: Outcome, floor: float) -> int:
    means = outcome.variance.sqrt() * torch.tensor([[-1.0], [1.0]])
    return int(active_units(means.numpy(), outcome.kl.numpy(), floor).sum())


@pytest.mark.slow
def test_mean_squared_error_with_a_kl_collapses(cubes):
    outcome = _trained(elbo_naive, cubes)
    assert outcome.n_varying == _active(outcome, 0.0) == 0
    assert outcome.kl.sum() < 0.5
    assert outcome.mse >= 0.999 * outcome.mse_of_mean


@pytest.mark.slow
def test_free_bits_make_every_latent_vary_and_tell_little(cubes):
    outcome = _trained(partial(elbo_naive, free_bits=FREE_BITS), cubes)
    assert outcome.n_varying == N_LATENTS
    assert _active(outcome, FREE_BITS) == 0
    assert outcome.kl.sum() < 20
    assert outcome.mse > 0.9 * outcome.mse_of_mean


@pytest.mark.slow
def test_calibrated_likelihood_keeps_latents_alive(cubes):
    outcome = _trained(calibrated(CalibratedGaussianNLL(1), N_LATENTS), cubes)
    assert outcome.n_varying == _active(outcome, 0.0) == N_LATENTS
    assert outcome.kl.sum() > 100
    assert outcome.mse < 0.7 * outcome.mse_of_mean

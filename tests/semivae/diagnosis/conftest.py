"""Tiny latents as fixtures."""

import pytest

from tiny_latents import TINY, LinearNetwork, draw


@pytest.fixture
def partition():
    """Volume 2, location 3, residual 3."""
    return TINY


@pytest.fixture
def network(partition):
    """Decoder and encoder undo each other."""
    return LinearNetwork(partition)


@pytest.fixture
def blind_network(partition):
    """A decoder that ignores its latent."""
    return LinearNetwork(partition, tuple(partition.slices))


@pytest.fixture
def batches(partition):
    """40 scans of 40 patients."""
    return draw(partition)

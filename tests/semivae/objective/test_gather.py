"""Two processes learn what one would: gradients through the gather, and through the losses that use it."""

from __future__ import annotations

import pytest
import torch
from torch import multiprocessing

from revoxel.semivae.objective.gather import all_gather_with_grad, mean_over_processes
from semivae_ranks import CASES, WORLD, gradients, run_rank


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(run_rank, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("case", [case for case in CASES if case != "naive"])
def test_mean_gradient_of_two_processes_is_that_of_one(ranks, case):
    for step, alone in enumerate(gradients(case)):
        assert alone.abs().max() > 1e-6
        for found, _ in ranks:
            torch.testing.assert_close(found[case][step], alone, rtol=1e-6, atol=1e-9)


def test_own_slice_alone_gives_half_the_gradient(ranks):
    for step, alone in enumerate(gradients("naive")):
        torch.testing.assert_close(ranks[0][0]["naive"][step], alone / WORLD)


def test_unequal_batches_are_refused_in_every_process(ranks):
    for _, refusal in ranks:
        assert "must be of one size, got 2 to 3" in refusal


def test_without_processes_nothing_is_gathered():
    rows = torch.ones(3, 2, requires_grad=True)
    assert all_gather_with_grad(rows) is rows
    assert mean_over_processes(rows) is rows

"""Leakage tests 3, 11 and 12: shuffled targets, blanked tumours, interventions as gates."""

import numpy as np
import pytest
import torch

from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.gates import REQUIREMENTS, judge_gates
from revoxel.semivae.diagnosis.validity import blanked, blanking_drop, permutation_r2
from tiny_latents import SIDE, draw


def test_shuffled_targets_are_not_predicted_for_other_patients(network, partition):
    train, held_out = (encode_scans(network, partition, draw(partition, 80, seed)) for seed in (1, 2))
    assert permutation_r2(train, held_out) <= 0.05


def test_patients_on_both_sides_are_found_by_the_shuffle(network, partition):
    train = encode_scans(network, partition, draw(partition, 40, 1))
    assert permutation_r2(train, train) > 0.9


def test_blanking_takes_the_tumour_and_its_surroundings():
    image, tumour = torch.ones(1, 4, 6, 6, 6), torch.zeros(1, 1, 6, 6, 6)
    tumour[0, 0, 2, 2, 2] = 0.1
    result = blanked(image, tumour)
    assert (result[0, :, 1:4, 1:4, 1:4] == 0).all()
    assert result.sum() == 4 * (6**3 - 27)


def test_volume_read_in_the_tumour_is_lost_when_it_is_blanked(network, partition, batches):
    latents = encode_scans(network, partition, batches)
    assert blanking_drop(network, partition, batches, latents) == pytest.approx(0)
    for batch in batches:
        # The latent stands in the first voxels of the first channel.
        batch["tumour"][:, 0, 0, 0, :] = 1.0
    assert batches[0]["tumour"].shape[-1] == SIDE
    assert blanking_drop(network, partition, batches, latents) > 0.9


def test_gates_fail_when_a_figure_is_not_a_number_and_are_left_out_when_it_is_absent():
    gates = {
        gate.metric: gate for gate in judge_gates({"diag/kl_residual": 25.0, "sem/wt.log_volume_r2": np.nan})
    }
    assert set(gates) == {"diag/kl_residual", "sem/wt.log_volume_r2"}
    assert gates["diag/kl_residual"].passed
    assert not gates["sem/wt.log_volume_r2"].passed


def test_gate_of_the_residual_cannot_be_passed_with_free_bits():
    # 0.25 nats in each of 76 latents are 19 nats for nothing; with more the gate of 20 nats is fooled.
    (gate,) = judge_gates({"diag/free_bits_residual": 0.3})
    assert not gate.passed


@pytest.mark.parametrize("wanted", REQUIREMENTS, ids=lambda wanted: wanted.metric)
def test_every_gate_has_two_sides(wanted):
    sides = {judge_gates({wanted.metric: wanted.limit + step})[0].passed for step in (-1e-6, 1e-6)}
    assert sides == {True, False}

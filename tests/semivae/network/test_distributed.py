import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tiny_semivae import tiny_images, tiny_network


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def gradients(network: torch.nn.Module, n_steps: int) -> dict[str, torch.Tensor]:
    for _ in range(n_steps):
        torch.manual_seed(0)
        network.zero_grad()
        output = network(tiny_images(), torch.ones(3, 4, dtype=torch.bool), intervene="vol")
        told = [*output["predictions"].values(), *output["presence"].values()]
        terms = [output["recon"], output["logvar"], output["intervention"]["mu_found"], *told]
        sum(one.square().mean() for one in terms).backward()
    return {name.removeprefix("module."): p.grad.clone() for name, p in network.named_parameters()}


def test_intervention_is_one_call_in_which_every_weight_takes_part(group):
    # A weight that no process reached would stop the second step.
    found = gradients(DistributedDataParallel(tiny_network().train()), n_steps=2)
    for name, expected in gradients(tiny_network().train(), n_steps=2).items():
        torch.testing.assert_close(found[name], expected, msg=name)

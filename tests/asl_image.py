"""A plausible input of the ASL networks."""

import torch

from revoxel.asl.network.channels import AslChannels, Plane


def network_image(n_signal: int = 4, size: tuple[int, int] = (20, 17), scale: float = 1.0) -> torch.Tensor:
    """A plausible input; CBF-like channels are in proportion to `scale`."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.ones(2, 1, *size)
    inside[..., :2, :] = 0

    def noise(n: int) -> torch.Tensor:
        return torch.rand(2, n, *size, generator=generator)

    planes = {
        Plane.sigma: torch.full((2, 1, 1, 1), 6e-4 * scale),
        Plane.scale: torch.full((2, 1, 1, 1), 0.004 * scale),
        Plane.fit_cbf: 60 * noise(1) * scale * inside,
        Plane.fit_att: (1000 + 800 * noise(1)) * inside,
        Plane.fit_cbf_sd: (1 + noise(1)) * scale * inside,
        Plane.fit_att_sd: (50 + 50 * noise(1)) * inside,
        Plane.t1_blood_ms: torch.full((2, 1, 1, 1), 1650.0),
        Plane.alpha_pcasl: torch.full((2, 1, 1, 1), 0.85),
        Plane.alpha_vsasl: torch.full((2, 1, 1, 1), 0.56),
        Plane.alpha_bs: torch.ones(2, 1, 1, 1),
    }
    return AslChannels(n_signal).stack(0.006 * noise(n_signal) * scale * inside, planes)

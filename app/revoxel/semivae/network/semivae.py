r"""`SemiVAE`: a variational autoencoder whose latent has parts that mean something.

An image's posterior is $q(z|x) = N(\mu, \mathrm{diag}\,\sigma^2)$; parts of $\mu$ must tell the tumour's
volume, place and shape, and the decoder must give the image back from all of $z$.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from revoxel.core.pulses import Pulse
from revoxel.semivae.network.decoder import (
    AroundTemplate,
    DecoderSettings,
    build_auxiliary_decoder,
    build_decoder,
)
from revoxel.semivae.network.encoder import EncoderSettings, ResEncoder3D
from revoxel.semivae.network.heads import HeadKind, SemanticHead
from revoxel.semivae.network.hierarchy import ConditionalPriors, parents_of
from revoxel.semivae.network.partition import RESIDUAL, LatentPartition, as_partition
from revoxel.semivae.network.pooling import PartitionPool, PoolSettings, PosteriorHead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

N_PULSES = len(Pulse)
_DEEPEST_STRIDE, _SMALLEST = 16, 32
_Kind = TypeVar("_Kind")
_FIRST_LOGVAR = -3.0  # a standard deviation of 0.22
_MEAN_SHARE = 0.02  # of one batch in the running mean of the latents


class SemiVAE(nn.Module):
    """Encoder, pooling by part, heads and decoder.

    Settings may be plain mappings, as a configuration holds them.

    Args:
        spatial_size: Side of the images in voxels, a multiple of 16 from 32 on.
        partition: Parts of the latent: a preset's name, plain values, or a `LatentPartition`.
        encoder: `EncoderSettings`.
        pooling: `PoolSettings`.
        decoder: `DecoderSettings`.
        head: Kind of the semantic heads: `linear`, `grouped` or `mlp`.
        gradient_isolation: What the features ask for moves the pooling and heads of their part, not the
            encoder that all parts share.
        logvar_range: Lowest and highest log variance of the posterior, approached but never reached.
        hierarchy: Parents by part, `chain`, or None.
        residual_encoder: Gives `(B, feature)` of an image `(B, 4, S, S, S)`; the residual part reads it
            instead of the encoder's maps. Any frozen or trained network serves, such as a foundation model.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(  # noqa: PLR0913 - one line of a bundle's config each
        self,
        spatial_size: int = 128,
        partition: LatentPartition | Mapping[str, Any] | str = "seed",
        *,
        encoder: EncoderSettings | Mapping[str, Any] | None = None,
        pooling: PoolSettings | Mapping[str, Any] | None = None,
        decoder: DecoderSettings | Mapping[str, Any] | None = None,
        head: HeadKind = "linear",
        gradient_isolation: bool = False,
        logvar_range: Sequence[float] = (-6.0, 2.0),
        hierarchy: Mapping[str, Sequence[str]] | str | None = None,
        residual_encoder: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        _check_size(spatial_size)
        self.spatial_size, self.partition = spatial_size, as_partition(partition)
        self.gradient_isolation = gradient_isolation
        self.lowest_logvar, self.highest_logvar = _logvar_ends(logvar_range)
        self.encoder = ResEncoder3D(N_PULSES, _settings(EncoderSettings, encoder))
        self.residual_encoder = residual_encoder
        self._build_posterior(_settings(PoolSettings, pooling))
        self._build_decoders(_settings(DecoderSettings, decoder))
        self.latent_mean: Tensor
        self.register_buffer("latent_mean", torch.zeros(self.partition.z_dim))
        self.heads = nn.ModuleDict(
            {part.name: SemanticHead(part, head) for part in self.partition.supervised}
        )
        parents = parents_of(hierarchy, self.partition)
        self.priors = ConditionalPriors(parents, self.partition) if parents else None

    def _build_posterior(self, settings: PoolSettings) -> None:
        outside = self.residual_encoder is not None
        if outside and RESIDUAL not in self.partition.names:
            msg = f"partition must have a part {RESIDUAL!r} for residual_encoder, got {self.partition.names}."
            raise ValueError(msg)
        pooled = [part for part in self.partition.parts if not (outside and part.name == RESIDUAL)]
        channels = {2 ** (at + 1): n for at, n in enumerate(self.encoder.channels)}
        if all(_DEEPEST_STRIDE not in settings.of(part.name) for part in pooled):
            msg = f"a part must see stride {_DEEPEST_STRIDE}, got strides {settings.strides}; add it to one."
            raise ValueError(msg)
        self.pool = PartitionPool(channels, pooled, settings)
        self.residual_head = self._residual_head() if outside else None
        bias = _raw_of(_FIRST_LOGVAR, self.lowest_logvar, self.highest_logvar)
        for head in self.modules():
            if isinstance(head, PosteriorHead):
                head.start_at(bias)

    def _build_decoders(self, settings: DecoderSettings) -> None:
        self.decoder = build_decoder(self.partition.z_dim, self.spatial_size, N_PULSES, settings)
        self.auxiliary_decoder = None
        if settings.template_modes:
            _check_modes(settings.template_modes, self.partition, outside=self.residual_head is not None)
        if settings.auxiliary_residual:
            size = self.partition[RESIDUAL].size
            self.auxiliary_decoder = build_auxiliary_decoder(size, self.spatial_size, N_PULSES, settings)

    def _residual_head(self) -> PosteriorHead:
        with torch.no_grad():
            features = self._outside_features(torch.zeros(1, N_PULSES, *3 * (self.spatial_size,)))
        return PosteriorHead([features.shape[1]], self.partition[RESIDUAL].size)

    def posterior_head(self, part: str) -> PosteriorHead:
        """The last layer before the posterior of a part.

        Args:
            part: Its name.
        """
        outside = self.residual_head if part == RESIDUAL else None
        head: PosteriorHead = self.pool.heads[part] if outside is None else outside  # type: ignore[assignment]
        return head

    def forward(
        self, image: Tensor, available: Tensor | None = None, intervene: str | None = None
    ) -> dict[str, Any]:
        """Encode, predict, decode.

        While training, z is drawn from the posterior; else it is the mean.

        Args:
            image: `(B, 4, S, S, S)`, z-scores, zeros where a pulse is missing.
            available: `(B, 4)`, which pulses are there; all if not given.
            intervene: Part whose mean is passed on to the next image of the batch before decoding and
                encoding again, in this one call, so that it works under `DistributedDataParallel`.

        Returns:
            `recon` `(B, 4, S, S, S)`; `mu`, `logvar`, `z`, each `(B, z_dim)`; by part: `predictions`
            `(B, feature)`, `presence` `(B, region)` logits, `attention` `(B, K, s, s, s)`; with a hierarchy
            `prior` of `mu` and `logvar` `(B, z_dim)`; with an auxiliary decoder `auxiliary_recon`
            `(B, 4, S/2, S/2, S/2)`; with an intervention `intervention` of `part`, `mu_given`, `mu_found`.
            All float32.

        Raises:
            ValueError: If the shapes or the part are others, or, in evaluation mode, a voxel is not finite.
        """
        there = self._pulses_there(image, available)
        maps = self.encoder(image, there)
        noise = self._noise(image) if self.training else {}
        raw, attention = self._raw(maps, image, there)
        if self.training:
            self._follow_mean(raw)
        mu, logvar, z = self._posterior(raw, noise)
        told = self._isolated(maps, raw, noise) if self.gradient_isolation else mu
        output = {
            "recon": self.decode(z),
            "mu": mu,
            "logvar": logvar,
            "z": z,
            "predictions": self.predict(told),
            "presence": self.predict_presence(told),
            "attention": attention,
        }
        return output | self._optional(z) | self._intervention(image, mu, intervene)

    def encode(self, image: Tensor, available: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Posterior of images; of a hierarchy at the means of the parents.

        Args:
            image: `(B, 4, S, S, S)`, z-scores.
            available: `(B, 4)`, which pulses are there; all if not given.

        Returns:
            Mean and log variance, each `(B, z_dim)`, float32.

        Raises:
            ValueError: As of `forward`.
        """
        there = self._pulses_there(image, available)
        raw, _ = self._raw(self.encoder(image, there), image, there)
        mu, logvar, _ = self._posterior(raw, {})
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Image of latents.

        Args:
            z: `(B, z_dim)`.

        Returns:
            `(B, 4, S, S, S)`, z-scores, float32.
        """
        image: Tensor = self.decoder(z)
        return image.float()

    def predict(self, mu: Tensor) -> dict[str, Tensor]:
        """Features that means tell.

        Args:
            mu: `(B, z_dim)`.

        Returns:
            `(B, feature)` by supervised part, normalised, float32.
        """
        parts = self.partition.split(mu)
        with _full_precision(mu):
            return {name: head(parts[name].float()) for name, head in self.heads.items()}

    def predict_presence(self, mu: Tensor) -> dict[str, Tensor]:
        """Regions that means tell of.

        Args:
            mu: `(B, z_dim)`.

        Returns:
            `(B, region)` logits by part that is asked for any, float32.
        """
        parts = self.partition.split(mu)
        asked = self.partition.presence_slices
        with _full_precision(mu):
            return {name: self.heads[name].presence(parts[name].float()) for name in asked}  # type: ignore[operator]

    def _pulses_there(self, image: Tensor, available: Tensor | None) -> Tensor:
        self._check_image(image, available)
        there = torch.ones(image.shape[:2]) if available is None else available
        return there.to(image.device, torch.float32)

    def _raw(
        self, maps: Mapping[int, Tensor], image: Tensor, there: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Mean and unbounded log variance by part, in full precision: small differences count."""
        with _full_precision(image):
            raw, attention = self.pool({stride: one.float() for stride, one in maps.items()})
        if self.residual_head is not None:
            features = self._outside_features(image)
            with _full_precision(image):
                raw[RESIDUAL] = self.residual_head([features.float()])
        if isinstance(self.decoder, AroundTemplate) and RESIDUAL in raw:
            with _full_precision(image):
                scores = self.decoder.scores(image.float(), there)
            n_others = raw[RESIDUAL].shape[1] - scores.shape[1]
            raw[RESIDUAL] = raw[RESIDUAL] + functional.pad(scores, (0, n_others))
        return raw, attention

    def _follow_mean(self, raw: Mapping[str, Tensor]) -> None:
        """A mean that drifts costs so little KL per voxel that nothing brings it back: it is taken off."""
        now = torch.cat([raw[name].detach().chunk(2, dim=1)[0].mean(dim=0) for name in self.partition.names])
        self.latent_mean.lerp_(now, _MEAN_SHARE)

    def _outside_features(self, image: Tensor) -> Tensor:
        features: Tensor = self.residual_encoder(image)  # type: ignore[misc]
        if features.ndim != 2 or len(features) != len(image):
            msg = f"residual_encoder must give (B, feature), got {tuple(features.shape)}; pool its maps."
            raise ValueError(msg)
        return features

    def _posterior(
        self, raw: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        z: dict[str, Tensor] = {}
        means, logvars = [], []
        usual = self.partition.split(self.latent_mean[None])
        for name in self.partition.names:
            shift = 0.0 if self.priors is None else self.priors.shift(name, z)
            mean, unbounded = (raw[name] + shift).chunk(2, dim=1)
            mean = mean - usual[name]
            logvar = self._bounded(unbounded)
            z[name] = mean + noise[name] * torch.exp(0.5 * logvar) if noise else mean
            means.append(mean)
            logvars.append(logvar)
        return torch.cat(means, dim=1), torch.cat(logvars, dim=1), torch.cat(list(z.values()), dim=1)

    def _noise(self, image: Tensor) -> dict[str, Tensor]:
        noise = torch.randn(len(image), self.partition.z_dim, device=image.device)
        return self.partition.split(noise)

    def _bounded(self, unbounded: Tensor) -> Tensor:
        # A hard clamp has no gradient beyond its ends: a unit that got there would never come back.
        return self.lowest_logvar + (self.highest_logvar - self.lowest_logvar) * torch.sigmoid(unbounded)

    def _isolated(
        self, maps: Mapping[int, Tensor], raw: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tensor:
        """The means again, their gradient ending at the maps."""
        with _full_precision(raw[self.partition.names[0]]):
            alone, _ = self.pool({stride: one.detach().float() for stride, one in maps.items()})
        mu, _, _ = self._posterior({**raw, **alone}, noise)
        return mu

    def _optional(self, z: Tensor) -> dict[str, Any]:
        parts = self.partition.split(z)
        optional: dict[str, Any] = {}
        if self.priors is not None:
            with _full_precision(z):
                optional["prior"] = self.priors.prior(parts)
        if self.auxiliary_decoder is not None:
            optional["auxiliary_recon"] = self.auxiliary_decoder(parts[RESIDUAL]).float()
        return optional

    def _intervention(self, image: Tensor, mu: Tensor, part: str | None) -> dict[str, Any]:
        if part is None:
            return {}
        where = self.partition.slices[self.partition[part].name]
        given = mu.clone()
        given[:, where] = mu[:, where].roll(1, dims=0)
        # Air stays air: a decoder that may write there writes the answers where the encoder finds them.
        inside = (image != 0).any(dim=1, keepdim=True)
        found, _ = self.encode(self.decode(given) * inside)
        return {"intervention": {"part": part, "mu_given": given, "mu_found": found}}

    def _check_image(self, image: Tensor, available: Tensor | None) -> None:
        wanted = (N_PULSES, *3 * (self.spatial_size,))
        if image.ndim != 5 or tuple(image.shape[1:]) != wanted:
            msg = (
                f"image must be (B, {', '.join(map(str, wanted))}), pulses {', '.join(Pulse)}, got "
                f"{tuple(image.shape)}; resample it to the network's cube, zeros for a missing pulse."
            )
            raise ValueError(msg)
        if available is not None and available.shape != image.shape[:2]:
            msg = f"available must be {tuple(image.shape[:2])}, got {tuple(available.shape)}; one per pulse."
            raise ValueError(msg)
        if self._looks_at_voxels(image) and not torch.isfinite(image.sum()):
            msg = "image must be finite, got NaN or infinity; replace such voxels before use."
            raise ValueError(msg)

    def _looks_at_voxels(self, image: Tensor) -> bool:
        # Training stops at a loss that is not finite; a look at every voxel would make a GPU wait.
        return not (self.training or image.is_meta or torch.compiler.is_compiling())


def _check_size(spatial_size: int) -> None:
    if spatial_size % _DEEPEST_STRIDE or spatial_size < _SMALLEST:
        msg = (
            f"spatial_size must be a multiple of {_DEEPEST_STRIDE} from {_SMALLEST} on, got {spatial_size}; "
            "pad or crop the image."
        )
        raise ValueError(msg)


def _check_modes(n_modes: int, partition: LatentPartition, *, outside: bool) -> None:
    size = partition[RESIDUAL].size if RESIDUAL in partition.names else 0
    if outside or n_modes > size:
        msg = (
            f"template_modes must be at most the size of the part {RESIDUAL!r}, without a residual_encoder, "
            f"got {n_modes} modes, size {size}{', a residual_encoder' if outside else ''}; set it to 0."
        )
        raise ValueError(msg)


def _logvar_ends(logvar_range: Sequence[float]) -> tuple[float, float]:
    ends = tuple(float(end) for end in logvar_range)
    if len(ends) != 2 or not ends[0] < _FIRST_LOGVAR < ends[1]:
        msg = f"logvar_range must be two numbers around {_FIRST_LOGVAR:g}, got {ends}; use (-6, 2)."
        raise ValueError(msg)
    return ends[0], ends[1]


def _raw_of(logvar: float, low: float, high: float) -> float:
    share = (logvar - low) / (high - low)
    return math.log(share / (1 - share))


def _full_precision(like: Tensor) -> torch.autocast:
    # Shapes without numbers, of which counts are taken, know no autocast.
    return torch.autocast("cpu" if like.is_meta else like.device.type, enabled=False)


def _settings(kind: type[_Kind], given: _Kind | Mapping[str, Any] | None) -> _Kind:
    if isinstance(given, kind):
        return given
    try:
        return kind(**(given or {}))  # type: ignore[arg-type]
    except (AttributeError, TypeError) as error:
        msg = f"{kind.__name__} must be made of its arguments, got {given}: {error}; correct the config."
        raise ValueError(msg) from error

"""The source's configuration in our terms: every key has a home, and an unknown one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Sections = dict[str, dict[str, Any]]

#: The source multiplied the signals by 100 before its own factor.
_SIGNAL_FACTOR = 100.0
#: Its SNR refers to a CBF of 20 ml/100g/min, SNR60 to one of 60.
_SNR60_PER_SNR = 3.0
_RANGES = {
    "T1_artery_range": "t1_blood_ms",
    "alpha_PCASL_range": "alpha_pcasl",
    "alpha_VSASL_range": "alpha_vsasl",
    "alpha_BS1_range": "alpha_bs",
}
_AMPLITUDES = {
    (False, False): "none",
    (True, False): "film",
    (False, True): "modulation",
    (True, True): "film+modulation",
}
_VOXEL, _AWARE = "VoxelASLNet", "AmplitudeAwareSpatialASLNet"

#: Key of the source: where its value goes.
SOURCE_KEYS = {
    "model_class_name": "network.model",
    "hidden_sizes": "network.arguments: features (hidden of VoxelASLNet)",
    "use_film_at_bottleneck": "network.arguments: amplitude, film_at",
    "use_film_at_decoder": "network.arguments: amplitude, film_at",
    "use_amplitude_output_modulation": "network.arguments: amplitude",
    "normalization_mode": "network.arguments: normalization",
    "global_scale_factor": "network.arguments: signal_scale (times 100)",
    "learning_rate": "train.lr",
    "batch_size": "train.batch_size",
    "n_epochs": "train.epochs",
    "n_ensembles": "inference.members",
    "dropout_rate": "network.arguments: dropout",
    "norm_type": "network.arguments: norm",
    "loss_type": "loss.mode, with loss_mode",
    "loss_mode": "loss.mode, with loss_type",
    "cbf_weight": "loss.cbf_weight",
    "att_weight": "loss.att_weight",
    "dc_weight": "loss.dc_weight",
    "variance_weight": "loss.variance_weight",
    "domain_randomization": "data.physics: the ranges below, or none",
    "training_noise_levels": "data.snr_range: smallest and largest, times 3 (SNR60)",
    "T1_artery": "physics.t1_blood_ms",
    "T1_artery_range": "data.physics: t1_blood_ms",
    "T_tau": "protocol.labelling_durations_ms",
    "alpha_PCASL": "physics.alpha_pcasl",
    "alpha_PCASL_range": "data.physics: alpha_pcasl",
    "alpha_VSASL": "physics.alpha_vsasl",
    "alpha_VSASL_range": "data.physics: alpha_vsasl",
    "alpha_BS1_range": "data.physics: alpha_bs",
    "pld_values": "protocol.pcasl_plds_ms and protocol.vsasl_plds_ms",
    "active_features": "network.arguments: features of VoxelASLNet",
    "data_noise_components": "data.noise_components",
    "noise_type": "data.noise_kind",
}


def is_source(content: Mapping[str, Any]) -> bool:
    """Whether a configuration is in the source's terms.

    Args:
        content: as read from its file.
    """
    return "model_class_name" in content


def from_source(source: Mapping[str, Any]) -> Sections:
    """Translate a configuration of the source.

    Args:
        source: its keys and values, all of `SOURCE_KEYS`.

    Returns:
        Sections as in `model_configuration.yaml`, and `inference`.

    Raises:
        ValueError: If a key is unknown or missing, or a value has no counterpart.
    """
    unknown, missing = sorted(set(source) - set(SOURCE_KEYS)), sorted(set(SOURCE_KEYS) - set(source))
    if unknown or missing:
        msg = f"the source's configuration must have its own keys, got unknown {unknown}, no {missing}."
        raise ValueError(msg)
    levels = source["training_noise_levels"]
    ranges = {ours: source[theirs] for theirs, ours in _RANGES.items()}
    plds = source["pld_values"]
    return {
        "protocol": {
            "pcasl_plds_ms": plds,
            "vsasl_plds_ms": plds,
            "labelling_durations_ms": source["T_tau"],
        },
        "physics": {
            "t1_blood_ms": source["T1_artery"],
            "alpha_pcasl": source["alpha_PCASL"],
            "alpha_vsasl": source["alpha_VSASL"],
        },
        "network": {"model": source["model_class_name"], "arguments": _arguments(source)},
        "data": {
            "noise_kind": source["noise_type"],
            "noise_components": source["data_noise_components"],
            "snr_range": [_SNR60_PER_SNR * min(levels), _SNR60_PER_SNR * max(levels)],
            "physics": ranges if source["domain_randomization"] else "none",
            "physics_known": False,
        },
        "loss": {
            "mode": _mode(source["loss_type"], source["loss_mode"]),
            "noise_balance": 1.0,
            **{name: source[name] for name in ("cbf_weight", "att_weight", "dc_weight", "variance_weight")},
        },
        "train": {
            "lr": source["learning_rate"],
            "batch_size": source["batch_size"],
            "epochs": source["n_epochs"],
        },
        "inference": {"members": source["n_ensembles"]},
    }


def _arguments(source: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the network's class; the fit is no input of the source's networks."""
    shared = {
        "in_channels": 2 * len(source["pld_values"]),
        "dropout": source["dropout_rate"],
        "normalization": source["normalization_mode"],
        "signal_scale": _SIGNAL_FACTOR * source["global_scale_factor"],
    }
    if source["model_class_name"] == _VOXEL:
        features = ["t1_blood" if name == "t1_artery" else name for name in source["active_features"]]
        return {**shared, "features": features, "hidden": source["hidden_sizes"]}
    norm = source["norm_type"] if source["norm_type"] != "none" else None
    spatial = {**shared, "features": source["hidden_sizes"], "norm": norm}
    if source["model_class_name"] != _AWARE:
        return spatial
    sites = {"bottleneck": source["use_film_at_bottleneck"], "decoder": source["use_film_at_decoder"]}
    amplitude = _AMPLITUDES[any(sites.values()), bool(source["use_amplitude_output_modulation"])]
    film_at = [site for site, used in sites.items() if used]
    return {**spatial, "amplitude": amplitude, "film_at": film_at, "residual_on_fit": False}


def _mode(loss_type: str, loss_mode: str) -> str:
    if loss_type == "l1" and loss_mode in {"mae", "mae_nll"}:
        return loss_mode
    modes: dict[tuple[str, str], str] = {("l2", "mse"): "mse", ("huber", "huber"): "huber"}
    if (loss_type, loss_mode) in modes:
        return modes[loss_type, loss_mode]
    msg = (
        "loss_type and loss_mode must be l1 with mae or mae_nll, l2 with mse, or huber twice, got "
        f"{loss_type!r} and {loss_mode!r}."
    )
    raise ValueError(msg)

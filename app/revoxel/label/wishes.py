"""What a client may ask for: a few plain values. Nothing here can name a file or a configuration."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revoxel.core.pulses import Pulse
from revoxel.label.refusals import bad

#: Tags under which the server keeps what it made.
FUSED_TAG = "sagnef"
WEIGHTS_TAG = "weights"
REFINED_TAG = "ct_refined"
OWN_TAGS = frozenset({FUSED_TAG, WEIGHTS_TAG, REFINED_TAG})


class _Wishes(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # Every stock client sends it; it says who asks and decides nothing.
    client_id: str | None = None

    @classmethod
    def read(cls, params: object) -> Self:
        """Check what a client sent.

        Args:
            params: JSON text, or what it held.

        Returns:
            The wishes.

        Raises:
            RefusedError: If it is no JSON object, or holds another name or value than those allowed.
        """
        try:
            values = json.loads(params or "{}") if isinstance(params, str) else params or {}
        except ValueError as error:
            msg = f"params must be JSON, got {error}; send an object such as {{}}."
            raise bad(msg) from error
        if not isinstance(values, dict):
            msg = f"params must be a JSON object, got {type(values).__name__}; send an object such as {{}}."
            raise bad(msg)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise bad(cls._reason(error)) from error

    @classmethod
    def _reason(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(cls.model_fields)
            return (
                f"params must be among: {allowed}; got {name!r}. Files and configurations cannot be named: "
                "upload an image and give its id."
            )
        return f"params: {name}: {first['msg']}, got {first['input']!r}; correct it."


class InferWishes(_Wishes):
    """How to super-resolve one scan.

    Attributes:
        pulse: Pulse of the scan; `auto` reads it from the name.
        weights: Keep the weight maps as the label `weights`.
        trained: Use the gate that was trained on this server.
        deliver: Send the volume, or keep it in the datastore as the label `sagnef`, or `ct_refined` of a CT.
        device: Where to compute.
    """

    pulse: Literal["auto"] | Pulse = "auto"
    weights: bool = False
    trained: bool = False
    deliver: Literal["file", "datastore"] = "file"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] = "auto"


class TrainWishes(_Wishes):
    """How to train; everything else is the bundle's own.

    Attributes:
        max_epochs: Epochs in all.
        learning_rate: Of the optimizer.
        seed: Of everything random.
    """

    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 50
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def values(self) -> dict[str, Any]:
        """Values of the bundle's training graph."""
        return {"epochs": self.max_epochs, "learning_rate": self.learning_rate, "seed": self.seed}

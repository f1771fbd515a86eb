"""The CT networks that a verb trains, and their bundles."""

from __future__ import annotations

from enum import StrEnum


class CtModel(StrEnum):
    """Networks that `revoxel ct train` trains."""

    UPSAMPLER = "upsampler"
    DETAIL = "detail"
    TWO_VIEW = "two-view"

    @property
    def bundle(self) -> str:
        """Name of its bundle."""
        return _BUNDLES[self]


_BUNDLES = {
    CtModel.UPSAMPLER: "ct_upsampler_64_256",
    CtModel.DETAIL: "ct_detail_64",
    CtModel.TWO_VIEW: "ct_two_view_32",
}

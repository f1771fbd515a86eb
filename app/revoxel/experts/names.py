"""The four super-resolution experts and the order in which they are stacked."""

from enum import StrEnum


class Expert(StrEnum):
    """A super-resolution expert; the order of the members is the channel order everywhere."""

    BSPLINE = "BSPLINE"
    ECLARE = "ECLARE"
    SMORE = "SMORE"
    UNIRES = "UNIRES"

    @property
    def meaning(self) -> str:
        """One line that says what the expert does."""
        return _MEANINGS[self]


_MEANINGS = {
    Expert.BSPLINE: "cubic B-spline interpolation along the slice axis",
    Expert.ECLARE: "ECLARE-type: wide-activation 2D network tuned on the volume's own planes, squared error",
    Expert.SMORE: "SMORE-type: residual 2D network tuned on the volume's own planes, absolute error",
    Expert.UNIRES: "UniRes-type: total-variation MAP estimate with an exact slice-profile data term",
}

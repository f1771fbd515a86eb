"""The closed vocabulary of MR pulses and slice spacings that models are trained for."""

from __future__ import annotations

from enum import StrEnum


class Pulse(StrEnum):
    """One MR contrast, named as the BraTS challenges name it."""

    t1c = "t1c"
    t1n = "t1n"
    t2f = "t2f"
    t2w = "t2w"


class Spacing(StrEnum):
    """Nominal distance between slice centres that a model was trained at."""

    mm3 = "3mm"
    mm5 = "5mm"
    mm7 = "7mm"

    @property
    def nominal_mm(self) -> float:
        """Nominal slice separation in millimetres."""
        return float(self.value.removesuffix("mm"))

    @property
    def range_mm(self) -> tuple[float, float]:
        """Lowest and highest separation in millimetres that this model may be used at."""
        return _RANGES_MM[self]

    @classmethod
    def from_separation(cls, separation_mm: float, *, allow_extrapolation: bool = False) -> Spacing:
        """Choose the nearest trained spacing.

        Args:
            separation_mm: distance between neighbouring slice centres in millimetres.
            allow_extrapolation: accept separations outside every trained range.

        Returns:
            The spacing with the nearest nominal separation.

        Raises:
            ValueError: If the separation lies outside all ranges and extrapolation is not allowed.
        """
        nearest = min(cls, key=lambda spacing: abs(spacing.nominal_mm - separation_mm))
        low_mm, high_mm = nearest.range_mm
        if allow_extrapolation or low_mm <= separation_mm <= high_mm:
            return nearest
        msg = (
            f"slice separation must be within {cls.mm3.range_mm[0]:g}-{cls.mm7.range_mm[1]:g} mm, got "
            f"{separation_mm:g} mm; give --allow-extrapolation to use the {nearest} model."
        )
        raise ValueError(msg)


_RANGES_MM = {Spacing.mm3: (2.0, 4.0), Spacing.mm5: (4.0, 6.0), Spacing.mm7: (6.0, 9.0)}

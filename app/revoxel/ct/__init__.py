"""CT refinement: a coarse CT in, a finer or sharper one out, in HU and consistent with its input.

Axes are MONAI's channel-first `(batch, channel, x, y, z)` in RAS; lengths in mm, values at a boundary in HU.
"""

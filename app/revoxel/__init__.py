"""Revoxel recovers what the scanner left out: thick-slice MRI in, isotropic volume out.

Importing the package costs next to nothing: torch and MONAI are loaded by the modules that compute.
Research use, not for diagnosis.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"

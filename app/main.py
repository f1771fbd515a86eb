"""Entry of MONAI Label: `monailabel start_server --app app --studies FOLDER`."""

from revoxel.label.app import RevoxelApp

__all__ = ["RevoxelApp"]

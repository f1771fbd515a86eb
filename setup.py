"""Build step that carries the bundles and their sources inside the wheel; all else is in pyproject.toml."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("bundles", "configs")
NOT_SHIPPED = ignore_patterns("__pycache__", "eval", "runs", "*.ts", "*.onnx")


class BuildWithBundles(build_py):
    """Copy `bundles/` to `revoxel/_bundles` and `configs/` to `revoxel/_configs`."""

    def run(self) -> None:
        """Build the package, then add the folders; an editable install reads them in place."""
        super().run()
        for name in SHIPPED:
            source = Path(__file__).parent / name
            if not self.editable_mode and source.is_dir():
                target = Path(self.build_lib) / "revoxel" / f"_{name}"
                copytree(source, target, dirs_exist_ok=True, ignore=NOT_SHIPPED)


setup(cmdclass={"build_py": BuildWithBundles})

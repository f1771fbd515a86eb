"""SAGNEF: per-voxel fusion of super-resolution experts."""

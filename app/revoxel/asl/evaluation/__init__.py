"""Scores over one and the same set of voxels for every method."""

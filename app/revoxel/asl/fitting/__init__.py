"""CBF and ATT of every voxel by least squares, with what the noise leaves open."""

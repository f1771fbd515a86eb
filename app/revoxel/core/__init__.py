"""What two or more systems use: grids, volumes, intensities, metrics, bundles. Knows none of the systems."""

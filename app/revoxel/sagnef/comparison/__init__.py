"""`revoxel evaluate`: every method beside every baseline on the test patients of a fold."""

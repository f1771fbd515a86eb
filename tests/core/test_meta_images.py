"""Images with an affine keep their grid."""

import numpy as np

from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of, image_on


def test_an_image_lies_where_its_grid_says():
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (5, -6, 7)
    grid = Grid((3, 4, 5), affine)
    found = grid_of(image_on(np.zeros((2, 3, 4, 5), np.float32), grid))
    assert found.shape == grid.shape
    np.testing.assert_array_equal(found.affine, affine)

"""Morphology of whole rasters: what grows from a marker as far as a mask lets it.

Reconstructions go on until no cell changes. They are over the valid cells: what has no mask gets no result, and
cells without a marker are those from which nothing grows, until something reaches them.
"""

import math

import tilejit as tj


@tj.focal(nodata="kernel", unit="input")
def geodesic_dilation(marker, mask):
    """The largest of the 3x3 window around a cell of the marker, and no more than the mask.

    Args:
        marker: Any quantity.
        mask: What the result is not above, in the same unit.

    Returns:
        The marker, grown by a cell, in its unit; NaN where there is no mask, or no marker in the window.

    Source:
        Vincent, L. (1993). Morphological grayscale reconstruction in image analysis. IEEE Transactions on Image
        Processing 2(2), section 3.1.

    Example:
        >>> import numpy as np
        >>> geodesic_dilation(np.float32([[5, 0, 0, 0]]), np.float32([[9, 3, 8, 8]]))
        array([[5., 3., 0., 0.]], dtype=float32)
    """
    high = -math.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            high = max(high, marker[dy, dx])
    return min(mask[0, 0], high) if high > -math.inf else math.nan


@tj.focal(nodata="kernel", unit="input")
def geodesic_erosion(marker, mask):
    """The smallest of the 3x3 window around a cell of the marker, and no less than the mask.

    Args:
        marker: Any quantity.
        mask: What the result is not below, in the same unit.

    Returns:
        The marker, shrunk by a cell, in its unit; NaN where there is no mask, or no marker in the window.

    Source:
        Vincent, L. (1993). Morphological grayscale reconstruction in image analysis. IEEE Transactions on Image
        Processing 2(2), section 3.2.

    Example:
        >>> import numpy as np
        >>> geodesic_erosion(np.float32([[1, 9, 9, 9]]), np.float32([[0, 3, 2, 2]]))
        array([[1., 3., 9., 9.]], dtype=float32)
    """
    low = math.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            low = min(low, marker[dy, dx])
    return max(mask[0, 0], low) if low < math.inf else math.nan


@tj.local(unit="input")
def lower_of(marker, mask):
    """The lower of two cells.

    Args:
        marker: Any quantity.
        mask: Another, in the same unit.

    Returns:
        The lower one, in their unit.

    Source:
        The minimum; what a marker must be cut to before it grows under a mask.

    Example:
        >>> import numpy as np
        >>> lower_of(np.float32([[1, 9]]), np.float32([[2, 3]]))
        array([[1., 3.]], dtype=float32)
    """
    return min(marker, mask)


@tj.local(unit="input")
def higher_of(marker, mask):
    """The higher of two cells.

    Args:
        marker: Any quantity.
        mask: Another, in the same unit.

    Returns:
        The higher one, in their unit.

    Source:
        The maximum; what a marker must be lifted to before it sinks onto a mask.

    Example:
        >>> import numpy as np
        >>> higher_of(np.float32([[1, 9]]), np.float32([[2, 3]]))
        array([[2., 9.]], dtype=float32)
    """
    return max(marker, mask)


@tj.chain
def reconstruct_by_dilation(marker, mask):
    """Morphological reconstruction: the marker grows under the mask until it grows no more.

    Args:
        marker: Any quantity; what is above the mask is cut to it.
        mask: What the result is not above, in the same unit.

    Returns:
        The mask without its peaks that hold no marker, in its unit: each cell is the lowest cell of the best
        way on which the marker reaches it.

    Source:
        Vincent, L. (1993). Morphological grayscale reconstruction in image analysis. IEEE Transactions on Image
        Processing 2(2); ``skimage.morphology.reconstruction`` over eight neighbours.

    Example:
        >>> import numpy as np
        >>> reconstruct_by_dilation(np.float32([[5, 0, 0, 0]]), np.float32([[9, 3, 8, 8]]))
        array([[5., 3., 3., 3.]], dtype=float32)
    """
    return tj.iterate(geodesic_dilation, lower_of(marker, mask), mask, monotone=True)


@tj.chain
def reconstruct_by_erosion(marker, mask):
    """Morphological reconstruction: the marker sinks onto the mask until it sinks no more.

    With a marker of the mask at the raster's edge and of infinity inside, it fills the depressions of a terrain.

    Args:
        marker: Any quantity; what is below the mask is lifted to it.
        mask: What the result is not below, in the same unit.

    Returns:
        The mask without its hollows that hold no marker, in its unit: each cell is the highest cell of the best
        way on which the marker reaches it.

    Source:
        Vincent, L. (1993). Morphological grayscale reconstruction in image analysis. IEEE Transactions on Image
        Processing 2(2); ``skimage.morphology.reconstruction(method="erosion")`` over eight neighbours.

    Example:
        >>> import numpy as np
        >>> reconstruct_by_erosion(np.float32([[1, 9, 9, 9]]), np.float32([[0, 3, 2, 2]]))
        array([[1., 3., 3., 3.]], dtype=float32)
    """
    return tj.iterate(geodesic_erosion, higher_of(marker, mask), mask, monotone=True)

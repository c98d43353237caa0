"""tilejit: JIT-compiled raster kernels, tiled over CPU threads, GPUs and clusters.

Write the arithmetic of one pixel as a plain Python function; run it over rasters of any size.

Example:
    >>> import numpy as np
    >>> import tilejit as tj
    >>> @tj.local
    ... def ndvi(red, nir):
    ...     return (nir - red) / (nir + red)
    >>> ndvi(np.uint16([[10, 20]]), np.uint16([[30, 20]]))
    array([[0.5, 0. ]], dtype=float32)
"""

from __future__ import annotations

from tilejit import errors, math
from tilejit.door import door
from tilejit.errors import TilejitError
from tilejit.kernel import Kernel
from tilejit.language.names import is_valid
from tilejit.language.quantities import Quantity
from tilejit.registry import focal, local

__version__ = "0.1.0"

CELL_WIDTH = Quantity.CELL_WIDTH
CELL_HEIGHT = Quantity.CELL_HEIGHT
GROUND_WIDTH = Quantity.GROUND_WIDTH
GROUND_HEIGHT = Quantity.GROUND_HEIGHT
X = Quantity.X
Y = Quantity.Y
ROW = Quantity.ROW
COL = Quantity.COL

Kernel.door = staticmethod(door)  # type: ignore[assignment]

__all__ = [
    "CELL_HEIGHT",
    "CELL_WIDTH",
    "COL",
    "GROUND_HEIGHT",
    "GROUND_WIDTH",
    "ROW",
    "Kernel",
    "Quantity",
    "TilejitError",
    "X",
    "Y",
    "__version__",
    "errors",
    "focal",
    "is_valid",
    "local",
    "math",
]

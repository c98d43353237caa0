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

import importlib
from typing import TYPE_CHECKING, Any

from tilejit.system import leave_current_folder

leave_current_folder()  # before what follows is imported from there

# ruff: noqa: E402
from tilejit import errors
from tilejit.compiler.form.captured import is_valid
from tilejit.compiler.form.kinds import Quantity
from tilejit.compiler.form.parameters import Stack
from tilejit.errors import DatesWarning, NodataWarning, TilejitError
from tilejit.grid import Grid
from tilejit.kernel.block_kernel import block
from tilejit.kernel.decorators import Chain, chain, focal, local, series
from tilejit.kernel.kernel import Kernel
from tilejit.raster import call_chain, call_kernel

importlib.import_module("tilejit.window")  # a module, whose first import gives the package its name
del globals()["window"]  # which is a function's: see `_LAZY`

__version__ = "0.1.0"

CELL_WIDTH = Quantity.CELL_WIDTH
CELL_HEIGHT = Quantity.CELL_HEIGHT
GROUND_WIDTH = Quantity.GROUND_WIDTH
GROUND_HEIGHT = Quantity.GROUND_HEIGHT
Z_FACTOR = Quantity.Z_FACTOR
X = Quantity.X
Y = Quantity.Y
ROW = Quantity.ROW
COL = Quantity.COL

Kernel.dispatch = staticmethod(call_kernel)
Chain.dispatch = staticmethod(call_chain)


def _reduced(function: Kernel | Chain) -> tuple[Any, ...]:
    from tilejit.kernel.crossing import reduced

    return reduced(function)


Kernel.reduced = Chain.reduced = staticmethod(_reduced)


def _locate(grid: Grid) -> Grid:
    from tilejit.formats.gdal.crs import located

    return located(grid)


def _reproject(grid: Grid, *asked: Any) -> Grid:
    from tilejit.formats.gdal.reprojecting import reprojected

    return reprojected(grid, *asked)


Grid.locate, Grid.reproject = staticmethod(_locate), staticmethod(_reproject)

_LAZY = {
    "Comparison": "tilejit.comparison.comparison:Comparison",
    "Plan": "tilejit.engine.planning.plan:Plan",
    "Prediction": "tilejit.engine.prediction:Prediction",
    "Raster": "tilejit.raster.raster:Raster",
    "Report": "tilejit.engine.pipeline.report:Report",
    "Window": "tilejit.window:Window",
    "Tile": "tilejit.raster.asynchronous:Tile",
    "align": "tilejit.raster.aligning:align",
    "asave": "tilejit.raster.asynchronous:asave",
    "compare": "tilejit.comparison.compare:compare",
    "from_array": "tilejit.raster.making:from_array",
    "histogram": "tilejit.kernel.zonal:histogram",
    "iterate": "tilejit.raster.iterating:iterate",
    "math": "tilejit.math",
    "median": "tilejit.compiler.arrays.arrays:median",
    "merge": "tilejit.raster.merging:merge",
    "mosaic": "tilejit.raster.joining:mosaic",
    "open": "tilejit.raster.making:open_raster",
    "percentile": "tilejit.kernel.zonal:percentile",
    "save": "tilejit.raster.running:save",
    "sort": "tilejit.compiler.arrays.arrays:sort",
    "stack": "tilejit.raster.making:stack",
    "where": "tilejit.raster.arithmetic:where",
    "window": "tilejit.compiler.arrays.arrays:window",
    "zeros": "tilejit.compiler.arrays.arrays:zeros",
    "zonal": "tilejit.kernel.zonal:zonal",
}
"""Names whose modules are imported on first use, so that ``import tilejit`` stays quick."""

if TYPE_CHECKING:
    from tilejit import math
    from tilejit.comparison.compare import compare
    from tilejit.comparison.comparison import Comparison
    from tilejit.compiler.arrays.arrays import median, sort, window, zeros
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.prediction import Prediction
    from tilejit.kernel.zonal import histogram, percentile, zonal
    from tilejit.raster.aligning import align
    from tilejit.raster.arithmetic import where
    from tilejit.raster.asynchronous import Tile, asave
    from tilejit.raster.iterating import iterate
    from tilejit.raster.joining import mosaic
    from tilejit.raster.making import from_array, stack
    from tilejit.raster.making import open_raster as open  # noqa: A004 - as rasterio.open
    from tilejit.raster.merging import merge
    from tilejit.raster.raster import Raster
    from tilejit.raster.running import save
    from tilejit.window import Window


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tilejit' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value = importlib.import_module(module)
    value = getattr(value, attribute) if attribute else value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "CELL_HEIGHT",
    "CELL_WIDTH",
    "COL",
    "GROUND_HEIGHT",
    "GROUND_WIDTH",
    "ROW",
    "Z_FACTOR",
    "Chain",
    "Comparison",
    "DatesWarning",
    "Grid",
    "Kernel",
    "NodataWarning",
    "Plan",
    "Prediction",
    "Quantity",
    "Raster",
    "Report",
    "Stack",
    "Tile",
    "TilejitError",
    "Window",
    "X",
    "Y",
    "__version__",
    "align",
    "asave",
    "block",
    "chain",
    "compare",
    "errors",
    "focal",
    "from_array",
    "histogram",
    "is_valid",
    "iterate",
    "local",
    "math",
    "median",
    "merge",
    "mosaic",
    "open",
    "percentile",
    "save",
    "series",
    "sort",
    "stack",
    "where",
    "window",
    "zeros",
    "zonal",
]

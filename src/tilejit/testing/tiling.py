"""Whether a kernel reads no further than it says: the same raster whole and in tiles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import PlanError
from tilejit.raster.making import from_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from tilejit.kernel.decorators import Applicable
    from tilejit.raster.raster import Raster

_TILES = ((1, 7), (13, 5), (16, 64))
"""Rows and columns of odd tiles, of which the last is wider than most halos."""


def check_tiling(
    function: Applicable,
    *arrays: ArrayLike,
    tiles: Sequence[tuple[int, int]] = _TILES,
    tolerance: float = 0.0,
    **parameters: Any,
) -> None:
    """Computes the same raster whole and in tiles, and compares them.

    Args:
        function: A kernel or a chain; one of `tilejit.block` above all, whose radius nobody checks otherwise.
        *arrays: Its rasters, (row, col) arrays of one shape; without any, of 45 x 71 random numbers with NaN.
        tiles: Rows and columns of the tiles.
        tolerance: How far a cell may be off, in units of the whole's largest absolute value; 0 means the same bits.
            Sums of libraries that go by a cell's place in memory differ in the last bits.
        **parameters: Its keyword-only parameters.

    Raises:
        PlanError: They differ; with the tiles, and the first cell that does.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> from tilejit.testing import check_tiling
        >>> @tj.block(radius=1)
        ... def sum_of_row(z):
        ...     return z + np.nansum(z, axis=1, keepdims=True)
        >>> check_tiling(sum_of_row)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tilejit.errors.PlanError: sum_of_row, row 0, col 0: ... whole, and ... in tiles of 1 x 7: its radius ...
    """
    inputs = [from_array(array) for array in arrays or _random(len(function.rasters))]
    made: Raster = function(*inputs, **parameters)
    rows, cols = made.grid.shape
    whole = made.read(tile=(rows, cols), workers=1)
    for tile in tiles:
        _compare(function, whole, made.read(tile=tile), tile, tolerance)


def _random(count: int) -> list[NDArray[np.float32]]:
    """Rasters with holes, the same each time."""
    generator = np.random.default_rng(45)
    cells = generator.normal(100, 20, (count, 45, 71)).astype(np.float32)
    cells[generator.random(cells.shape) < 0.02] = np.nan
    return list(cells)


def _compare(
    function: Applicable, whole: NDArray[Any], tiled: NDArray[Any], tile: tuple[int, int], tolerance: float
) -> None:
    scale = float(np.nanmax(np.abs(whole.astype(np.float64)), initial=0.0)) if tolerance else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(whole.astype(np.float64) - tiled) <= tolerance * scale
    differ = np.argwhere(~(near | (whole == tiled) | (np.isnan(whole) & np.isnan(tiled))))
    if len(differ):
        band, row, col = differ[0].tolist()
        named = f", band {band + 1}" if len(whole) > 1 else ""
        raise PlanError(
            f"{function.name}, row {row}, col {col}{named}: {whole[band, row, col]} whole, and {tiled[band, row, col]} "
            f"in tiles of {tile[0]} x {tile[1]}: its radius is larger than is declared, or its result depends on the "
            f"whole array ({len(differ)} cells of {math.prod(whole.shape)} differ)"
        )

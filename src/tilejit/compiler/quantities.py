"""Grid quantities: what a keyword-only parameter may take from the raster that the kernel runs over."""

from __future__ import annotations

from enum import Enum
from typing import Literal


class Quantity(Enum):
    """A value of the grid, filled in by the driver; the default of a keyword-only parameter.

    Example:
        >>> Quantity.GROUND_WIDTH.axis
        'row'
    """

    CELL_WIDTH = "width of a cell in CRS units"
    CELL_HEIGHT = "height of a cell in CRS units"
    GROUND_WIDTH = "width of a cell on the ground in metres, by row"
    GROUND_HEIGHT = "height of a cell on the ground in metres, by row"
    Z_FACTOR = "metres per unit of height of the first raster; 1 where cells' sizes are given as numbers"
    X = "x of the cell's centre in CRS units"
    Y = "y of the cell's centre in CRS units"
    ROW = "row of the cell in its raster, from 0"
    COL = "column of the cell in its raster, from 0"

    __hash__ = object.__hash__
    """An Enum's own is in Python, and a call over a small array asks forty times."""

    @property
    def axis(self) -> Literal["row", "col", "grid"]:
        """What the quantity varies along."""
        if self in {Quantity.CELL_WIDTH, Quantity.CELL_HEIGHT, Quantity.Z_FACTOR}:
            return "grid"
        return "col" if self in {Quantity.X, Quantity.COL} else "row"

    @property
    def is_coordinate(self) -> bool:
        """Whether it is a place in the CRS, which float32 rounds to half a metre at 5,000 km."""
        return self in {Quantity.X, Quantity.Y}

    @property
    def is_index(self) -> bool:
        """Whether it counts cells (an integer) rather than measures them."""
        return self in {Quantity.ROW, Quantity.COL}

    def __repr__(self) -> str:
        return f"tj.{self.name}"

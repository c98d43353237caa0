"""A window is an integer rectangle of cells: the unit in which rasters are read, computed and written."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of cells, half-open, which may reach outside its raster (a halo does).

    Raises:
        TypeError: A part is not an integer.
        ValueError: The height or width is negative.

    Example:
        >>> print(Window(0, 512, 512, 512))
        rows 0:512, cols 512:1024
    """

    row_off: int
    """The first row; negative above the raster."""
    col_off: int
    """The first column; negative left of the raster."""
    height: int
    """Rows, zero or more."""
    width: int
    """Columns, zero or more."""

    def __post_init__(self) -> None:
        # index() turns NumPy integers into ints, so that windows hash, compare and print alike.
        for name in ("row_off", "col_off", "height", "width"):
            object.__setattr__(self, name, index(getattr(self, name)))
        if self.height < 0 or self.width < 0:
            raise ValueError(
                f"a window's height and width are zero or more, not {self.height} and {self.width}",
            )

    def __str__(self) -> str:
        return f"rows {self.row_off}:{self.row_end}, cols {self.col_off}:{self.col_end}"

    @property
    def row_end(self) -> int:
        """The row after the last."""
        return self.row_off + self.height

    @property
    def col_end(self) -> int:
        """The column after the last."""
        return self.col_off + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def is_empty(self) -> bool:
        """Whether it holds no cell."""
        return self.height == 0 or self.width == 0

    def expand(self, rows: int, cols: int) -> Window:
        """Grow by so many rows above and below and columns left and right: add a halo.

        Example:
            >>> print(Window(0, 0, 10, 10).expand(1, 2))
            rows -1:11, cols -2:12
        """
        return Window(self.row_off - rows, self.col_off - cols, self.height + 2 * rows, self.width + 2 * cols)

    def intersection(self, other: Window) -> Window:
        """The cells in both windows; an empty window where they do not meet.

        Example:
            >>> print(Window(-1, -1, 4, 4).intersection(Window(0, 0, 10, 10)))
            rows 0:3, cols 0:3
        """
        row, col = max(self.row_off, other.row_off), max(self.col_off, other.col_off)
        height = max(0, min(self.row_end, other.row_end) - row)
        width = max(0, min(self.col_end, other.col_end) - col)
        return Window(row, col, height, width)

    def shifted(self, row: int, col: int) -> Window:
        """The same shape, so many rows further down and columns further right.

        Example:
            >>> print(Window(0, 0, 2, 2).shifted(-1, 3))
            rows -1:1, cols 3:5
        """
        return Window(self.row_off + row, self.col_off + col, self.height, self.width)

    def slices(self, within: Window) -> tuple[slice, slice]:
        """This window's place, slices of rows and columns, in an array that covers the window ``within``.

        Raises:
            ValueError: This window reaches outside ``within``.

        Example:
            >>> Window(0, 0, 2, 2).slices(Window(-1, -1, 4, 4))
            (slice(1, 3, None), slice(1, 3, None))
        """
        row, col = self.row_off - within.row_off, self.col_off - within.col_off
        if row < 0 or col < 0 or self.row_end > within.row_end or self.col_end > within.col_end:
            raise ValueError(f"the window {self} reaches outside {within}")
        return slice(row, row + self.height), slice(col, col + self.width)


def tiles(height: int, width: int, tile_height: int, tile_width: int) -> Iterator[Window]:
    """Cut a raster into windows, row by row from the top left; the last of a row or column may be smaller.

    Raises:
        ValueError: A tile has no cells.

    Example:
        >>> [str(window) for window in tiles(3, 4, 2, 4)]
        ['rows 0:2, cols 0:4', 'rows 2:3, cols 0:4']
    """
    if tile_height < 1 or tile_width < 1:
        raise ValueError(f"a tile has one row and one column or more, not {tile_height} x {tile_width}")
    for row in range(0, height, tile_height):
        for col in range(0, width, tile_width):
            yield Window(row, col, min(tile_height, height - row), min(tile_width, width - col))

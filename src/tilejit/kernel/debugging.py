"""Rasters as a body sees them that is run on one pixel in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tilejit.compiler.form.form import Cell
    from tilejit.compiler.form.parameters import RasterParameter


class Cells:
    """The neighbours of one pixel of an array, as a body sees them; NaN outside, beyond the radius, under a mask."""

    def __init__(self, array: np.ndarray, row: int, col: int, compute: np.dtype | None,
                 radius: tuple[int, int]) -> None:  # fmt: skip
        self._layers = array if array.ndim == 3 else array[np.newaxis]
        self._row, self._col, self._compute, self._radius = row, col, compute, radius

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        return self._cell(0, *offset)

    def _cell(self, layer: int, dy: int, dx: int) -> Any:
        array, row, col = self._layers[layer], self._row + dy, self._col + dx
        inside = 0 <= row < array.shape[0] and 0 <= col < array.shape[1]
        inside = inside and all(abs(step) <= reach for step, reach in zip((dy, dx), self._radius, strict=True))
        inside = inside and array[row, col] is not np.ma.masked
        if self._compute is None:
            return int(array[row, col]) if inside else 0
        return self._compute.type(array[row, col] if inside else np.nan)


class Layers(Cells):
    """The same in each layer of a stack."""

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int | Cell) -> Any:  # type: ignore[override]
        return self._cell(*index) if isinstance(index, tuple) else self._cell(index, 0, 0)


def pixel_values(  # noqa: PLR0917 - what a pixel is
    rasters: Sequence[RasterParameter], arrays: Sequence[np.ndarray], pixel: tuple[int, int], compute: np.dtype,
    radius: tuple[int, int], windows: Collection[str],
) -> list[Any]:  # fmt: skip
    """Returns what a body is given of a pixel; ``windows`` are the rasters that it does not see as one value."""
    pairs = list(zip(rasters, arrays, strict=True))
    made = [
        (Layers if raster.is_stack else Cells)(array, *pixel, None if raster.dtype else compute, radius)
        for raster, array in pairs
    ]
    return [cells if raster.name in windows else cells[0, 0] for cells, (raster, _) in zip(made, pairs, strict=True)]

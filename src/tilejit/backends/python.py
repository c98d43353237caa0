"""The body itself, interpreted pixel by pixel: slow, and the definition that the other backends are held to.

It takes nothing from the compiler but the signature and the folding of constants: the user's own statements run, with
every operator replaced by one of :mod:`tilejit.backends.scalars`, and rasters by objects that look cells up.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import ROWS, STOP, new_control
from tilejit.backends.local_arrays import LocalArray
from tilejit.backends.scalars import MOST, Notes, Scalars
from tilejit.backends.tables import refuse
from tilejit.compiler.form.kinds import ALL, Kind
from tilejit.kernel.counts import COUNTERS, Counts
from tilejit.times import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.backends import Launch, LaunchControl
    from tilejit.backends.tables import Outside
    from tilejit.compiler.form.form import Cell
    from tilejit.compiler.form.kinds import Quantity, Signature
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.kernel import Kernel


class PythonBackend:
    """Interprets bodies."""

    name = "python"

    def why_not(self) -> str | None:
        """Python is always there."""
        return None

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns a launch that runs the body for each pixel."""
        return Interpreter(kernel, signature)

    def functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """There are none."""
        del kernel, signature
        return []

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the body as the user wrote it."""
        del signature
        return "\n".join(kernel.source.lines) + "\n"


class _InvalidInt(int):
    """An integer cell that is nodata: ``is_valid`` sees its class."""


class _Cells:
    """The cells around one pixel of padded layers; beyond the radius is no data, and a note."""

    def __init__(self, array: NDArray[Any], valid: NDArray[np.uint8] | None, compute: Any, radius: tuple[int, int],
                 notes: Notes) -> None:  # fmt: skip
        self.array, self.valid, self.compute, self.radius, self.notes = array, valid, compute, radius, notes
        self.row = self.col = 0

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        return self.cell(0, *offset)

    def cell(self, layer: int, dy: int, dx: int) -> Any:
        is_near = all(abs(step) <= reach for step, reach in zip((dy, dx), self.radius, strict=True))
        is_there = -len(self.array) <= layer < len(self.array)
        self.notes.found |= {note for note, holds in (("beyond", is_near), ("missing", is_there)) if not holds}
        if not (is_near and is_there):
            return self.compute(np.nan) if self.valid is None else _InvalidInt(0)
        row, col = self.row + dy + self.radius[0], self.col + dx + self.radius[1]
        value = self.array[layer, row, col]
        if self.valid is None:
            return self.compute(value)
        if value > MOST:  # a uint64
            self.notes.found.add("saturated")
        held = min(int(value), MOST)
        return held if self.valid[layer, row, col] else _InvalidInt(held)

    def is_valid(self, cell: Cell) -> bool:
        layers = range(len(self.array)) if cell[0] == ALL else (cell[0],)
        return all(_is_valid(self.cell(layer, *cell[1:])) for layer in layers)


class _Stack(_Cells):
    """The cells around one pixel in each layer of a stack."""

    time: _Times
    year: _Times
    month: _Times
    day_of_year: _Times

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int | Cell) -> Any:  # type: ignore[override]
        return self.cell(*index) if isinstance(index, tuple) else self.cell(index, 0, 0)


class _Times:
    """When layers were taken; that of none which is there is a note."""

    def __init__(self, table: Sequence[Any], nothing: Any, notes: Notes) -> None:
        self._table, self._nothing, self._notes = table, nothing, notes

    def __getitem__(self, layer: int) -> Any:
        if -len(self._table) <= layer < len(self._table):
            return self._table[layer]
        self._notes.found.add("missing")
        return self._nothing


def _is_valid(value: Any) -> bool:
    return bool(not isinstance(value, _InvalidInt) and value == value)  # noqa: PLR0124


def _layers(array: NDArray[Any]) -> NDArray[Any]:
    """An array as (layer, row, col): a plane is one layer."""
    return array if array.ndim == 3 else array[np.newaxis]


class Interpreter:
    """A launch that interprets."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self.kernel, self.signature = kernel, signature
        self.form = kernel.form  # refuses what the language does not have
        self.notes = Notes()
        self.body = Scalars(signature.compute, _is_valid, self.notes, kernel.form.floats).function(kernel.source)

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        """Computes one tile: see `Launch`."""
        counts, outside = self.interpreted(arrays, outputs, nodata, scalars, control)
        if outside is not None:
            refuse(self.kernel, outside, counts["outside"])
        return Counts.of_launch(self.kernel, COUNTERS, [counts[name] for name in COUNTERS], arrays)

    def interpreted(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                    scalars: Sequence[Any], control: LaunchControl | None = None,
                    ) -> tuple[Counter[str], Outside | None]:  # fmt: skip
        """Computes one tile; returns what is counted, and the first index that lay outside of a table."""
        control, before = (new_control(), 0) if control is None else (control, int(control[ROWS]))
        cells, outside = self._cells(arrays, *scalars[len(self.kernel.scalars) :]), None
        counts = Counter[str]()
        with np.errstate(all="ignore"):
            for row, col in itertools.product(*map(range, outputs[0].shape[-2:])):
                if control[STOP]:
                    break
                control[ROWS] = before + row
                for cell in cells.values():
                    cell.row, cell.col = row, col
                results = self._pixel(cells, self._scalars(scalars, row, col))
                counts.update(self.notes.found)
                outside = outside or self.notes.outside
                for k, output in enumerate(map(_layers, outputs)):
                    for layer, plane in enumerate(output):
                        result = None if results is None else results[k]
                        given = result[layer] if isinstance(result, LocalArray) else result
                        value, is_held = (None, False) if given is None else _stored(given, output.dtype)
                        counts["saturated"] += is_held
                        counts["collisions"] += value is not None and bool(value == nodata[k])
                        plane[row, col] = nodata[k] if value is None else value
        control[ROWS] = before + outputs[0].shape[-2]
        return counts, outside

    def _cells(self, arrays: Sequence[NDArray[Any]], *tables: NDArray[Any]) -> dict[str, _Cells]:
        remaining = iter(arrays)
        cells = {}
        for raster in self.kernel.rasters:
            kind = _Stack if raster.is_stack else _Cells
            array = _layers(next(remaining))
            valid = _layers(next(remaining)) if raster.dtype is not None else None
            cell = cells[raster.name] = kind(array, valid, self.signature.compute.type, self.kernel.radius, self.notes)
            if isinstance(cell, _Stack) and tables:
                days, *calendar = np.split(tables[0], len(CALENDAR))
                cell.time = _Times(list(days), days.dtype.type(np.nan), self.notes)
                for name, part in zip(CALENDAR[1:], calendar, strict=True):
                    setattr(cell, name, _Times(part.astype(int).tolist(), 0, self.notes))
        return cells

    def _scalars(self, scalars: Sequence[Any], row: int, col: int) -> dict[str, Any]:
        values = {}
        for scalar, value in zip(self.kernel.scalars, scalars, strict=False):  # times come behind
            axis = scalar.quantity.axis if scalar.quantity else "grid"
            index = {"row": row, "col": col}.get(axis)
            if index is not None:
                value = self._along(scalar.quantity, value, index)  # type: ignore[arg-type] # noqa: PLW2901
            if scalar.kind is Kind.FLOAT:
                values[scalar.name] = self.signature.compute.type(value)
            else:
                values[scalar.name] = int(value) if scalar.kind is Kind.INT else bool(value)
        return values

    def _along(self, quantity: Quantity, value: Any, index: int) -> Any:
        """What a quantity that varies by row or column is at the ``index``-th of them."""
        if not quantity.is_index:
            return value[index]
        return value - index if self.signature.sign(quantity) == "-" else value + index

    def _pixel(self, cells: dict[str, _Cells], scalars: dict[str, Any]) -> tuple[Any, ...] | None:
        """The body's results, or None where the pixel is nodata."""
        is_valid = self.kernel.nodata != "propagate" or all(
            cells[name].is_valid(cell) for name, footprint in self.form.footprint.items() for cell in footprint
        )
        self.notes.clear()
        if not is_valid:
            return None
        arguments = [c if name in self.kernel.facts.windows else c[0, 0] for name, c in cells.items()]
        results = self.body(*arguments, **scalars)
        if "undefined" in self.notes.found or ("beyond" in self.notes.found and self.kernel.nodata == "propagate"):
            return None
        return results if isinstance(results, tuple) else (results,)


def _stored(value: Any, dtype: np.dtype) -> tuple[Any, bool]:
    """The value in the output's dtype, and whether it had to be held within that; None for NaN.

    Floats are rounded to integers, halves away from zero.
    """
    if value != value:  # noqa: PLR0124
        return None, False
    if dtype.kind == "f":
        return dtype.type(value), False
    info = np.iinfo(dtype)
    if np.isinf(value):
        return dtype.type(info.max if value > 0 else info.min), True
    if isinstance(value, np.floating):
        value = float(value)
        whole = int(value)
        value = whole + (value - whole >= 0.5) - (value - whole <= -0.5)
    held = min(max(int(value), info.min), info.max)
    return dtype.type(held), held != int(value)

"""The lines of a row whose pixels go through layers together; see `tilejit.compiler.emitter.interchange`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.emitter.beside import PLACE
from tilejit.compiler.emitter.module import device_parameters, expression_text
from tilejit.compiler.emitter.nest import Branch, Loop, Once, Section, Sort
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.jit.sorting import TOGETHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.emitter.nest import Nest, Part
    from tilejit.compiler.emitter.pixels import Count, Pixels

_OK = "_lanes_ok"
"""Which pixels have valid cells in all layers; no variable's array has that name."""


def lanes_of(nest: Nest, pixels: Pixels) -> dict[str, Lanes]:
    """Returns the arrays that a row needs beside inputs and outputs, by name."""
    dtypes = {Kind.FLOAT: pixels.signature.compute, Kind.INT: np.dtype(np.int64), Kind.BOOL: np.dtype(np.bool_)}
    lanes = {_lane(name): Lanes(dtypes[kind]) for name, kind in nest.shared.items()}
    keeps_ok = pixels.layer_checks() or (pixels.form.body.result and pixels.settling(lambda *_: "")[1])
    lanes |= {_OK: Lanes(dtypes[Kind.BOOL])} if keeps_ok or pixels.cells_of_rows() else {}
    dtypes[Kind.BOOL] = np.dtype(np.uint8)
    lanes |= {_lane(a.name): Lanes(dtypes[a.kind], a.size * nest.lanes) for a in nest.arrays}
    sorts = {sort.array.name: sort.array for sort in nest.sorts}
    return lanes | {f"_keys_{name}": _keys(dtypes[a.kind], a.size) for name, a in sorts.items()}


@dataclass(frozen=True, slots=True)
class Lanes:
    """An array that a launch takes for the pixels of a row."""

    dtype: np.dtype
    size: int = 0
    """How many elements it has; 0 for one of each pixel of the row."""


def _keys(dtype: np.dtype, size: int) -> Lanes:
    """Room for rows of 64 bytes of what is sorted; see `tilejit.compiler.jit.lanes`."""
    rows = -(-size // TOGETHER) * TOGETHER + 1
    return Lanes(dtype, rows * 64 // dtype.itemsize)


def _lane(variable: str) -> str:
    return f"_lane_{variable}"


@dataclass(frozen=True, slots=True)
class Together:
    """One row."""

    pixels: Pixels
    """What one pixel is."""
    nest: Nest
    scalars: list[str]
    """What the body is called with."""
    for_pixels: Callable[[list[str]], list[str]]
    """Puts lines into the loop over the pixels of the row, or of a piece of it."""

    def lines(self, cell: Callable[[int], str], count: Count) -> list[str]:
        """The lines of the row; see `Pixels.lines`."""
        checks, cells = self.pixels.layer_checks(), self.pixels.cells_of_rows()
        checked = self.for_pixels([f"_ok = {_OK}[_x]", *checks, f"{_OK}[_x] = _ok"]) if checks else []
        lines = self.for_pixels([f"{_OK}[_x] = True"]) if checks or cells else []
        *parts, last = self.nest.block
        for part in parts:
            if checked and isinstance(part, Loop) and part.is_whole:
                lines += self._loop(part, [f"_layer = {part.target}", *checked])
                checked = []
            else:
                lines += self._lines(part)
        if checked:
            stack = next(w.name for w in self.pixels.form.body.windows if w.is_stack)
            lines += [f"for _layer in range({stack}.shape[0]):", *_indented(checked)]
        lines += [line for name in cells for line in self._checked(name)]
        known = [f"_ok = {f'{_OK}[_x]' if checks or cells else 'True'}", *self.pixels.cell_checks(cells)]
        known *= self.pixels.checked
        assert isinstance(last, Section)  # noqa: S101 - what else is left as it is
        call = self.pixels.call(last.function, self._arguments(last))
        settling, settled = self.pixels.settling(count)
        stores = self.pixels.stores(cell, count, checked=settled)
        if (result := self.pixels.form.body.result) is None:
            return [*lines, *self.for_pixels([*known, *call, *settling, *stores])]
        value = self.pixels.value(_lane(result.name), f"u64(_layer) * _U{self.nest.lanes} + u64({PLACE})")
        layer = [*[f"_ok = {_OK}[_x]"] * settled, f"_v0 = {value}", *stores]
        return [*lines, *self.for_pixels([*known, *call, *settling, *[f"{_OK}[_x] = _ok"] * settled]),
                *self.pixels.for_layers(self.for_pixels(layer))]  # fmt: skip

    def _checked(self, name: str) -> list[str]:
        """The lines that check many cells of a raster."""
        test = self.pixels.row_check(name, "_y + _down", "_x + _right")
        return [f"for _k in range(len({_cells(name)})):",
                f"    _down, _right = {_cells(name)}[_k, 0], {_cells(name)}[_k, 1]",
                *_indented(self.for_pixels([f"{_OK}[_x] = {_OK}[_x] & ({test})"]))]  # fmt: skip

    def _lines(self, part: Part) -> list[str]:
        if isinstance(part, Loop):
            return self._loop(part, [])
        if isinstance(part, Sort):
            return [self._sort(part)]
        if isinstance(part, Once):
            return [self._text(part.statement)]
        if isinstance(part, Branch):
            block, orelse = ([line for p in side for line in self._lines(p)] for side in (part.block, part.orelse))
            lines = [f"if {self._text(part.test)}:", *_indented(block or ["pass"])]
            return [*lines, "else:", *_indented(orelse)] if orelse else lines
        targets = ", ".join(f"{_lane(name)}[_x]" for name in part.variables)
        called = f"{part.function.name}({', '.join([*_parameters(part), *self._arguments(part)])})"
        if not targets and PLACE not in part.function.scalars:
            return []
        return self.for_pixels([f"{targets} = {called}" if targets else called])

    def _sort(self, part: Sort) -> str:
        """The call that sorts; see `tilejit.compiler.jit.lanes`."""
        name, counts = part.array.name, f"{_lane(part.count)}[_first:_last]"
        return f"_sort_by_lanes({_lane(name)}, _keys_{name}, {counts}, _last - _first, {self.nest.lanes})"

    def _loop(self, loop: Loop, first: list[str]) -> list[str]:
        bounds = ", ".join(map(self._text, loop.bounds))
        lines = [line for part in loop.block for line in self._lines(part)]
        return [f"for {loop.target} in range({bounds}):", *_indented([*first, *lines])]

    def _arguments(self, section: Section) -> list[str]:
        """The values that a section takes."""
        given = dict(zip(self.pixels.form.body.scalars, self.scalars, strict=True))
        lanes = {name: f"{_lane(name)}[_x]" for name in self.nest.shared}
        lanes |= {array.name: _lane(array.name) for array in self.nest.arrays} | {PLACE: "u64(_place)"}
        return [{**given, **lanes}.get(name, name) for name in section.function.scalars]

    def _text(self, node: object) -> str:
        pixels = self.pixels
        return expression_text(pixels.target, pixels.signature, pixels.form, node)  # type: ignore[arg-type]


def constants_of(pixels: Pixels) -> list[str]:
    """The arrays of cells that a row's checks go through."""
    return [f"{_cells(name)} = np.array({text})" for name, text in pixels.cells_of_rows().items()]


def _cells(name: str) -> str:
    return f"_cells_{name}"


def _parameters(section: Section) -> list[str]:
    """The arrays, and the pixel, that a section takes."""
    parameters = device_parameters(section.function)
    return parameters[: len(parameters) - len(section.function.scalars)]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]

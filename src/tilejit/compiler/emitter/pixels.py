"""The lines that compute one pixel: validity, scalars, the call of the body, and its results in the output arrays."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.emitter.array_places import place_text
from tilejit.compiler.emitter.module import arrays_of, float_name, most_below, passed
from tilejit.compiler.form.kinds import ALL, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from tilejit.compiler.emitter.module import Body, Target
    from tilejit.compiler.form.form import Form, Function, Neighbourhood
    from tilejit.compiler.form.kinds import Signature

    Count = Callable[[str, str], str]
    """What is counted, and a condition -> the statement that counts it."""

_WRITTEN_OUT = 32
"""Cells whose checks are written out one by one; a larger footprint is checked in loops."""
_NOTHING = {Kind.FLOAT: "_NAN", Kind.BOOL: "False", Kind.INT: "0"}


def arguments_of(kernel: Body, signature: Signature) -> list[str]:
    """The parameters of an entry function but for the counts: arrays, outputs, nodata values, scalars."""
    count = range(len(signature.outputs))
    outputs = [*(f"_out{k}" for k in count), *(f"_nodata{k}" for k in count)]
    return [*arrays_of(kernel.form.body), *outputs, *kernel.form.body.scalars]


def counters_of(kernel: Body, signature: Signature) -> tuple[str, ...]:
    """What a launch counts, each into an element of its last argument; where that is nothing, there is none.

    Collisions with nodata: NaN equals nothing, so only other nodata values collide. Pixels that asked for cells beyond
    the radius. Results that their integer type does not hold, and cells that no integer of a body does. Pixels that
    asked for layers that are not there, or for elements outside of a table, and the first row of these: how many rows
    there are from it to the last.
    """
    notes = kernel.form.body.notes
    saturates = any(map(_saturates, kernel.form.body.results, signature.outputs))
    known = {"collisions": not all(signature.nan_nodata), "beyond": "beyond" in notes}
    known["saturated"] = saturates or "saturated" in notes
    known["missing"] = "missing" in notes
    known["outside"] = known["first"] = "outside" in notes
    return tuple(name for name, is_there in known.items() if is_there)


@dataclass(frozen=True, slots=True)
class Pixels:
    """One variant of a kernel for one target."""

    target: Target
    kernel: Body
    signature: Signature
    form: Form
    """The body in this variant."""
    checked: bool
    """Whether each pixel's cells are checked."""

    @property
    def counters(self) -> tuple[str, ...]:
        """What is counted."""
        return counters_of(self.kernel, self.signature)

    def scalars(self) -> tuple[dict[str, str], list[str]]:
        """The lines that look up what varies, each with its axis, and the names that the body is called with."""
        lines: dict[str, str] = {}
        values = []
        own = len(self.kernel.scalars)
        for scalar, name in zip(self.kernel.scalars, self.form.body.scalars[:own], strict=True):
            quantity = scalar.quantity
            if quantity is None or quantity.axis == "grid":
                values.append(name)
                continue
            index = "_y" if quantity.axis == "row" else "_x"
            sign = self.signature.sign(quantity)
            counted = f"{name} {sign} {self.target.counted.format(index)}"
            lines[f"_{name}_here = {counted if quantity.is_index else f'{name}[{index}]'}"] = quantity.axis
            values.append(f"_{name}_here")
        return lines, [*values, *self.form.body.scalars[own:]]

    def lines(self, scalars: list[str], cell: Callable[[int], str], count: Count) -> list[str]:
        """The lines that check the pixel, call the body and store its results.

        ``scalars`` is what the body is called with; ``cell`` names the cell of an output.
        """
        settling, settled = self.settling(count)
        stores = self.stores(cell, count, checked=settled)
        if (result := self.form.body.result) is None:
            return [*self._checks(), *self.call(self.form.body, scalars), *settling, *stores]
        place = place_text(result.kind, result.size, float_name(self.signature.compute), self.target.array)
        stores = [f"_v0 = {self.value(result.name, self.target.running.format('_layer'))}", *stores]
        return [f"{result.name} = {place}", *self._checks(), *self.call(self.form.body, scalars), *settling,
                *self.for_layers(stores)]  # fmt: skip

    def for_layers(self, lines: list[str]) -> list[str]:
        """Lines that are of layer ``_layer``, for all layers of a result that has such; else as they are."""
        result = self.form.body.result
        if result is None:
            return lines
        return [f"for _layer in range({result.size}):", *(f"    {line}" for text in lines for line in text.split("\n"))]

    def value(self, array: str, index: str) -> str:
        """The value of a layer, an element of an array."""
        return f"{array}[{index}]{' != 0' * (self.form.body.results[0] is Kind.BOOL)}"

    def extent(self, axis: int) -> str:
        """How many rows an output has, or columns (1)."""
        return f"_out0.shape[{axis + bool(self.form.body.result)}]"

    def _checks(self) -> list[str]:
        """Fold the validity of the cells that need it into ``_ok``."""
        if not self.checked:
            return []
        through = [f"    {line}" for line in self.layer_checks()]
        stack = next((w.name for w in self.form.body.windows if w.is_stack), "")
        return [
            "_ok = True",
            *self.cell_checks(),
            *([f"for _layer in range({stack}.shape[0]):", *through] * bool(through)),
        ]

    def cell_checks(self, but: Container[str] = ()) -> list[str]:
        """The lines that check planes, and layers by their numbers, but for some rasters."""
        windows = [w for w in self.form.body.windows if w.name not in but] if self.checked else []
        return [line for w in windows for line in self._validity(w, every=False)]

    def cells_of_rows(self) -> dict[str, str]:
        """For each raster of which many cells are checked, where these lie in the padded array, as text."""
        found = {}
        for window in self.form.body.windows if self.checked else ():
            cells = sorted((dy, dx) for _, dy, dx in self.kernel.checked_cells[window.raster])
            if len(cells) > _WRITTEN_OUT and not window.is_stack:
                row, col = self.form.radius
                found[window.name] = str([(dy + row, dx + col) for dy, dx in cells])
        return found

    def row_check(self, name: str, row: str, col: str) -> str:
        """The test of a cell that lies in a row and a column of the padded array."""
        window = next(w for w in self.form.body.windows if w.name == name)
        return _test_of(window).format(f"{_checked_array(window)}[{row}, {col}]")

    def layer_checks(self) -> list[str]:
        """The lines that check layer ``_layer`` of stacks of which any may be read."""
        return [line for w in self.form.body.windows for line in self._validity(w, every=True)] if self.checked else []

    def _validity(self, window: Neighbourhood, *, every: bool) -> list[str]:
        array, test = _checked_array(window), _test_of(window)
        cells, lines = sorted(self.kernel.checked_cells[window.raster]), []
        for number in sorted({k for k, _, _ in cells if (k == ALL) is every}):
            offsets = [(dy, dx) for k, dy, dx in cells if k == number]
            layer = f"{self._layer(array, number)}, " if window.is_stack else ""
            lines += self._of_layer(array, layer, offsets, test)
        return lines

    def _layer(self, array: str, number: int) -> str:
        """The index of a layer of a stack, by its number."""
        if number == ALL:
            return self.target.running.format("_layer")
        return self.target.running.format(number if number >= 0 else f"{array}.shape[0] - {-number}")

    def _of_layer(self, array: str, layer: str, offsets: list[tuple[int, int]], test: str) -> list[str]:
        """The lines that check cells of one layer."""

        def written_out(offsets: list[tuple[int, int]]) -> list[str]:
            return [f"_ok = _ok & ({test.format(f'{array}[{layer}{self._index(*offset)}]')})" for offset in offsets]

        if len(offsets) <= _WRITTEN_OUT:
            return written_out(offsets)
        lines = []
        for row in sorted({dy for dy, _ in offsets}):
            cols = [dx for dy, dx in offsets if dy == row]
            if cols == list(range(cols[0], cols[-1] + 1)):
                moved = f"{array}[{layer}{self._index(row, cols[0])} + {self.target.running.format('_k')}]"
                lines += [f"for _k in range({len(cols)}):", f"    _ok = _ok & ({test.format(moved)})"]
            else:
                lines += written_out([(row, dx) for dx in cols])
        return lines

    def _index(self, dy: int, dx: int) -> str:
        """Where a cell lies in a padded array."""
        row, col = self.form.radius
        return f"{self.target.moved('_y', dy + row)}, {self.target.moved('_x', dx + col)}"

    def call(self, body: Function, scalars: list[str]) -> list[str]:
        """The line that calls the body, or what is left of it, and takes its results and notes."""
        fills = self.form.body.result is not None
        own = [] if fills else [f"_v{k}" for k in range(len(body.results))]
        names = [*own, *(f"_{note}" for note in body.notes)]
        comma = "," if len(names) == 1 and (fills or body.is_tuple) else ""
        results = ", ".join(names) + comma
        line = f"{f'{results} = ' * bool(names)}{body.name}({', '.join(passed(body, scalars))})"
        if not (self.checked and self.form.takes_valid_cells_only):
            return [line]
        kinds = () if fills else body.results
        nothing = ", ".join([*(_NOTHING[kind] for kind in kinds), *("False" for _ in body.notes)]) + comma
        return ["if _ok:", f"    {line}", *(["else:", f"    {results} = {nothing}"] if names else [])]

    def settling(self, count: Count) -> tuple[list[str], bool]:
        """The lines that take in what the body noted of its pixel, and whether ``_ok`` is known after them."""
        notes = self.form.body.notes
        told = [note for note in notes if note != "undefined"]
        lines = [count(note, f"_{note} & _ok" if self.checked else f"_{note}") for note in told]
        void = {"undefined", "beyond"} if self.kernel.nodata == "propagate" else {"undefined"}
        empty = [note for note in notes if note in void]
        tests = [*(["_ok"] if self.checked else []), *(f"(not _{note})" for note in empty)]
        return [*lines, *([f"_ok = {' & '.join(tests)}"] if empty else [])], self.checked or bool(empty)

    def stores(self, cell: Callable[[int], str], count: Count, *, checked: bool) -> list[str]:
        """The lines that store the results ``_v0``, ``_v1``, …; ``checked`` says whether ``_ok`` is known."""
        signature, lines = self.signature, []
        results = zip(self.form.body.results, signature.outputs, signature.nan_nodata, strict=True)
        for k, (kind, dtype, nan) in enumerate(results):
            value = _converted(f"_v{k}", kind, dtype)
            if nan:
                lines.append(f"{cell(k)} = {value} if _ok else _nodata{k}" if checked else f"{cell(k)} = {value}")
                continue
            beyond = _beyond_type(f"_v{k}", dtype, kind, signature.compute) if _saturates(kind, dtype) else ""
            tests = ["not _ok"] * checked + [f"_isnan(_v{k})"] * (kind is Kind.FLOAT)
            if tests:
                lines.append(f"_bad{k} = {' | '.join(f'({t})' for t in tests)}")
            good = f" & (not _bad{k})" if tests else ""
            lines += [
                f"_r{k} = _nodata{k} if _bad{k} else {value}" if tests else f"_r{k} = {value}",
                count("collisions", f"(_r{k} == _nodata{k}){good}" if tests else f"_r{k} == _nodata{k}"),
                f"{cell(k)} = _r{k}",
            ]
            if beyond:
                lines.append(count("saturated", f"({beyond}){good}" if tests else beyond))
        return lines


def _checked_array(window: Neighbourhood) -> str:
    return f"_{window.name}_valid" if window.kind is Kind.INT else window.name


def _test_of(window: Neighbourhood) -> str:
    return "{0} != 0" if window.kind is Kind.INT else "{0} == {0}"


def saturating_casts(target: Target, kernel: Body, signature: Signature) -> list[str]:
    """The functions that turn a float result into an integer dtype: halves away from zero, saturated, as GDAL does.

    What is added before cutting is the float below one half: with 0.5 itself, 0.49999997 would round up.
    """
    if Kind.FLOAT not in kernel.form.body.results:
        return []
    dtypes = dict.fromkeys(d for d in signature.outputs if d.kind in "iu")
    return [_saturating_cast(target, dtype, signature) for dtype in dtypes]


def _saturating_cast(target: Target, dtype: np.dtype, signature: Signature) -> str:
    info = np.iinfo(dtype)
    compute = signature.compute if dtype.itemsize <= 2 else np.dtype(np.float64)
    name = float_name(compute)
    half = float(np.nextafter(compute.type(0.5), compute.type(0)))
    most = int(info.max) if dtype.itemsize < 8 else int(most_below(float(info.max), compute))
    # Only of 64 bits is the bound no float64.
    result = "cut" if dtype.itemsize < 8 else f"cut if {name}(value) <= held else np.{dtype}({info.max})"
    return "\n".join([
        target.decorator,
        f"def _to_{dtype}(value):",
        f"    held = _minimum(_maximum({name}({info.min}), {name}(value)), {name}({most}))",
        f"    cut = np.{dtype}(held + ({name}({half}) if held >= {name}(0.0) else {name}({-half})))",
        f"    return {result}",
    ])  # fmt: skip


def _saturates(kind: Kind, dtype: np.dtype) -> bool:
    """Whether a result of a kind may lie beyond what a dtype holds."""
    return dtype.kind in "iu" and (kind is Kind.FLOAT or (kind is Kind.INT and dtype != np.int64))


def _beyond_type(value: str, dtype: np.dtype, kind: Kind, compute: np.dtype) -> str:
    """The test whether a result lies beyond what an integer dtype holds, floats after they are rounded."""
    info = np.iinfo(dtype)
    if kind is Kind.INT:
        return f"{value} < 0" if dtype == np.uint64 else f"({value} < {info.min}) | ({value} > {info.max})"
    half = Fraction(1, 2)
    low, high = -_at_least(half - info.min, compute), _at_least(info.max + half, compute)
    name = float_name(compute)
    return f"({value} <= {name}({low})) | ({value} >= {name}({high}))"


def _at_least(bound: Fraction, dtype: np.dtype) -> float:
    """The smallest number of a float dtype that is not below ``bound``."""
    near = dtype.type(float(bound))
    return float(near if Fraction(float(near)) >= bound else np.nextafter(near, dtype.type(np.inf)))


def _converted(value: str, kind: Kind, dtype: np.dtype) -> str:
    if dtype.kind == "f" or kind is Kind.BOOL:
        return f"np.{dtype}({value})"
    if kind is Kind.FLOAT:
        return f"_to_{dtype}({value})"
    info = np.iinfo(dtype)
    if dtype.itemsize == 8:
        return f"np.int64({value})" if dtype == np.int64 else f"np.uint64(_maximum({value}, 0))"
    return f"np.{dtype}(_minimum(_maximum({value}, {info.min}), {info.max}))"

"""Sorting of arrays that lie beside each other, for generated modules on the CPU.

It spells LLVM's own vectors: Numba's loops are vector code where LLVM finds that it pays, and it found the elements of
one pixel, which lie far apart. A row of keys is an element of each of as many pixels as fill 64 bytes, one or two of
the processor's registers, so that 200 of them stay in its nearest memory: a quarter of the time of integers as keys, of
64 pixels. Only such modules import this file, and with it Numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from tilejit.compiler.jit.sorting import TOGETHER, merging, pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

_INDEX, _SHORT = ir.IntType(64), ir.IntType(32)


class _Rows:
    """What the operations have in common: vectors of an array's elements, and where they lie."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        given = zip(signature.args, arguments, strict=True)
        arrays = [context.make_array(t)(context, builder, v).data for t, v in given if isinstance(t, types.Array)]
        self.array, self.keys, self.counted = (*arrays, None)[:3]
        dtype = signature.args[0].dtype
        self.is_float, self.size = isinstance(dtype, types.Float), dtype.bitwidth // 8
        self.width = 64 // self.size
        self.vector = ir.VectorType(context.get_data_type(dtype), self.width)
        self.whole = ir.VectorType(ir.IntType(dtype.bitwidth), self.width)
        self.largest = self.filled(float("inf") if self.is_float else 2**63 - 1)

    def filled(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * self.width)

    def row(self, number: Any, vector: Any = None) -> Any:
        """The place of a row of keys."""
        cell = self.builder.gep(self.keys, [self.builder.mul(number, _INDEX(self.width))])
        return self.builder.bitcast(cell, (vector or self.vector).as_pointer())

    def elements(self, first: Any, k: Any, lanes: Any) -> Any:
        """The place of the elements of a number, of pixels from the first."""
        cell = self.builder.gep(self.array, [self.builder.add(first, self.builder.mul(k, lanes))])
        return self.builder.bitcast(cell, self.vector.as_pointer())

    def load(self, place: Any) -> Any:
        return self.builder.load(place, align=self.size)

    def store(self, value: Any, place: Any) -> None:
        self.builder.store(value, place, align=self.size)

    def exchange(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The lesser and the greater keys, as x86 has instructions for it."""
        compare = self.builder.fcmp_ordered if self.is_float else self.builder.icmp_signed
        return self.builder.select(compare("<", a, b), a, b), self.builder.select(compare(">", a, b), a, b)

    def counts(self, first: Any, pixels: Any) -> tuple[Any, Any]:
        """How many elements each pixel sorts, 0 behind the last pixel; and the most."""
        builder, counts, most = self.builder, ir.Constant(self.whole, None), _INDEX(0)
        for x in range(self.width):
            at = builder.add(first, _INDEX(x))
            is_pixel = builder.icmp_signed("<", at, pixels)
            count = builder.load(builder.gep(self.counted, [builder.select(is_pixel, at, _INDEX(0))]))
            count = builder.select(is_pixel, count, _INDEX(0))
            most = builder.select(builder.icmp_signed(">", count, most), count, most)
            counts = builder.insert_element(counts, self._narrow(count), _SHORT(x))
        return counts, most

    def above(self, counts: Any, k: Any) -> Any:
        """Which counts are above a number."""
        none = ir.Constant(self.whole, ir.Undefined)
        first = self.builder.insert_element(none, self._narrow(k), _SHORT(0))
        places = ir.Constant(ir.VectorType(_SHORT, self.width), None)
        return self.builder.icmp_signed(">", counts, self.builder.shuffle_vector(first, none, places))

    def _narrow(self, number: Any) -> Any:
        return self.builder.trunc(number, self.whole.element) if self.size < 8 else number

    def has_any(self, which: Any) -> Any:
        """1 where some pixel has it, and 0."""
        bits = ir.IntType(self.width)
        return self.builder.zext(self.builder.icmp_unsigned("!=", self.builder.bitcast(which, bits), bits(0)), _INDEX)


def _taking(_typing: Any, array: Any, keys: Any, counts: Any, _first: Any, _pixels: Any, _lanes: Any) -> Any:
    """Makes rows of keys of elements; returns how many, in whole runs, behind which it puts how many each pixel has.

    Rows in which no pixel has a key are left out: dates on which all are cloudy.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = _Rows(context, builder, signature, arguments)
        first, pixels, lanes = arguments[3:]
        counts, most = rows.counts(first, pixels)
        taken, known = _variable(builder, _INDEX(0)), _variable(builder, ir.Constant(rows.whole, None))
        with cgutils.for_range(builder, most) as loop:
            value, is_key = rows.load(rows.elements(first, loop.index, lanes)), rows.above(counts, loop.index)
            if rows.is_float:
                is_key = builder.and_(is_key, builder.fcmp_ordered("ord", value, value))
                value = builder.fadd(value, rows.filled(0.0))  # -0.0 becomes 0.0
            row = builder.load(taken)
            rows.store(builder.select(is_key, value, rows.largest), rows.row(row))
            builder.store(builder.add(builder.load(known), builder.zext(is_key, rows.whole)), known)
            builder.store(builder.add(row, rows.has_any(is_key)), taken)
        size = builder.load(taken)
        end = builder.and_(builder.add(size, _INDEX(TOGETHER - 1)), _INDEX(-TOGETHER))
        with cgutils.for_range(builder, builder.sub(end, size)) as loop:
            rows.store(rows.largest, rows.row(builder.add(size, loop.index)))
        rows.store(builder.load(known), rows.row(end, rows.whole))
        return end

    return types.int64(array, keys, counts, types.int64, types.int64, types.int64), code


_take: Any = intrinsic(_taking)


def _variable(builder: Any, value: Any) -> Any:
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _giving(_typing: Any, array: Any, keys: Any, counts: Any, _first: Any, _pixels: Any, _lanes: Any, _end: Any) -> Any:
    """Puts the keys into the elements that they were made of, and NaN behind them."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = _Rows(context, builder, signature, arguments)
        first, pixels, lanes, end = arguments[3:]
        counts, most = rows.counts(first, pixels)
        known = rows.load(rows.row(end, rows.whole))
        with cgutils.for_range(builder, most) as loop:
            value, place = rows.load(rows.row(loop.index)), rows.elements(first, loop.index, lanes)
            if rows.is_float:
                value = builder.select(rows.above(known, loop.index), value, rows.filled(float("nan")))
            rows.store(builder.select(rows.above(counts, loop.index), value, rows.load(place)), place)
        return context.get_dummy_value()

    return types.none(array, keys, counts, types.int64, types.int64, types.int64, types.int64), code


_give: Any = intrinsic(_giving)


def _exchanged(rows: _Rows, places: list[Any], steps: Iterable[tuple[int, int]]) -> None:
    """Exchanges keys of rows."""
    values = list(map(rows.load, places))
    for i, j in steps:
        values[i], values[j] = rows.exchange(values[i], values[j])
    for value, place in zip(values, places, strict=True):
        rows.store(value, place)


def _exchanging(_typing: Any, array: Any, keys: Any, _i: Any, _j: Any) -> Any:
    """Puts the lesser keys of two rows into the first."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = _Rows(context, builder, signature, arguments)
        _exchanged(rows, list(map(rows.row, arguments[2:])), [(0, 1)])
        return context.get_dummy_value()

    return types.none(array, keys, types.int64, types.int64), code


_exchange: Any = intrinsic(_exchanging)


def _run(steps: list[tuple[int, int]]) -> Any:
    """Exchanges the keys of a run of rows, in registers."""

    def made(_typing: Any, array: Any, keys: Any, _first: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows = _Rows(context, builder, signature, arguments)
            places = [rows.row(builder.add(arguments[2], _INDEX(k))) for k in range(TOGETHER)]
            _exchanged(rows, places, steps)
            return context.get_dummy_value()

        return types.none(array, keys, types.int64), code

    return intrinsic(made)


_sort_run, _merge_run = _run(pairs(TOGETHER)), _run(merging(TOGETHER))


_BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
_compiled: Any = njit(error_model="numpy", **_BARE)


def _halving(array: Any, keys: Any, begin: int, end: int, step: int) -> None:
    """Brings keys that rise and fall into the run where they belong."""
    while step >= TOGETHER:
        for part in range(begin, end, 2 * step):
            for row in range(part, min(part + step, end - step)):
                _exchange(array, keys, row, row + step)
        step //= 2


_halve = _compiled(_halving)


def _sorting(array: Any, keys: Any, counts: Any, pixels: int, lanes: int) -> None:
    """Sorts the first elements of arrays, NaN last.

    Runs of rows are sorted, and then merged two by two: Batcher's bitonic merge (Knuth, The Art of Computer
    Programming 3, 5.3.4), which turns the second run around as it compares it with the first. What would lie behind the
    last row is the largest key, and stays there.

    Args:
        array: (element * lanes + pixel).
        keys: Rows of 64 bytes for its own use, as many as there are elements, in whole runs, and one more.
        counts: How many elements each pixel sorts.
        pixels: How many pixels there are.
        lanes: How many there is room for.
    """
    for first in range(0, pixels, 64 // array.itemsize):
        size = _take(array, keys, counts, first, pixels, lanes)
        for row in range(0, size, TOGETHER):
            _sort_run(array, keys, row)
        run = TOGETHER
        while run < size:
            for begin in range(0, size - run, 2 * run):
                middle, end = begin + run, min(begin + 2 * run, size)
                for k in range(end - middle):
                    _exchange(array, keys, middle - 1 - k, middle + k)
                _halve(array, keys, begin, end, run // 2)
                for row in range(begin, end, TOGETHER):
                    _merge_run(array, keys, row)
            run *= 2
        _give(array, keys, counts, first, pixels, lanes, size)


_sort_by_lanes = _compiled(_sorting)

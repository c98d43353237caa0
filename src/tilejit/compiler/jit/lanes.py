"""Sorting of arrays that lie beside each other, in LLVM's own vectors.

LLVM makes vector code of loops where it finds that it pays, and it found the elements of one pixel, which lie far
apart. A row of keys is an element of each of as many pixels as fill 64 bytes, one or two of the processor's registers,
so that 200 of them stay in its nearest memory: a quarter of the time of integers as keys, of 64 pixels.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from tilejit.compiler.jit.sorting import TOGETHER, merging, pairs
from tilejit.compiler.jit.values import FLOATS, LLVM, Array, Value, size_of, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tilejit.compiler.jit.assembly import Assembly

LOOPS = f'''
def _sort_by_lanes(array, keys, counts, pixels, lanes):
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
        for row in range(0, size, {TOGETHER}):
            _sort_run(array, keys, row)
        run = {TOGETHER}
        while run < size:
            for begin in range(0, size - run, 2 * run):
                middle, end = begin + run, min(begin + 2 * run, size)
                for k in range(end - middle):
                    _exchange(array, keys, middle - 1 - k, middle + k)
                _halve(array, keys, begin, end, run // 2)
                for row in range(begin, end, {TOGETHER}):
                    _merge_run(array, keys, row)
            run *= 2
        _give(array, keys, counts, first, pixels, lanes, size)


def _halve(array, keys, begin, end, step):
    """Brings keys that rise and fall into the run where they belong."""
    while step >= {TOGETHER}:
        for part in range(begin, end, 2 * step):
            for row in range(part, min(part + step, end - step)):
                _exchange(array, keys, row, row + step)
        step //= 2
'''
"""What modules that sort such arrays have beside their own functions."""


class _Rows:
    """What the operations have in common: vectors of an array's elements, and where they lie."""

    def __init__(self, to: Assembly, array: Array, keys: Array) -> None:
        self.to, self.array, self.keys = to, array, keys
        self.element, self.size = array.element, size_of(array.element)
        self.is_float, self.width = self.element in FLOATS, 64 // self.size
        self.one, self.whole_one = LLVM[self.element], f"i{8 * self.size}"
        self.vector, self.whole = f"<{self.width} x {self.one}>", f"<{self.width} x {self.whole_one}>"
        self.largest = self.filled(math.inf if self.is_float else 2**63 - 1)

    def filled(self, value: float) -> str:
        """A vector of one number."""
        return f"<{', '.join([f'{self.one} {typed(self.element, value).text}'] * self.width)}>"

    def row(self, number: str) -> str:
        """The place of a row of keys."""
        at = self.to.new(f"mul i64 {number}, {self.width}")
        return self.to.new(f"getelementptr {self.one}, ptr {self.keys.text}, i64 {at}")

    def elements(self, first: str, k: str, lanes: str) -> str:
        """The place of the elements of a number, of pixels from the first."""
        at = self.to.new(f"add i64 {first}, {self.to.new(f'mul i64 {k}, {lanes}')}")
        return self.to.new(f"getelementptr {self.one}, ptr {self.array.text}, i64 {at}")

    def load(self, place: str, vector: str = "") -> str:
        """The vector at a place."""
        return self.to.new(f"load {vector or self.vector}, ptr {place}, align {self.size}")

    def store(self, value: str, place: str, vector: str = "") -> None:
        """Puts a vector there."""
        self.to.do(f"store {vector or self.vector} {value}, ptr {place}, align {self.size}")

    def chosen(self, test: str, a: str, b: str) -> str:
        """Of each lane one of two numbers."""
        return self.to.new(f"select <{self.width} x i1> {test}, {self.vector} {a}, {self.vector} {b}")

    def exchange(self, a: str, b: str) -> tuple[str, str]:
        """The lesser and the greater keys, as x86 has instructions for it."""
        less, more = ("fcmp olt", "fcmp ogt") if self.is_float else ("icmp slt", "icmp sgt")
        tests = [self.to.new(f"{how} {self.vector} {a}, {b}") for how in (less, more)]
        return self.chosen(tests[0], a, b), self.chosen(tests[1], a, b)

    def exchanged(self, places: list[str], steps: Iterable[tuple[int, int]]) -> None:
        """Exchanges keys of rows."""
        values = list(map(self.load, places))
        for i, j in steps:
            values[i], values[j] = self.exchange(values[i], values[j])
        for value, place in zip(values, places, strict=True):
            self.store(value, place)

    def counts(self, counted: Array, first: str, pixels: str) -> tuple[str, str]:
        """How many elements each pixel sorts, 0 behind the last pixel; and the most."""
        to, counts, most = self.to, "zeroinitializer", "0"
        for x in range(self.width):
            at = to.new(f"add i64 {first}, {x}")
            is_pixel = to.new(f"icmp slt i64 {at}, {pixels}")
            at = to.new(f"select i1 {is_pixel}, i64 {at}, i64 0")
            count = to.new(f"load i64, ptr {to.new(f'getelementptr i64, ptr {counted.text}, i64 {at}')}")
            count = to.new(f"select i1 {is_pixel}, i64 {count}, i64 0")
            most = to.new(f"select i1 {to.new(f'icmp sgt i64 {count}, {most}')}, i64 {count}, i64 {most}")
            counts = self._with(counts, count, x)
        return counts, most

    def above(self, counts: str, k: str) -> str:
        """Which counts are above a number."""
        first = self._with("undef", k, 0)
        filled = f"shufflevector {self.whole} {first}, {self.whole} undef, <{self.width} x i32> zeroinitializer"
        return self.to.new(f"icmp sgt {self.whole} {counts}, {self.to.new(filled)}")

    def _with(self, vector: str, number: str, lane: int) -> str:
        if self.size < 8:
            number = self.to.new(f"trunc i64 {number} to {self.whole_one}")
        return self.to.new(f"insertelement {self.whole} {vector}, {self.whole_one} {number}, i32 {lane}")

    def has_any(self, which: str) -> str:
        """1 where some pixel has it, and 0."""
        bits = self.to.new(f"bitcast <{self.width} x i1> {which} to i{self.width}")
        return self.to.new(f"zext i1 {self.to.new(f'icmp ne i{self.width} {bits}, 0')} to i64")


@contextlib.contextmanager
def _loop(to: Assembly, count: str) -> Iterator[str]:
    """Goes so many times through what is written meanwhile, which is given the number."""
    place, (head, body, end) = to.place("i64"), map(to.name, ("rows", "row", "end"))
    to.do(f"store i64 0, ptr {place}")
    to.jump(head)
    to.start(head)
    index = to.new(f"load i64, ptr {place}")
    to.branch(Value("b1", to.new(f"icmp slt i64 {index}, {count}")), body, end)
    to.start(body)
    yield index
    to.do(f"store i64 {to.new(f'add nsw i64 {index}, 1')}, ptr {place}")
    to.jump(head)
    to.start(end)


def _take(to: Assembly, array: Array, keys: Array, counted: Array, *numbers: Value) -> Value:
    """Makes rows of keys of elements; returns how many, in whole runs, behind which it puts how many each pixel has.

    Rows in which no pixel has a key are left out: dates on which all are cloudy.
    """
    rows, (first, pixels, lanes) = _Rows(to, array, keys), (n.text for n in numbers)
    counts, most = rows.counts(counted, first, pixels)
    taken, known = to.place("i64"), to.place(rows.whole)
    to.do(f"store i64 0, ptr {taken}")
    to.do(f"store {rows.whole} zeroinitializer, ptr {known}")
    with _loop(to, most) as k:
        value, is_key = rows.load(rows.elements(first, k, lanes)), rows.above(counts, k)
        if rows.is_float:
            is_real = to.new(f"fcmp ord {rows.vector} {value}, {value}")
            is_key = to.new(f"and <{rows.width} x i1> {is_key}, {is_real}")
            value = to.new(f"fadd {rows.vector} {value}, {rows.filled(0.0)}")  # -0.0 becomes 0.0
        row = to.new(f"load i64, ptr {taken}")
        rows.store(rows.chosen(is_key, value, rows.largest), rows.row(row))
        before = to.new(f"load {rows.whole}, ptr {known}")
        more = to.new(f"zext <{rows.width} x i1> {is_key} to {rows.whole}")
        to.do(f"store {rows.whole} {to.new(f'add {rows.whole} {before}, {more}')}, ptr {known}")
        to.do(f"store i64 {to.new(f'add i64 {row}, {rows.has_any(is_key)}')}, ptr {taken}")
    size = to.new(f"load i64, ptr {taken}")
    end = to.new(f"and i64 {to.new(f'add i64 {size}, {TOGETHER - 1}')}, {-TOGETHER}")
    with _loop(to, to.new(f"sub i64 {end}, {size}")) as k:
        rows.store(rows.largest, rows.row(to.new(f"add i64 {size}, {k}")))
    rows.store(to.new(f"load {rows.whole}, ptr {known}"), rows.row(end), rows.whole)
    return Value("i64", end)


def _give(to: Assembly, array: Array, keys: Array, counted: Array, *numbers: Value) -> tuple[()]:
    """Puts the keys into the elements that they were made of, and NaN behind them."""
    rows, (first, pixels, lanes, end) = _Rows(to, array, keys), (n.text for n in numbers)
    counts, most = rows.counts(counted, first, pixels)
    known = rows.load(rows.row(end), rows.whole)
    with _loop(to, most) as k:
        value, place = rows.load(rows.row(k)), rows.elements(first, k, lanes)
        if rows.is_float:
            value = rows.chosen(rows.above(known, k), value, rows.filled(math.nan))
        rows.store(rows.chosen(rows.above(counts, k), value, rows.load(place)), place)
    return ()


def _exchange(to: Assembly, array: Array, keys: Array, i: Value, j: Value) -> tuple[()]:
    """Puts the lesser keys of two rows into the first."""
    rows = _Rows(to, array, keys)
    rows.exchanged([rows.row(i.text), rows.row(j.text)], [(0, 1)])
    return ()


def _run(steps: list[tuple[int, int]]) -> Callable[..., tuple[()]]:
    """Exchanges the keys of a run of rows, in registers."""

    def write(to: Assembly, array: Array, keys: Array, first: Value) -> tuple[()]:
        rows = _Rows(to, array, keys)
        rows.exchanged([rows.row(to.new(f"add i64 {first.text}, {k}")) for k in range(TOGETHER)], steps)
        return ()

    return write


OPERATIONS: dict[str, Callable[..., Value | tuple[()]]] = {
    "_take": _take,
    "_give": _give,
    "_exchange": _exchange,
    "_sort_run": _run(pairs(TOGETHER)),
    "_merge_run": _run(merging(TOGETHER)),
}
"""What `LOOPS` calls."""

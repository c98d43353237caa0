"""Plain Python: the user's own function on Python's own floats, in threads that take turns or in processes."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.comparison.by_hand import started_pool, worker_workload
from tilejit.comparison.strategy import (
    Call,
    Reader,
    Trial,
    Workload,
    empty,
    on_threads,
    place,
    queued_seconds,
    stages_of,
    summed,
)
from tilejit.compiler.form.kinds import ALL, Kind
from tilejit.engine.pipeline.stopwatch import Stopwatch
from tilejit.times import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.pool import Pool

    from numpy.typing import NDArray

    from tilejit.comparison.measures import Stages, TrialSpec
    from tilejit.kernel.kernel import Kernel
    from tilejit.window import Window

    Array = NDArray[Any]

TILE = (16, 64)  # rows and columns that are interpreted between two looks at the clock: a few milliseconds
_TILES = 64  # they lie evenly over the sample


class _Cells:
    """The neighbours of a pixel in lists, which Python reads five times as fast as arrays."""

    __slots__ = ("col", "row", "rows")

    def __init__(self, rows: Any) -> None:
        self.rows, self.row, self.col = rows, 0, 0

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        return self.rows[self.row + offset[0]][self.col + offset[1]]


class _Stack(_Cells):
    """The same in each layer of a stack."""

    __slots__ = CALENDAR

    time: list[float]
    year: list[int]
    month: list[int]
    day_of_year: list[int]

    def __getitem__(self, index: Any) -> Any:
        layer, row, col = index if isinstance(index, tuple) else (index, 0, 0)
        return self.rows[layer][self.row + row][self.col + col]

    def __len__(self) -> int:
        return len(self.rows)


class PlainBody:
    """Runs a kernel's undecorated function over tiles."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self._radius = kernel, kernel.radius
        self._nothing = ([math.nan] * kernel.layers,) if kernel.by_date else (math.nan,) * len(kernel.results)

    def __call__(self, call: Call, outputs: Sequence[Array]) -> None:
        """Computes one tile; a body that raises where IEEE arithmetic goes on (1 / 0) gets NumPy's floats there."""
        cells, valid, scalars = self._cells(call), self._valid(call), list(self._scalars(call))
        for row, col in itertools.product(range(call.window.height), range(call.window.width)):
            results = None
            if valid is None or valid[row][col]:
                index = {"row": row, "col": col}
                named = {n: v if a == "grid" else v[index[a]] for n, v, a in scalars}
                try:
                    results = self._pixel(cells, row, col, named)
                except ArithmeticError:
                    results = self._as_numpy(call, row, col, named)
                except ValueError:  # math.sqrt(-1), which is NaN in C
                    results = self._nothing
            for k, output in enumerate(outputs):
                layers = output if output.ndim == 3 else output[np.newaxis]
                values = [None] * len(layers) if results is None else results[k] if output.ndim == 3 else [results[k]]
                for layer, given in zip(layers, values, strict=True):
                    value = None if given is None else _stored(given, output.dtype)
                    layer[row, col] = call.nodata[k] if value is None else value

    def _cells(self, call: Call, *, numpy: bool = False) -> list[tuple[_Cells, bool]]:
        """The cells of each raster, floats as Python's or as NumPy's, and whether the body sees a window of them."""
        arrays, found = iter(call.arrays), []
        for raster in self.kernel.rasters:
            array = next(arrays)
            values = array.astype(np.float64) if array.dtype.kind == "f" or raster.dtype is None else array
            cells = (_Stack if raster.is_stack else _Cells)(
                values if numpy and values.dtype.kind == "f" else values.tolist()
            )
            if isinstance(cells, _Stack):
                for table in call.scalars[len(self.kernel.scalars) :]:
                    days, *calendar = np.split(table, len(CALENDAR))
                    cells.time = list(days.astype(np.float64)) if numpy else days.tolist()
                    for name, part in zip(CALENDAR[1:], calendar, strict=True):
                        setattr(cells, name, part.astype(int).tolist())
            found.append((cells, raster.name in self.kernel.facts.windows))
            if raster.dtype is not None:
                next(arrays)
        return found

    def _valid(self, call: Call) -> list[list[bool]] | None:
        """Which pixels have all the cells that they read; NumPy finds it out for a whole tile at a time."""
        if not any(self.kernel.checked_cells.values()):
            return None
        arrays, (rows, cols) = iter(call.arrays), self.kernel.radius
        height, width = call.window.shape
        valid = np.ones((height, width), bool)
        for raster in self.kernel.rasters:
            array = next(arrays)
            whole = array == array if raster.dtype is None else next(arrays) != 0  # noqa: PLR0124 - NaN differs
            for layer, dy, dx in self.kernel.checked_cells[raster.name]:
                top, left = rows + dy, cols + dx
                layers = whole if not raster.is_stack else whole.all(0) if layer == ALL else whole[layer]
                valid &= layers[top : top + height, left : left + width]
        return valid.tolist()

    def _scalars(self, call: Call) -> Iterator[tuple[str, Any, str]]:
        """The name of each scalar, its value or values, and the axis that it varies along."""
        for scalar, value in zip(self.kernel.scalars, call.scalars, strict=False):  # times come behind
            axis = scalar.quantity.axis if scalar.quantity is not None else "grid"
            if scalar.quantity is not None and scalar.quantity.is_index:
                yield scalar.name, range(value, value + max(call.window.shape)), axis
            elif axis == "grid":
                kind = {Kind.BOOL: bool, Kind.INT: int}.get(scalar.kind, float)
                yield scalar.name, kind(value), axis
            else:
                yield scalar.name, value.tolist(), axis

    def _pixel(
        self, cells: Sequence[tuple[_Cells, bool]], row: int, col: int, scalars: dict[str, Any]
    ) -> tuple[Any, ...]:
        rows, cols = self._radius
        for one, _ in cells:
            one.row, one.col = row + rows, col + cols
        arguments = [one if is_window else one[0, 0] for one, is_window in cells]
        results = self.kernel.function(*arguments, **scalars)
        return results if isinstance(results, tuple) else (results,)

    def _as_numpy(self, call: Call, row: int, col: int, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """The body on NumPy's floats, which divide by zero; a function of ``math`` that still raises gives NaN."""
        with np.errstate(all="ignore"), suppress(ArithmeticError, ValueError):
            floats = {name: _floating(value) for name, value in scalars.items()}
            return self._pixel(self._cells(call, numpy=True), row, col, floats)
        return self._nothing


def _floating(value: Any) -> Any:
    return np.float64(value) if type(value) is float else value


def _stored(value: Any, dtype: np.dtype[Any]) -> Any:
    """The value as an output holds it: integers rounded, halves away from 0, and clamped; None for NaN."""
    if value != value:  # noqa: PLR0124
        return None
    if dtype.kind == "f":
        return value
    info = np.iinfo(dtype)
    if isinstance(value, float):
        if math.isinf(value):
            return info.max if value > 0 else info.min
        value = int(math.copysign(math.floor(abs(value) + 0.5), value))
    return min(max(int(value), info.min), info.max)


def spread(windows: Sequence[Window]) -> list[Window]:
    """Returns windows in an order whose beginning lies evenly over the raster, at the golden section of what is left.

    Example:
        >>> spread([0, 1, 2, 3, 4])
        [0, 3, 1, 4, 2]
    """
    count = len(windows)
    step = next(s for s in range(max(1, round(count * 0.618)), count + 2) if math.gcd(s, count) == 1)
    return [windows[k * step % count] for k in range(count)]


class _Interpreted(Trial):
    """Tiles to interpret, over and over until the time is up; nothing is compiled.

    They are decoded before: of whole blocks decoding takes a thousandth of the time, but of tiny tiles much more.
    """

    compile = 0.0

    def __init__(self, spec: TrialSpec) -> None:
        began = time.perf_counter()
        self.spec, self.work = spec, Workload(spec)
        self.job = self.work.job(TILE)
        self.step = self.job.plan.steps[0]
        windows = spread(self.work.windows(TILE))[:_TILES]
        self.calls = [Reader(self.job).call(window) for window in windows]
        self.prepared = time.perf_counter() - began


class InterpretedThreads(_Interpreted):
    """Threads that interpret tile after tile."""

    def __call__(self) -> Stages:
        """Interprets until the time is up."""
        self.outputs, self.done = outputs, done = empty(self.work.window.shape, self.job), []
        watch, waiting, queued = Stopwatch(), itertools.cycle(self.calls), [0.0]
        body, deadline = PlainBody(self.work.kernel), time.perf_counter() + self.spec.seconds

        def loop() -> None:
            # Taking from an iterator is one step of the interpreter: the GIL is lock enough.
            for call in waiting:
                with watch.stage("compute"):
                    body(call, [output[..., *call.window.slices(self.work.window)] for output in outputs])
                done.append(call.window)
                if time.perf_counter() > deadline:
                    break
            queued.append(queued_seconds())

        on_threads(loop, self.spec.cores)
        return stages_of(watch, queued)


class InterpretedProcesses(_Interpreted):
    """Processes that interpret, and send their results home."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__(spec)
        self.pool: Pool = started_pool(spec)

    def __call__(self) -> Stages:
        """Interprets until the time is up."""
        self.outputs, self.done = empty(self.work.window.shape, self.job), []
        deadline, took = time.time() + self.spec.seconds, []
        step = max(1, len(self.calls) // self.spec.cores)
        orders = [(self.calls[k * step :] + self.calls[: k * step], deadline) for k in range(self.spec.cores)]
        for done, results, stages in self.pool.imap_unordered(_interpret, orders):
            self.done += done
            took.append(stages)
            for window, arrays in results.items():
                place(self.outputs, window, arrays)
        return summed(took)


def _interpret(given: tuple[list[Call], float]) -> tuple[list[Window], dict[Window, list[Array]], Stages]:
    """A worker's tiles, over and over until the time is up."""
    calls, deadline = given
    work, job = worker_workload(TILE)
    body, watch, queued = PlainBody(work.kernel), Stopwatch(), queued_seconds()
    done, results = [], {}
    for call in itertools.cycle(calls):
        with watch.stage("compute"):
            results[call.window] = empty(call.window.shape, job)
            body(call, results[call.window])
        done.append(call.window)
        if time.time() > deadline:
            break
    return done, results, stages_of(watch, [queued_seconds() - queued])

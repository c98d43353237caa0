"""What every backend, source, sink and executor is held to: subclass a suite, fill in its hook, and pytest runs it.

Example:
    A backend's whole test file::

        from tilejit.testing import BackendTests

        class TestCpu(BackendTests):
            name = "cpu"
"""

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ReadError, SinkError
from tilejit.grid import Grid
from tilejit.kernel.nodata import constant
from tilejit.testing.backends import BackendTests
from tilejit.testing.tiling import check_tiling
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tilejit.engine.executors.base import Executor
    from tilejit.formats.sink import Sink
    from tilejit.formats.source import Source

    Array = NDArray[Any]

__all__ = ["BackendTests", "ExecutorTests", "SinkTests", "SourceTests", "check_tiling"]


def __dir__() -> list[str]:
    return sorted(__all__)


class SourceTests:
    """A source gives the cells that it was made of."""

    def make(self, cells: Array, nodata: float | None) -> Source:
        """Returns a source of ``cells`` (band, row, col); the hook to fill in."""
        raise NotImplementedError

    def test_it_reads_any_window(self) -> None:
        """Windows, as stored and as floats."""
        cells = np.arange(2 * 19 * 33, dtype=np.int16).reshape(2, 19, 33)
        source = self.make(cells, None)
        for window in tiles(19, 33, 7, 10):
            rows, cols = window.slices(Window(0, 0, 19, 33))
            for dtype in (np.int16, np.float32):
                out = np.zeros((2, *window.shape), dtype)
                source.read((1, 2), window, out)
                np.testing.assert_array_equal(out, cells[:, rows, cols])
        source.close()

    def test_it_reads_into_part_of_a_buffer(self) -> None:
        """Strided outputs, and nothing beside them."""
        cells = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
        buffer = np.full((1, 5, 6), -1, np.float32)
        source = self.make(cells, None)
        source.read((1,), Window(0, 0, 3, 4), buffer[:, 1:4, 1:5])
        np.testing.assert_array_equal(buffer[:, 1:4, 1:5], cells)
        assert (buffer == -1).sum() == buffer.size - cells.size
        source.close()

    def test_nodata_becomes_nan_or_a_flag(self) -> None:
        """NaN in floats, a zero of validity beside integers."""
        source = self.make(np.array([[[1, -5], [3, 4]]], np.int16), -5)
        window = Window(0, 0, 2, 2)
        floats, integers, valid = (np.empty((1, 2, 2), dtype) for dtype in (np.float32, np.int16, np.uint8))
        source.read((1,), window, floats)
        np.testing.assert_array_equal(floats, np.array([[[1, np.nan], [3, 4]]], np.float32))
        source.read((1,), window, integers, valid)
        np.testing.assert_array_equal(valid, [[[1, 0], [1, 1]]])
        source.close()

    def test_it_refuses_a_window_outside(self) -> None:
        """Windows lie inside the raster."""
        source = self.make(np.zeros((1, 2, 2), np.uint8), None)
        _raises(ReadError, lambda: source.read((1,), Window(1, 0, 2, 2), np.empty((1, 2, 2))))
        source.close()


class SinkTests:
    """A sink holds what was written to it, once it is published."""

    def make(self, grid: Grid, count: int, dtype: np.dtype) -> Sink:
        """Returns a sink; the hook to fill in."""
        raise NotImplementedError

    def read_back(self) -> Array:
        """Returns the (band, row, col) cells of the sink that was made last; the hook to fill in."""
        raise NotImplementedError

    def written(self, sink: Sink, *parts: tuple[Window, Array]) -> None:
        """Has one writer write windows, and publishes the sink."""
        writer = sink.writer()
        for window, array in parts:
            writer.write(window, array)
        sink.merge(writer.finish())
        sink.sync()
        sink.prepare()
        sink.publish()

    def test_it_holds_what_was_written(self) -> None:
        """Windows in any order come out in their place."""
        cells, sink = _random_cells(), self.make(Grid(70, 50), 2, np.dtype(np.float32))
        self.written(sink, *reversed(list(_parts(cells, sink.block))))
        np.testing.assert_array_equal(self.read_back(), cells)

    def test_several_writers_write_it(self) -> None:
        """One after the other and from several threads; what a journal keeps of each is JSON."""
        cells, sink = _random_cells(), self.make(Grid(70, 50), 2, np.dtype(np.float32))
        parts = list(_parts(cells, sink.block))
        for half in (parts[::2], parts[1::2]):
            writer = sink.writer()
            threads = [threading.Thread(target=writer.write, args=part) for part in half]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            json.dumps(sink.merge(writer.finish()))
        sink.prepare()
        sink.publish()
        np.testing.assert_array_equal(self.read_back(), cells)

    def test_it_takes_constants(self) -> None:
        """A tile of nodata comes as one value for each band, with strides of 0."""
        sink, pixel = self.make(Grid(70, 50), 2, np.dtype(np.float32)), np.array([3, np.nan], np.float32)
        self.written(sink, *((w, constant(pixel, w.shape)) for w in tiles(70, 50, *sink.block)))
        np.testing.assert_array_equal(self.read_back(), constant(pixel, (70, 50)))

    def test_it_refuses_what_does_not_fit(self) -> None:
        """Windows outside, other shapes, other dtypes."""
        sink = self.make(Grid(16, 16), 1, np.dtype(np.uint8))
        writer, zeros = sink.writer(), np.zeros((1, 16, 16), np.uint8)
        _raises(SinkError, lambda: writer.write(Window(8, 0, 16, 16), zeros))
        _raises(SinkError, lambda: writer.write(Window(0, 0, 8, 16), zeros))
        _raises(SinkError, lambda: writer.write(Window(0, 0, 16, 16), zeros.astype(np.int32)))
        sink.abort()
        sink.abort()


def _random_cells() -> Array:
    return np.random.default_rng(1).random((2, 70, 50), np.float32)


def _parts(cells: Array, block: tuple[int, int]) -> Iterator[tuple[Window, Array]]:
    """Windows of whole blocks, and their cells."""
    whole = Window(0, 0, *cells.shape[1:])
    for window in tiles(*whole.shape, *block):
        yield window, np.ascontiguousarray(cells[:, *window.slices(whole)])


class ExecutorTests:
    """An executor runs every task once, in bounds, and makes an error an outcome."""

    def make(self) -> Executor:
        """Returns an executor; the hook to fill in. Each test closes what it made."""
        raise NotImplementedError

    def test_it_says_who_it_is(self) -> None:
        """A name, one worker or more, and whether they are here."""
        executor = self.make()
        assert executor.name
        assert executor.workers >= 1
        assert isinstance(executor.local, bool)
        executor.close()

    def test_every_task_comes_back_once(self) -> None:
        """In any order; and an executor runs more than one map."""
        executor = self.make()
        for count in (0, 1, 30):
            outcomes = list(executor.map(_squared, range(count)))
            assert sorted(o.task for o in outcomes) == list(range(count))
            assert all(o.error is None and o.result == o.task**2 for o in outcomes)
        executor.close()

    def test_tasks_are_taken_as_workers_come_free(self) -> None:
        """Never more than two for each worker are under way, however many there are."""
        executor, taken, given = self.make(), 0, 0
        most = 2 * executor.workers

        def tasks() -> Iterator[int]:
            nonlocal taken
            for task in range(100):
                taken += 1
                assert taken - given <= most + 1, f"{taken} tasks taken and {given} given back"
                yield task

        for _ in executor.map(_squared, tasks()):
            given += 1
        assert given == 100
        executor.close()

    def test_an_endless_run_can_be_given_up(self) -> None:
        """Closing the iterator stops it, and the executor still works."""
        executor = self.make()
        outcomes = executor.map(_squared, itertools.count())
        assert next(outcomes).error is None
        outcomes.close()  # type: ignore[attr-defined]
        assert [o.result for o in executor.map(_squared, [3])] == [9]
        executor.close()

    def test_an_error_is_an_outcome(self) -> None:
        """With its task, its type and its message, or told by another where it cannot be pickled; the others go on."""
        executor = self.make()
        outcomes = {o.task: o for o in executor.map(_reciprocal, [2, -1, 0, 4])}
        assert "odd" in str(outcomes[-1].error)
        assert isinstance(outcomes[0].error, ZeroDivisionError)
        assert "division" in str(outcomes[0].error)
        assert [outcomes[k].result for k in (0, 2, 4)] == [None, 0.5, 0.25]
        executor.close()

    def test_it_closes_twice(self) -> None:
        """And without ever having worked."""
        executor = self.make()
        executor.close()
        executor.close(at_once=False)


def _squared(number: int) -> int:
    return number**2


def _reciprocal(number: int) -> float:
    if number < 0:
        raise ValueError("odd", threading.Lock())
    return 1 / number


def _raises(kind: type[Exception], function: Callable[[], object]) -> None:
    try:
        function()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__} was raised")

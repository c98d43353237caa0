"""Runs that an event loop waits for while it stays responsive: in a notebook, in a server.

A run has threads of its own. Here one more waits for it, and a coroutine waits for that one. asyncio is imported on
first use: with it, ``import tilejit`` would take a third longer.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from tilejit.engine.pipeline.pipeline import Cancellation
from tilejit.engine.pipeline.run import run_job
from tilejit.errors import NodataWarning, RunStoppedError
from tilejit.formats.gdal.library import Environment
from tilejit.formats.in_memory import MemorySink
from tilejit.formats.sink import check_write
from tilejit.raster.options import RunOptions
from tilejit.raster.running import LazyRaster, read_window, save_in_thread, tiles_job, warned, warning_of
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Mapping

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from tilejit.engine.pipeline.report import Report
    from tilejit.grid import Grid
    from tilejit.window import Window

T = TypeVar("T")


class _Background(Generic[T]):
    """Work in a thread, which is called with this, and what the event loop knows of it."""

    def __init__(self, work: Callable[[_Background[T]], T]) -> None:
        import asyncio

        self.cancellation = Cancellation()
        self.is_over = False  # whether the work has ended; changes in the event loop alone
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._cancelled = asyncio.CancelledError
        self._work, self._environment = work, Environment.current()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="tilejit-run", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        try:
            with self._environment.entered():
                self._result = self._work(self)
        except BaseException as error:  # noqa: BLE001 - a thread hands its error to the coroutine that waits
            self._error = error
        with contextlib.suppress(RuntimeError):  # of a loop that is closed: nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.is_over = True
        self._changed.set()

    def tell(self) -> None:
        """Wakes `change`; called from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def change(self) -> None:
        """Waits until the work has ended or has told something since this was last called."""
        if not self.is_over:
            await self._changed.wait()
            self._changed.clear()

    async def result(self) -> T:
        """Waits for the end of the work."""
        while not self.is_over:
            await self.change()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def stop_soon(self) -> None:
        """Has the event loop end the work: a signal's handler must not wait for what this thread may hold."""
        with contextlib.suppress(RuntimeError):  # of a loop that is closed: nobody waits
            self._loop.call_soon_threadsafe(self.cancellation.cancel)

    async def stop(self) -> None:
        """Ends the work if it has not ended, and waits until its threads have, however often this is cancelled."""
        self.cancellation.cancel()
        while not self.is_over:
            with contextlib.suppress(self._cancelled):
                await self.change()
        self._thread.join()
        self._error = None  # whose traceback holds this run, and the run's buffers


async def _in_thread(work: Callable[[Cancellation], T]) -> T:
    """Runs work in a thread; a task that is cancelled waits until the work has stopped."""
    run = _Background(lambda run: work(run.cancellation))
    with ends_heard(run.stop_soon):
        try:
            return await run.result()
        finally:
            await run.stop()


async def asave(
    outputs: Mapping[str | os.PathLike[str], LazyRaster], *,
    nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
    executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
    tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
    progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
) -> Report:  # fmt: skip
    """Computes several Rasters in one pass, each into a file, as `tilejit.save` does, while the event loop goes on.

    Cancelling the task stops the run: it ends with the tiles that are being computed, and leaves no file behind.

    The outputs are paths with Rasters, all on one grid; the options are those of `Raster.save`, and hold for each.

    Returns:
        What the run did, in figures.

    Raises:
        TilejitError: As `tilejit.save` does.

    Example:
        >>> import asyncio, tempfile
        >>> import numpy as np
        >>> import tilejit as tj
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     raster = tj.from_array(np.ones((4, 4), np.float32))
        ...     asyncio.run(tj.asave({f"{folder}/copy.tif": raster})).pixels
        16
    """
    options = RunOptions(
        nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
    )
    return await asave_outputs(outputs, options)


async def asave_outputs(outputs: Mapping[str | os.PathLike[str], LazyRaster], options: RunOptions) -> Report:
    """Does what `asave` does."""
    return warned(*await _in_thread(lambda cancellation: save_in_thread(outputs, options, cancellation)))


async def acompute(raster: LazyRaster, options: RunOptions) -> NDArray[Any]:
    """Computes all of a Raster into memory; see `Raster.acompute`."""
    return warned(*await _in_thread(lambda cancellation: read_window(raster, None, options, cancellation)))


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A part of a raster, computed."""

    window: Window
    """Where its cells lie."""
    array: NDArray[Any]
    """(band, row, col), the receiver's own: nothing writes to it any more."""


class TileSink(MemorySink):
    """Hands tiles to whoever asks for them, calls ``notify`` after each, and has the run wait for ``room``."""

    block = (1, 1)  # any window will do

    def __init__(self, grid: Grid, count: int, dtype: np.dtype[Any], room: int, notify: Callable[[], None]) -> None:
        self.grid = grid
        self._count, self._dtype, self._notify = count, dtype, notify
        self._room = threading.Semaphore(room)
        self._tiles: deque[Tile] = deque()
        self._is_closed = False

    def next_tile(self) -> Tile | None:
        """Return a tile and make room for another one, or None where none has come yet."""
        if not self._tiles:
            return None
        tile = self._tiles.popleft()
        self._room.release()
        return tile

    def close(self) -> None:
        """Want no more tiles: ends every write that waits, and those to come."""
        self._is_closed = True
        self._room.release()

    def writer(self) -> Self:
        """What hands windows over: the sink itself."""
        return self

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Hand a window over when there is room for it; see `Writer.write`."""
        grid, count, dtype = self.grid, self._count, self._dtype
        check_write("the tiles", grid=grid, count=count, dtype=dtype, window=window, array=array)
        self._room.acquire()
        if self._is_closed:
            self._room.release()  # wakes the next one
            raise RunStoppedError("the run was stopped: nobody takes its tiles any more")
        self._tiles.append(Tile(window, array.copy()))
        self._notify()


async def tiles(raster: LazyRaster, options: RunOptions) -> AsyncGenerator[Tile, None]:
    """Yields a Raster's tiles as they are computed; see `Raster.tiles`."""
    sinks: list[TileSink] = []

    def work(run: _Background[NodataWarning | None]) -> NodataWarning | None:
        job, trace = tiles_job(raster, options)
        write = job.plan.writes[0]
        sinks.append(TileSink(raster.grid, len(write.planes), write.dtype, job.plan.workers, run.tell))
        with run.cancellation.calling(sinks[0].close):
            report = run_job(job, sinks, trace=trace, cancellation=run.cancellation)
        return warning_of(raster.label, report, job)

    run = _Background(work)
    try:
        while True:
            is_over = run.is_over
            while sinks and (tile := sinks[0].next_tile()) is not None:
                yield tile
            if is_over:
                break
            await run.change()
        warned(None, await run.result())
    finally:
        await run.stop()

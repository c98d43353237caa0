"""Rasters in memory: an array as a source and as a sink, which other processes reach too where it is shared."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import astuple, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tilejit.compiler.form.kinds import is_real
from tilejit.errors import SinkError, SourceError
from tilejit.formats.cells import fill, nodata_key
from tilejit.formats.sink import Manifest, WriterOpener, check_write
from tilejit.formats.source import BandInfo, SourceStorage, check_request
from tilejit.grid import Grid
from tilejit.system.identity import FileIdentity, process_space
from tilejit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ArraySource:
    """An array as a source.

    Example:
        >>> source = ArraySource.of(np.array([[1, -1]], np.int16), nodata=-1)
        >>> out = np.empty((1, 1, 2), np.float32)
        >>> source.read((1,), Window(0, 0, 1, 2), out)
        >>> out.tolist()
        [[[1.0, nan]]]
    """

    array: NDArray[Any]  # (band, row, col)
    grid: Grid  # where its cells lie
    bands: tuple[BandInfo, ...]  # all its bands
    name: str = "array"  # what messages call it
    block: tuple[int, int] = (512, 512)  # rows and columns that a reader does well to keep to
    storage: SourceStorage = field(default_factory=lambda: SourceStorage("in memory"))  # how it is stored
    mask: NDArray[np.bool_] | None = None  # where it holds no data whatever the nodata value says; None for nowhere

    @classmethod
    def of(
        cls,
        array: NDArray[Any],
        grid: Grid | None = None,
        nodata: float | None = None,
        name: str = "array",
        mask: NDArray[np.bool_] | None = None,
    ) -> ArraySource:
        """Wrap a (band, row, col) or (row, col) array, sharing its memory; a mask says where it holds no data."""
        stack = array[np.newaxis] if array.ndim == 2 else array
        if stack.ndim != 3 or 0 in stack.shape:
            raise SourceError(f"{name}: an array is (band, row, col) or (row, col), with cells, not {array.shape}")
        if not is_real(stack.dtype):
            raise SourceError(
                f"{name}: tilejit reads integers and floats of up to 64 bits, not {array.dtype}: "
                "convert it with .astype(np.float64), or take its .real or .imag"
            )
        grid = grid or Grid(*stack.shape[1:])
        if grid.shape != stack.shape[1:]:
            raise SourceError(f"{name}: the array has {stack.shape[1:]} rows and cols, its grid {grid.shape}")
        bands = tuple(BandInfo(i + 1, stack.dtype, nodata, has_mask=mask is not None) for i in range(len(stack)))
        storage = SourceStorage("in memory", stored_bytes=stack.nbytes)
        return cls(stack, grid, bands, name, storage=storage, mask=None if mask is None else mask.reshape(stack.shape))

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        rows, cols = window.slices(Window(0, 0, *self.grid.shape))
        for i, band in enumerate(bands):
            cells, flags = self.array[band - 1, rows, cols], None if valid is None else valid[i]
            fill(out[i], flags, cells, nodata_key(cells.dtype, self.bands[band - 1].nodata))
            if self.mask is None:
                continue
            masked = self.mask[band - 1, rows, cols]
            if out.dtype.kind == "f":
                out[i][masked] = np.nan
            elif flags is not None:
                flags[masked] = 0

    def close(self) -> None:
        """Nothing to let go of."""


def views_of(source: object, bands: tuple[int, ...], dtype: np.dtype[Any], window: Window) -> list[NDArray[Any]] | None:
    """Return bands of a window where they lie in memory, each C-contiguous; None where they have to be copied.

    Example:
        >>> source = ArraySource.of(np.zeros((4, 5), np.float32))
        >>> [view.shape for view in views_of(source, (1,), np.dtype(np.float32), Window(1, 0, 2, 5))]
        [(2, 5)]
    """
    if type(source) is not ArraySource or source.mask is not None or source.array.dtype != dtype:
        return None
    keys = (nodata_key(dtype, source.bands[band - 1].nodata) for band in bands)
    if dtype.kind == "f" and any(key is not None and not np.isnan(key) for key in keys):
        return None  # which kernels see as NaN
    rows, cols = window.slices(Window(0, 0, *source.grid.shape))
    views = [source.array[band - 1, rows, cols] for band in bands]
    is_whole = all(view.flags.c_contiguous and view.flags.aligned and view.strides != (0, 0) for view in views)
    return views if is_whole else None


def place_in(sink: object, window: Window) -> NDArray[Any] | None:
    """Return where a window of an output lies in memory, if that is C-contiguous and an `ArraySink`'s.

    What is computed there need not be written any more.

    Example:
        >>> sink = ArraySink(np.zeros((1, 4, 5)), Grid(4, 5))
        >>> place_in(sink, Window(1, 0, 2, 5)).shape, place_in(sink, Window(1, 0, 2, 3))
        ((1, 2, 5), None)
    """
    if not isinstance(sink, ArraySink):
        return None
    rows, cols = window.slices(Window(0, 0, *sink.grid.shape))
    place = sink.array[:, rows, cols]
    return place if place.flags.c_contiguous and place.flags.aligned else None


class MemorySink:
    """A sink of which nothing is left to do once its windows are written."""

    def merge(self, manifest: Manifest) -> Manifest:
        """Nothing to take in; see `Sink.merge`."""
        return manifest

    def finish(self) -> Manifest:
        """Nothing to tell; see `Writer.finish`."""

    def sync(self) -> None:
        """Nothing to wait for: memory is on no disk."""

    def prepare(self) -> None:
        """Nothing to complete: what was written is there."""

    def publish(self) -> None:
        """Nothing to name."""

    def abort(self) -> None:
        """Nothing to drop: memory is the caller's."""


@dataclass(frozen=True, slots=True)
class ArraySink(MemorySink):
    """An array as a sink; threads may write to different windows at the same time.

    Example:
        >>> from tilejit.grid import Grid
        >>> sink = ArraySink(np.zeros((1, 2, 2)), Grid(2, 2))
        >>> sink.writer().write(Window(0, 0, 1, 2), np.ones((1, 1, 2)))
        >>> sink.array.tolist()
        [[[1.0, 1.0], [0.0, 0.0]]]
    """

    array: NDArray[Any]  # (band, row, col), allocated by the caller
    grid: Grid  # where its cells lie
    block: tuple[int, int] = (512, 512)  # rows and columns that a writer does well to keep to
    shared: SharedMemory | None = None  # the memory that the array lies in, where other processes reach it

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.shape[1:] != self.grid.shape:
            raise SinkError(f"the array is {self.array.shape}, and its grid {self.grid.shape}: (band, row, col)")

    def writer(self) -> Self:
        """What writes into the array: the sink itself."""
        return self

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Writer.write`."""
        count, dtype = len(self.array), self.array.dtype
        check_write("the output array", grid=self.grid, count=count, dtype=dtype, window=window, array=array)
        rows, cols = window.slices(Window(0, 0, *self.grid.shape))
        place = self.array[:, rows, cols]
        if place.ctypes.data != array.ctypes.data or place.strides != array.strides:  # it may be made there
            place[...] = array

    def opener(self, *, local: bool) -> WriterOpener:
        """What fills the array's own memory from another process, or sends cells home; see `opener_of`."""
        return partial(open_array, self.grid, len(self.array), self.array.dtype, self.shared if local else None)

    def merge(self, manifest: Manifest) -> Manifest:
        """Put cells that were sent home into their place; a writer that fills the array itself sends none."""
        for place, cells in manifest or ():
            self.write(Window(*place), cells)
        return None


def open_array(grid: Grid, count: int, dtype: np.dtype[Any], memory: SharedMemory | None) -> ArraySink | SendingWriter:
    """Open a writer of an array in another process; one that does not reach the memory sends its cells home."""
    if memory is None or not memory.space.is_seen():
        return SendingWriter(grid, count, dtype)
    return ArraySink(memory.array((count, *grid.shape), dtype), grid)


@dataclass(frozen=True, slots=True, eq=False)
class SendingWriter:
    """Keeps cells, and sends them home."""

    grid: Grid
    count: int
    dtype: np.dtype[Any]
    windows: list[tuple[tuple[int, ...], NDArray[Any]]] = field(default_factory=list)

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Writer.write`."""
        check_write("the output array", grid=self.grid, count=self.count, dtype=self.dtype, window=window, array=array)
        # list.append is atomic, and the array may be reused after the call.
        self.windows.append((astuple(window), array.copy()))

    def finish(self) -> Manifest:
        """Return the windows and their cells."""
        return self.windows


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Memory by a name that can be sent to another process of this machine.

    On Linux it has no name of its own in any file system: it is gone with the last process that holds it, however that
    ends. ``multiprocessing.shared_memory`` lies in /dev/shm, which containers limit to 64 MB, and a program that goes
    beyond that is killed; and its memory cannot be let go of while an array looks at it.
    """

    path: str  # where a process opens it
    identity: tuple[int, int]  # device and inode: a descriptor's number is used again once it is closed
    space: FileIdentity  # what processes see that may open it there

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return it as an array, which keeps the memory for as long as it lives."""
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError as error:
            raise SinkError(f"the array of the run is no longer there: {error}") from error
        try:
            if _identity(descriptor) != self.identity:
                raise SinkError(f"the array of the run is no longer there: {self.path} is something else by now")
            size = int(np.prod(shape)) * dtype.itemsize
            return np.frombuffer(mmap.mmap(descriptor, size), dtype).reshape(shape)
        finally:
            os.close(descriptor)


class SharedArray:
    """An array in memory that other processes reach until `close`; the array itself lives on."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._descriptor, path = _reserve(int(np.prod(shape)) * dtype.itemsize)
        self.memory = SharedMemory(path, _identity(self._descriptor), process_space())  # what is sent to the others
        self.array = self.memory.array(shape, dtype)  # the cells

    def close(self) -> None:
        """Let no other process in any more."""
        os.close(self._descriptor)
        if not self.memory.path.startswith("/proc/"):
            os.unlink(self.memory.path)  # noqa: PTH108 - as it was made


def _reserve(size: int) -> tuple[int, str]:
    """A descriptor of so many bytes, and the name by which other processes open them."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tilejit")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="tilejit-")
    os.ftruncate(descriptor, size)
    return descriptor, path


def _identity(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino

"""A sink is what windows are written to; here are its contract and the sink into an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.file_tags import FileTags
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tilejit.formats.shared_memory import SharedMemory
    from tilejit.grid import Grid

WRITTEN_DIRECTLY = "blocks written directly"
"""What a plan says of an output whose blocks need no GDAL."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A temporary output that a run leaves to the next one when it fails."""

    mark: str
    """What tells the run from others, in the temporary name."""
    stage: Literal["new", "begun", "complete"]
    """Whether it is created anew; or an earlier run has left it, and it is opened; or lacks nothing but its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProfile:
    """What an output file will be.

    Raises:
        ValueError: There is no band, or the descriptions or units are not one per band.
    """

    path: str
    """The file to write."""
    grid: Grid
    """Where its cells lie."""
    count: int
    """Bands, one or more."""
    dtype: np.dtype[Any]
    """The type to store."""
    nodata: float | None = None
    """The value that marks a cell without data; an int where the type is an integer."""
    descriptions: tuple[str | None, ...] = ()
    """A name for each band; empty for none."""
    units: tuple[str | None, ...] = ()
    """A unit for each band; empty for none."""
    tags: FileTags = field(default_factory=FileTags)
    """What else the file says of its bands and of itself."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The driver's creation options, names in upper case, over the defaults."""
    overwrite: bool = False
    """Whether an existing file may be replaced."""
    kept: Kept | None = None
    """What the temporary output is for a later run that goes on with it; None where nothing is to be left."""

    @property
    def raw_bytes(self) -> int:
        """Bytes before compression."""
        return self.count * self.dtype.itemsize * self.grid.height * self.grid.width

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if self.count < 1:
            raise ValueError(f"an output has one band or more, not {self.count}")
        for name, given in (("descriptions", self.descriptions), ("units", self.units), ("tags", self.tags.bands)):
            if given and len(given) != self.count:
                raise ValueError(f"{name} are one per band: {self.count} bands, and {len(given)} {name}")


@dataclass(frozen=True, slots=True)
class Storage:
    """How an output is stored."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The creation options, complete."""
    block: tuple[int, int] = (1, 1)
    """The storage block: tasks hold whole ones."""
    writer: str = ""
    """What writes it, and why."""
    held: int = 0
    """Bytes that each writer holds until there are enough for a file."""
    shared: bool = True
    """Whether it can be written by several processes, and by one after the other; see `SharedSink` and `KeptSink`."""


class Sink(Protocol):
    """What windows are written to.

    Two members more are asked for where they are: ``prepare()`` by `prepare`, and ``coding``, what a report says of how
    it chose to encode.
    """

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of its storage blocks: write whole ones."""

    @property
    def concurrent(self) -> bool:
        """Whether several threads may be in `write` at once; if not, the caller takes turns."""

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window that lies inside the raster.

        Args:
            window: The cells: whole blocks, each written once. A sink may refuse others.
            array: (band, row, col), all bands, in the sink's type; it may be reused after the call. Bands that hold
                one value each may come as a constant, with strides of 0 (see `tilejit.kernel.nodata`).

        Raises:
            SinkError: It cannot be written.
        """

    def commit(self) -> None:
        """Complete the output: only now is it there.

        Raises:
            SinkError: A part of it did not reach its place; nothing is left behind.
        """

    def abort(self) -> None:
        """Drop the output, leaving nothing behind; nothing happens after `commit` or a second time."""


def prepare(sink: Sink) -> None:
    """Do all of a sink's `commit` that can fail, so that several outputs appear together or not at all.

    One whose commit can fail has a method ``prepare`` for it.

    Raises:
        SinkError: A part of it did not reach its place; nothing is left behind.
    """
    ask = getattr(sink, "prepare", None)
    if ask is not None:
        ask()


Record = Any
"""What a branch wrote, for the sink that it belongs to: small, picklable, and JSON-able where the worker is local."""


class Branch(Protocol):
    """A worker's end of a sink: what one worker writes one part of a job to."""

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window, from several threads at once; see `Sink.write`."""

    def finish(self) -> Record:
        """Return what the sink must know of what was written.

        Raises:
            SinkError: It did not reach its place.
        """


class BranchOpener(Protocol):
    """What is sent to a worker: a small, picklable value that opens a branch there."""

    def __call__(self) -> Branch:
        """Open a branch."""


class SharedSink(Sink, Protocol):
    """A sink that workers in other processes write to.

    A part that failed is run again from its beginning, and its blocks are written again.
    """

    def branch(self, *, local: bool) -> BranchOpener:
        """Return what opens a branch.

        Args:
            local: Whether the workers seem to be on this machine: what is sent looks for itself whether it reaches the
                file or the memory.
        """

    def take(self, record: Record) -> Record:
        """Note what a branch's `finish` returned, of a part that succeeded.

        Returns:
            What a journal keeps of it, without the cells: JSON-able, and to be taken again when the sink is reopened.

        Raises:
            SinkError: It cannot be written.
        """


class KeptSink(SharedSink, Protocol):
    """A sink that a later run goes on with; its profile has said so."""

    def keep(self, records: Iterable[Record]) -> None:
        """Take what a journal kept of earlier runs; from now on `abort` leaves all in its place.

        Raises:
            SinkError: What was written is not there.
        """

    def sync(self) -> None:
        """Wait until all that was taken is on the disk; any thread may call it, also while others write.

        Raises:
            OSError: A part could not be written.
        """


@dataclass(frozen=True, slots=True)
class ArraySink:
    """An array as a sink; threads may write to different windows at the same time.

    Raises:
        SinkError: The array's shape is not (band, row, col) on the grid.

    Example:
        >>> from tilejit.grid import Grid
        >>> sink = ArraySink(np.zeros((1, 2, 2)), Grid(2, 2))
        >>> sink.write(Window(0, 0, 1, 2), np.ones((1, 1, 2)))
        >>> sink.array.tolist()
        [[[1.0, 1.0], [0.0, 0.0]]]
    """

    array: NDArray[Any]
    """(band, row, col), allocated by the caller."""
    grid: Grid
    """Where its cells lie."""
    block: tuple[int, int] = (512, 512)
    """Rows and columns that a writer does well to keep to."""
    concurrent: bool = True
    """Writes to different windows touch different memory."""
    shared: SharedMemory | None = None
    """The memory that the array lies in, where other processes reach it."""

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.shape[1:] != self.grid.shape:
            raise SinkError(f"the array is {self.array.shape}, and its grid {self.grid.shape}: (band, row, col)")

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Sink.write`."""
        count, dtype = len(self.array), self.array.dtype
        check_write("the output array", grid=self.grid, count=count, dtype=dtype, window=window, array=array)
        rows, cols = window.slices(Window(0, 0, *self.grid.shape))
        self.array[:, rows, cols] = array

    def branch(self, *, local: bool) -> BranchOpener:
        """Returns what fills the array's own memory from here, or sends cells home; see `SharedSink.branch`."""
        from tilejit.formats.array_branch import FillingOpener, SendingOpener

        count, dtype = len(self.array), self.array.dtype
        if local and self.shared is not None:
            return FillingOpener(self.shared, self.grid, count, dtype)
        return SendingOpener(self.grid, count, dtype)

    def take(self, record: Record) -> Record:
        """Puts cells that were sent home into their place; those that lie in it already are not in the record."""
        for place, cells in record:
            self.write(Window(*place), cells)
        return ()

    def commit(self) -> None:
        """Nothing to complete: what was written is there."""

    def abort(self) -> None:
        """Nothing to drop: the array is the caller's."""


def check_write(
    name: str,
    *,
    grid: Grid,
    count: int,
    dtype: np.dtype[Any],
    window: Window,
    array: NDArray[Any],
) -> None:
    """Refuse a write that no sink can do.

    Raises:
        SinkError: The window reaches outside the raster, or the array has another shape or type.
    """
    if window.row_off < 0 or window.col_off < 0 or window.row_end > grid.height or window.col_end > grid.width:
        raise SinkError(f"{name}: the window {window} reaches outside {grid.height} rows x {grid.width} cols")
    if array.shape != (count, *window.shape):
        raise SinkError(f"{name}: {window} takes the shape {(count, *window.shape)}, not {array.shape}")
    if array.dtype != dtype:
        raise SinkError(f"{name}: it stores {dtype}, and {array.dtype} was written")

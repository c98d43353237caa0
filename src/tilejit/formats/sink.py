"""A sink is what windows are written to: its contract, what an output is to be, and what a format says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.files import FileTags
from tilejit.formats.target import Checkpoint, local_target
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.grid import Grid
    from tilejit.times import Dates
    from tilejit.window import Window

WRITTEN_DIRECTLY = "blocks written directly"  # what a plan says of an output whose blocks need no GDAL


@dataclass(frozen=True, slots=True)
class Stacked:
    """A variable of which there is a band for each date."""

    name: str
    dates: Dates


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
    stacked: Stacked | None = None
    """What the bands are together, where each is a date of one variable."""
    units: tuple[str | None, ...] = ()
    """A unit for each band; empty for none."""
    tags: FileTags = field(default_factory=FileTags)
    """What else the file says of its bands and of itself."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The driver's creation options, names in upper case, over the defaults."""
    overwrite: bool = False
    """Whether an existing file may be replaced."""
    checkpoint: Checkpoint | None = None
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
    """The storage block: tiles hold whole ones."""
    writer: str = ""
    """What writes it, and why."""
    held: int = 0
    """Bytes that each writer holds until there are enough for a file."""
    shared: bool = True
    """Whether it can be written by several processes (see `opener_of`), and by one run after the other."""


Manifest = Any  # what a writer wrote, for its sink: small and picklable


class Writer(Protocol):
    """What windows are written to; the threads of a process share one."""

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window that lies inside the raster; several threads may be in here at once.

        Args:
            window: The cells: whole blocks, each written once. A writer may refuse others.
            array: (band, row, col), all bands, in the sink's type; it may be reused after the call. Bands that hold
                one value each may come as a constant, with strides of 0 (see `tilejit.kernel.nodata`).

        Raises:
            SinkError: It cannot be written.
        """

    def finish(self) -> Manifest:
        """Return the manifest: what the sink must know of what was written. Nothing is written after that.

        Raises:
            SinkError: It did not reach its place.
        """


class Sink(Protocol):
    """An output: writers fill it, and it appears when it is published, or not at all.

    A run opens a writer, has it written, merges its manifest, and then prepares and publishes the sink; or aborts it.
    """

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of its storage blocks: writers are given whole ones."""

    def writer(self) -> Writer:
        """Open a writer in this process."""

    def merge(self, manifest: Manifest) -> Manifest:
        """Take in what a writer's `finish` returned.

        Where a run goes on, what a journal kept is merged again, before any writer is opened.

        Returns:
            What a journal keeps of it: JSON-able, and without the cells.

        Raises:
            SinkError: It cannot be written; or, where a run goes on, it is not there any more.
        """

    def sync(self) -> None:
        """Wait until all that was merged is on the disk; any thread may call it, also while others write.

        Raises:
            OSError: A part could not be written.
        """

    def prepare(self) -> None:
        """Do all of `publish` that can fail, so that several outputs appear together or not at all.

        Raises:
            SinkError: A part of it did not reach its place; nothing is left behind.
        """

    def publish(self) -> None:
        """Give the prepared output its name: only now is it there.

        Raises:
            SinkError: Its name cannot be given.
        """

    def abort(self) -> None:
        """Drop the output; idempotent, and nothing after `publish`.

        Nothing is left behind, but for a checkpoint of what was merged where the profile has one.
        """


class WriterOpener(Protocol):
    """What is sent to a worker in another process: a small, picklable value that opens a writer there."""

    def __call__(self) -> Writer:
        """Open a writer."""


def opener_of(sink: Sink, *, local: bool) -> WriterOpener:
    """What opens writers in other processes: of a sink that has the method ``opener(local=...)``, what that returns.

    A part of the raster whose writer failed is written again from its beginning, by another writer.

    Args:
        sink: The sink.
        local: Whether the workers seem to be on this machine: what is sent looks for itself whether it reaches the
            file or the memory.

    Raises:
        SinkError: The sink has no such method.
    """
    method = getattr(sink, "opener", None)
    if method is None:
        raise SinkError(f"{type(sink).__name__} has no opener(): one process writes it: leave executor= out")
    opener: WriterOpener = method(local=local)
    return opener


def check_write(
    name: str, *, grid: Grid, count: int, dtype: np.dtype[Any], window: Window, array: NDArray[Any]
) -> None:
    """Refuse a write that no sink can do."""
    if window.row_off < 0 or window.col_off < 0 or window.row_end > grid.height or window.col_end > grid.width:
        raise SinkError(f"{name}: the window {window} reaches outside {grid.height} rows x {grid.width} cols")
    if array.shape != (count, *window.shape):
        raise SinkError(f"{name}: {window} takes the shape {(count, *window.shape)}, not {array.shape}")
    if array.dtype != dtype:
        raise SinkError(f"{name}: it stores {dtype}, and {array.dtype} was written")


def check_profile(profile: OutputProfile, window: Window, array: NDArray[Any]) -> None:
    """Refuse a write that an output cannot take; see `check_write`."""
    check_write(profile.path, grid=profile.grid, count=profile.count, dtype=profile.dtype, window=window, array=array)


def _stored_somehow(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    del dtype, count
    return Storage(options, (min(512, shape[0]), min(512, shape[1])), "by another package")


def _checked_place(profile: OutputProfile) -> Path:
    target = local_target(profile.path)
    if not profile.overwrite and kind_of(target) is not None:
        raise SinkError(f"{profile.path}: exists already: give another name, or overwrite=True")
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkFormat:
    """What an output can be: one of ours, or what another package declares by an entry point."""

    name: str
    """What messages call it."""
    open: Callable[[OutputProfile, int], Sink]
    """Opens the sink; the number is of the threads that may compress."""
    storage: Callable[[np.dtype[Any], tuple[int, int], int, Mapping[str, str]], Storage] = _stored_somehow
    """How cells are stored: of dtype, shape, bands, creation options; refuses options with a `SinkError`."""
    check: Callable[[OutputProfile], Path] = _checked_place
    """The place behind the name, or a refusal before anything is read."""
    beside: Callable[[Path], Path] | None = None
    """What else it is, beside the file or folder of its name."""
    check_replaced: Callable[[OutputProfile, Path], None] | None = None
    """Refuses to replace a folder for what it holds; None of what is no folder."""

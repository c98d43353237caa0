"""A source is what windows are read from: its contract, what is known of its storage, and the source over an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.compiler.kinds import is_real
from tilejit.errors import ReadError, SourceError
from tilejit.formats.cells import fill, nodata_key
from tilejit.formats.files import FileTags
from tilejit.grid import Grid
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tilejit.formats.codecs.block_codec import BlockCodec
    from tilejit.formats.files import State
    from tilejit.formats.gdal.library import Environment


@dataclass(frozen=True, slots=True)
class BandInfo:
    """What is known of one band without reading it."""

    index: int
    """Its number, from 1."""
    dtype: np.dtype[Any]
    """The type that it is stored in."""
    nodata: float | None = None
    """The value that marks a cell without data; an int where the type is an integer."""
    description: str | None = None
    """What the file calls it."""
    unit: str | None = None
    """The unit of its values."""
    has_mask: bool = False
    """Whether a mask or an alpha band, and not the nodata value, says which cells hold data."""
    scale: float = 1.0
    """What a cell is to be multiplied by."""
    offset: float = 0.0
    """What is to be added then."""

    @property
    def is_scaled(self) -> bool:
        """Whether its cells are counts, and its values others."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def may_be_invalid(self) -> bool:
        """Whether a cell may be without data."""
        return self.has_mask or self.nodata is not None or self.dtype.kind == "f"


@dataclass(frozen=True, slots=True)
class Decoding:
    """What decoding takes where threads share decoded blocks, so that tiles may cut them."""

    run: tuple[int, int]
    """Rows and columns that are decoded together: a block, or a run of small ones."""
    run_bytes: int
    """Bytes of them, decoded."""
    thread_bytes: int
    """Bytes that each thread takes beside: for blocks as stored, and between two codings."""
    is_apart: bool
    """Whether each band has blocks of its own."""
    by_rows: bool
    """Whether rows are read alone, for nothing is decoded."""
    codec: BlockCodec | None = None
    """What decodes, where functions of it are compiled."""


@dataclass(frozen=True, slots=True)
class SourceStorage:
    """How a source is stored: what a plan says of it, and what copies take along."""

    reader: str = "by its own reader"
    """How it is read, for the plan: ``read directly``, ``through GDAL: its blocks are JPEG``."""
    block_bytes: int = 0
    """Bytes that decoding one block takes, with all bands that are stored in it; 0 where nothing is decoded."""
    stored_bytes: int | None = None
    """The file's size where it is known."""
    decoding: Decoding | None = None
    """What decoding takes where threads share decoded blocks; None where they do not."""
    scales: tuple[tuple[float, float], ...] = ()
    """The scale and offset by which each band's values are made of what is stored; empty where they are that."""
    tags: FileTags = field(default_factory=FileTags)
    """What the file says beside its cells."""
    files: Mapping[str, State | None] = field(default_factory=dict)
    """Its files, and what tells each of them from another of its name; None of one that is not local."""
    environment: Environment | None = None
    """What held of ``rasterio.Env`` when it was opened by its name; None where no other process can open it so."""


def storage_of(source: Source) -> SourceStorage:
    """Returns how a source is stored: its member ``storage``, or the defaults where it has none."""
    storage: SourceStorage = getattr(source, "storage", SourceStorage())
    return storage


def make_ready(source: Source, threads: int, blocks: int = 0) -> None:
    """Make a source ready for a run: by its method ``ready(threads, blocks)``, where it has one.

    Opening a file silences Python's warnings for a moment, which is done for the whole process and must not happen in
    two threads at once: it would leave the host's filters changed.

    Args:
        source: The source.
        threads: How many new threads will read.
        blocks: How many decoded blocks, or runs of small ones, tiles share.
    """
    ready: Callable[[int, int], None] | None = getattr(source, "ready", None)
    if ready is not None:
        ready(threads, blocks)


class Source(Protocol):
    """What windows are read from; `read` may be called from several threads at once.

    Two members more are optional: ``storage``, see `storage_of`, and ``ready(threads, blocks)``, see `make_ready`.
    """

    @property
    def name(self) -> str:
        """What messages call it: the path."""

    @property
    def grid(self) -> Grid:
        """Where its cells lie."""

    @property
    def bands(self) -> tuple[BandInfo, ...]:
        """All its bands, in order."""

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of its storage blocks."""

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
    ) -> None:
        """Read a window that lies inside the raster into an array of any real type.

        Values convert as GDAL converts them: rounded and clamped to what ``out`` holds. The nodata value is
        compared in the band's own type, as GDAL's mask does.

        Args:
            bands: Band numbers, from 1.
            window: Cells to read.
            out: (band, row, col), any strides. If floating, cells without data become NaN.
            valid: (band, row, col), any strides. If ``out`` is an integer array, cells are set to 1, and to
                0 where they hold no data.

        Raises:
            ReadError: A block cannot be read.
        """

    def close(self) -> None:
        """Let go of the file, which a later read opens again: every run ends so."""


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

    array: NDArray[Any]
    """(band, row, col)."""
    grid: Grid
    """Where its cells lie."""
    bands: tuple[BandInfo, ...]
    """All its bands."""
    name: str = "array"
    """What messages call it."""
    block: tuple[int, int] = (512, 512)
    """Rows and columns that a reader does well to keep to."""
    storage: SourceStorage = SourceStorage("in memory")
    """How it is stored."""
    mask: NDArray[np.bool_] | None = None
    """Where it holds no data, (band, row, col), whatever the nodata value says; None for nowhere."""

    @classmethod
    def of(
        cls,
        array: NDArray[Any],
        grid: Grid | None = None,
        nodata: float | None = None,
        name: str = "array",
        mask: NDArray[np.bool_] | None = None,
    ) -> ArraySource:
        """Wrap an array, whose memory is shared.

        Args:
            array: (band, row, col), or (row, col) for one band.
            grid: Where its cells lie; not georeferenced if left out.
            nodata: The value that marks a cell without data, in every band.
            name: What messages call it.
            mask: Where it holds no data, of its shape.

        Raises:
            SourceError: The array has no cells or is not (band, row, col), its type is not a real number, or
                the grid has another shape.
        """
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
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
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


def check_request(
    source: Source, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None
) -> None:
    """Refuse a read that no source can do.

    Raises:
        ReadError: The window reaches outside the raster, a band does not exist, or an array has another
            shape than (bands, rows, cols).
    """
    count, (height, width) = len(source.bands), source.grid.shape
    if window.row_off < 0 or window.col_off < 0 or window.row_end > height or window.col_end > width:
        raise ReadError(f"{source.name}: the window {window} reaches outside {height} rows x {width} cols")
    if not all(1 <= band <= count for band in bands):
        raise ReadError(f"{source.name}: bands run from 1 to {count}, and {bands} were asked for")
    expected = (len(bands), *window.shape)
    for name, array in (("out", out), ("valid", valid)):
        if array is not None and array.shape != expected:
            raise ReadError(f"{source.name}: {name} has the shape {array.shape}, and should have {expected}")

"""A source is what windows are read from: its contract, what is known of its storage, and its values for counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.errors import ReadError
from tilejit.formats.cells import chunks, convert, nodata_key
from tilejit.formats.files import FileTags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tilejit.formats.codecs.block_codec import BlockCodec
    from tilejit.formats.files import BandTags, State
    from tilejit.formats.gdal.library import Environment
    from tilejit.formats.gdal.remote import RemoteFile
    from tilejit.grid import Grid
    from tilejit.window import Window


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

    run: tuple[int, int]  # rows and columns that are decoded together: a block, or a run of small ones
    run_bytes: int  # bytes of them, decoded
    thread_bytes: int  # bytes that each thread takes beside: for blocks as stored, and between two codings
    is_apart: bool  # whether each band has blocks of its own
    by_rows: bool  # whether rows are read alone, for nothing is decoded
    codec: BlockCodec | None = None  # what decodes, where functions of it are compiled


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
    identity: str = ""
    """What tells it from others that are made of the same files: a resampling, kernels, polygons."""
    remote: RemoteFile | None = None
    """What its bytes are fetched from, over the network."""
    state: str | None = None
    """What tells a remote file from another of its name; None where its server does not say, and of local files."""
    is_value: bool = False
    """Whether the source is a small value that can be pickled, and read by wherever its files are seen."""


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


_KEPT_BYTES = 1 << 25
"""Decoded blocks that each thread's windows leave to the next: some dozens, as many as lie along a tile's edges."""


def kept_blocks(storage: SourceStorage) -> int:
    """How many decoded blocks each thread keeps where windows follow no blocks: where rasters are warped, or joined."""
    run = 0 if storage.decoding is None else storage.decoding.run_bytes
    return max(4, min(64, _KEPT_BYTES // run)) if run else 0


def blank_of(band: BandInfo, dtype: np.dtype[Any]) -> Any:
    """What a cell of a type holds where a band has no data: NaN, the nodata value, or 0 where flags alone tell."""
    if dtype.kind == "f":
        return np.nan
    key = nodata_key(band.dtype, band.nodata)
    return 0 if key is None else key


def made_of(source: Source) -> tuple[Source, tuple[Callable[[Source], Source], ...]]:
    """What a source is made of, and what makes it of that in another process, one after the other.

    A source that is made of another one says so by its member ``made_of``: that one, and a function of it that can be
    pickled. Any other is made of itself, by nothing.
    """
    told: tuple[Source, Callable[[Source], Source]] | None = getattr(source, "made_of", None)
    if told is None:
        return source, ()
    first, makers = made_of(told[0])
    return first, (*makers, told[1])


class Source(Protocol):
    """What windows are read from; `read` may be called from several threads at once.

    Members more are optional: ``storage``, see `storage_of`; ``ready(threads, blocks)``, see `make_ready`; and
    ``made_of``, see `made_of`.
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
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
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


def check_request(
    source: Source, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None
) -> None:
    """Refuse a read that no source can do."""
    count, (height, width) = len(source.bands), source.grid.shape
    if window.row_off < 0 or window.col_off < 0 or window.row_end > height or window.col_end > width:
        raise ReadError(f"{source.name}: the window {window} reaches outside {height} rows x {width} cols")
    if not all(1 <= band <= count for band in bands):
        raise ReadError(f"{source.name}: bands run from 1 to {count}, and {bands} were asked for")
    expected = (len(bands), *window.shape)
    for name, array in (("out", out), ("valid", valid)):
        if array is not None and array.shape != expected:
            raise ReadError(f"{source.name}: {name} has the shape {array.shape}, and should have {expected}")


@dataclass(frozen=True, eq=False, slots=True)
class ScaledSource:
    """The values of a source: float32 of integers up to 16 bits, float64 of wider ones, rounded once.

    Nodata is compared with the stored counts, and becomes NaN. Bands that have no scale are what they were.

    Example:
        >>> from tilejit.formats.in_memory import ArraySource
        >>> from tilejit.window import Window
        >>> counts = ArraySource.of(np.array([[2000, -1]], np.int16), nodata=-1)
        >>> band = replace(counts.bands[0], scale=1e-4, offset=-0.1)
        >>> out = np.empty((1, 1, 2), np.float32)
        >>> ScaledSource.of(replace(counts, bands=(band,))).read((1,), Window(0, 0, 1, 2), out)
        >>> out.tolist()
        [[[0.10000000149011612, nan]]]
    """

    counts: Source  # what is stored
    name: str
    grid: Grid
    bands: tuple[BandInfo, ...]
    block: tuple[int, int]
    storage: SourceStorage

    @classmethod
    def of(cls, counts: Source) -> ScaledSource:
        """Makes it, with what the file says and holds of values too."""
        stored, scales = storage_of(counts), tuple((band.scale, band.offset) for band in counts.bands)
        pairs = zip(stored.tags.bands, counts.bands, strict=False)  # a source may say nothing of its bands
        tags = replace(stored.tags, bands=tuple(_tags_of_values(t) if band.is_scaled else t for t, band in pairs))
        bands = tuple(_values_of(band) if band.is_scaled else band for band in counts.bands)
        storage = replace(stored, scales=scales, tags=tags)
        return cls(counts, counts.name, counts.grid, bands, counts.block, storage)

    @property
    def made_of(self) -> tuple[Source, Callable[[Source], Source]]:
        """See `made_of`."""
        return self.counts, ScaledSource.of

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        infos = [self.counts.bands[band - 1] for band in bands]
        if out.dtype.kind == "f":
            self.counts.read(bands, window, out)
            for cells, info in zip(out, infos, strict=True):
                if info.is_scaled:
                    _apply(cells, info.scale, info.offset)
        elif not any(info.is_scaled for info in infos):
            self.counts.read(bands, window, out, valid)
        else:
            values = np.empty(out.shape, np.float64)
            self.read(bands, window, values)
            if valid is not None:
                np.copyto(valid, ~np.isnan(values))
            for cells, target in zip(values, out, strict=True):
                convert(cells, target)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run; see `make_ready`."""
        make_ready(self.counts, threads, blocks)

    def close(self) -> None:
        """Let go of the file."""
        self.counts.close()


def _values_of(band: BandInfo) -> BandInfo:
    dtype = np.promote_types(band.dtype, np.float32)
    return replace(band, dtype=dtype, nodata=None, has_mask=False, scale=1.0, offset=0.0)


def _tags_of_values(tags: BandTags) -> BandTags:
    """Without what is said of counts: statistics, the scale, and the colour of each count."""
    return replace(tags.without_statistics(), scale=1.0, offset=0.0, table=None)


def _apply(cells: NDArray[Any], scale: float, offset: float) -> None:
    """Turn counts into values: in float64, so that they are rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in chunks(cells):
            values = np.multiply(cells[rows], scale, dtype=np.float64)
            values += offset
            cells[rows] = values

"""A window of a source, as a source of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tilejit.formats.source import check_request, kept_blocks, make_ready, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilejit.formats.source import BandInfo, Source, SourceStorage
    from tilejit.grid import Grid
    from tilejit.window import Window

    Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class PartSource:
    """The cells of a source in a window that lies inside it.

    Example:
        >>> import numpy as np
        >>> from tilejit.formats.in_memory import ArraySource
        >>> from tilejit.window import Window
        >>> part = PartSource.of(ArraySource.of(np.arange(6.0).reshape(2, 3)), Window(0, 1, 2, 2))
        >>> out = np.empty((1, 1, 2))
        >>> part.read((1,), Window(1, 0, 1, 2), out)
        >>> out.tolist()
        [[[4.0, 5.0]]]
    """

    source: Source  # what it is a part of
    window: Window  # the part
    grid: Grid
    bands: tuple[BandInfo, ...]
    block: tuple[int, int]
    storage: SourceStorage

    @classmethod
    def of(cls, source: Source, window: Window) -> PartSource:
        """Makes it; nothing is read."""
        bands, storage = source.bands, _storage(source, window)
        return cls(source, window, source.grid.part(window), bands, source.block, storage)

    @property
    def name(self) -> str:
        """What messages call it: the source's."""
        return self.source.name

    @property
    def made_of(self) -> tuple[Source, Callable[[Source], Source]]:
        """See `tilejit.formats.source.made_of`."""
        return self.source, partial(PartSource.of, window=self.window)

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Source, Window]]:
        return PartSource.of, (self.source, self.window)

    def read(self, bands: tuple[int, ...], window: Window, out: Array, valid: Array | None = None) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        self.source.read(bands, window.shifted(self.window.row_off, self.window.col_off), out, valid)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run; see `make_ready`."""
        make_ready(self.source, threads, blocks or threads * kept_blocks(storage_of(self.source)))

    def close(self) -> None:
        """Let go of the file."""
        self.source.close()


def _storage(source: Source, window: Window) -> SourceStorage:
    """The source's; where tiles do not follow its blocks, decoded ones are kept, and counted as what a thread takes."""
    told, (rows, cols) = storage_of(source), source.block
    reader = f"{window} of {source.grid.height} x {source.grid.width} cells, {told.reader}"
    tags = replace(told.tags, bands=tuple(band.without_statistics() for band in told.tags.bands))
    told = replace(told, reader=reader, tags=tags, identity=f"{told.identity} {window}")
    if told.decoding is None or (window.row_off % rows == 0 and window.col_off % cols == 0):
        return told
    kept = kept_blocks(told) * told.decoding.run_bytes + told.decoding.thread_bytes
    return replace(told, block_bytes=max(told.block_bytes, kept), decoding=None)

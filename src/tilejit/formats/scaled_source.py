"""A source whose bands are values instead of the counts that are stored: each cell times a scale, plus an offset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.cells import chunks, convert
from tilejit.formats.source import BandInfo, SourceStorage, make_ready, storage_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.files import BandTags
    from tilejit.formats.source import Source
    from tilejit.grid import Grid
    from tilejit.window import Window


@dataclass(frozen=True, eq=False)
class ScaledSource:
    """The values of a source: float32 of integers up to 16 bits, float64 of wider ones, rounded once.

    Nodata is compared with the stored counts, and becomes NaN.

    Example:
        >>> from tilejit.formats.source import ArraySource
        >>> from tilejit.window import Window
        >>> counts = ArraySource.of(np.array([[2000, -1]], np.int16), nodata=-1)
        >>> band = replace(counts.bands[0], scale=1e-4, offset=-0.1)
        >>> out = np.empty((1, 1, 2), np.float32)
        >>> ScaledSource(replace(counts, bands=(band,))).read((1,), Window(0, 0, 1, 2), out)
        >>> out.tolist()
        [[[0.10000000149011612, nan]]]
    """

    counts: Source
    """What is stored."""

    @cached_property
    def name(self) -> str:
        """The path."""
        return self.counts.name

    @cached_property
    def grid(self) -> Grid:
        """Where its cells lie."""
        return self.counts.grid

    @cached_property
    def bands(self) -> tuple[BandInfo, ...]:
        """All its bands: floats, of which NaN is without data; those that have no scale are what they were."""
        return tuple(_values_of(band) if band.is_scaled else band for band in self.counts.bands)

    @cached_property
    def block(self) -> tuple[int, int]:
        """Rows and columns of its storage blocks."""
        return self.counts.block

    @cached_property
    def storage(self) -> SourceStorage:
        """How it is stored, with what its file says and holds of values too."""
        stored = storage_of(self.counts)
        pairs = zip(stored.tags.bands, self.counts.bands, strict=False)  # a source may say nothing of its bands
        bands = tuple(_tags_of_values(tags) if band.is_scaled else tags for tags, band in pairs)
        scales = tuple((band.scale, band.offset) for band in self.counts.bands)
        return replace(stored, scales=scales, tags=replace(stored.tags, bands=bands))

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
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
    return replace(tags, tags=tags.without_statistics(), scale=1.0, offset=0.0, table=None)


def _apply(cells: NDArray[Any], scale: float, offset: float) -> None:
    """Turn counts into values: in float64, so that they are rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in chunks(cells):
            values = np.multiply(cells[rows], scale, dtype=np.float64)
            values += offset
            cells[rows] = values

"""A source without the cells outside of polygons, or inside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.cells import nodata_key
from tilejit.formats.source import blank_of, check_request, kept_blocks, make_ready, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilejit.engine.polygons import PolygonZones
    from tilejit.formats.source import BandInfo, Source, SourceStorage
    from tilejit.grid import Grid
    from tilejit.window import Window

    Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class MaskedSource:
    """The cells of a source that lie in polygons; others hold no data."""

    source: Source  # what is masked
    zones: PolygonZones
    invert: bool  # whether cells in polygons are those without data
    label: str  # what a plan says of the polygons
    bands: tuple[BandInfo, ...]
    storage: SourceStorage

    @classmethod
    def of(cls, source: Source, zones: PolygonZones, *, invert: bool, label: str) -> MaskedSource:
        """Makes it; nothing is read."""
        told = storage_of(source)
        digest = hashlib.sha256(b"".join(part.tobytes() for part in (zones.points, zones.firsts, zones.cells)))
        made = replace(
            told,
            reader=f"masked by {label}, {told.reader}",
            identity=f"{told.identity} {'outside' if invert else 'inside'} {digest.hexdigest()}",
            tags=replace(told.tags, bands=tuple(tags.without_statistics() for tags in told.tags.bands)),
        )
        return cls(source, zones, invert, label, tuple(map(_masked_band, source.bands)), made)

    @property
    def name(self) -> str:
        """What messages call it: the source's."""
        return self.source.name

    @property
    def grid(self) -> Grid:
        """Where its cells lie."""
        return self.source.grid

    @property
    def block(self) -> tuple[int, int]:
        """The source's."""
        return self.source.block

    @property
    def made_of(self) -> tuple[Source, Callable[[Source], Source]]:
        """See `tilejit.formats.source.made_of`."""
        return self.source, partial(MaskedSource.of, zones=self.zones, invert=self.invert, label=self.label)

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Source]]:
        source, make = self.made_of
        return make, (source,)

    def read(self, bands: tuple[int, ...], window: Window, out: Array, valid: Array | None = None) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        outside = self._outside(window)
        if not outside.all():
            self.source.read(bands, window, out, valid)
        for k, band in enumerate(bands):
            out[k][outside] = blank_of(self.bands[band - 1], out.dtype)
            if valid is not None:
                valid[k][outside] = 0

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run; see `make_ready`."""
        for function, types in self.zones.functions():
            function.load(types)
        make_ready(self.source, threads, blocks or threads * kept_blocks(storage_of(self.source)))

    def close(self) -> None:
        """Let go of the file."""
        self.source.close()

    def _outside(self, window: Window) -> NDArray[np.bool_]:
        """Which cells of a window hold no data."""
        runs = self.zones.runs(window)
        # A polygon that holds no centre has shares of cells in a table; here it has none.
        whole = ~self.zones.by_share[runs.zones[runs.slots]] if self.zones.is_weighted else slice(None)
        steps = np.zeros((window.height, window.width + 1), np.int32)
        np.add.at(steps, (runs.rows[whole], runs.starts[whole]), 1)
        np.add.at(steps, (runs.rows[whole], runs.stops[whole]), -1)
        inside = np.cumsum(steps[:, :-1], axis=1, dtype=np.int32) > 0
        return (inside if self.invert else ~inside)[self.grid.facing]


def _masked_band(band: BandInfo) -> BandInfo:
    """What is known of it then: integers without a nodata value have a mask."""
    is_apart = band.dtype.kind != "f" and nodata_key(band.dtype, band.nodata) is None
    return replace(band, has_mask=band.has_mask or is_apart)

"""What the passes of an iteration are asked for: copies of its inputs in tiles on the disk, and then sweeps over those.

A sweep reads the tiles of the state, applies the kernel and writes them to their other place; see `TileStore`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, prod
from typing import TYPE_CHECKING

from tilejit.backends import SettlingBackend, get_backend
from tilejit.engine.changes import Changes
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import Iteration, Reduced, ResultBand, SourceBand
from tilejit.engine.planning.steps import Value
from tilejit.formats.sink import Storage
from tilejit.formats.source import BandInfo
from tilejit.formats.tile_store import TileStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tilejit.compiler.form.parameters import RasterParameter
    from tilejit.engine.planning.steps import Write

TILE = (512, 512)
"""Rows and columns of a tile that is computed again or left out."""


@dataclass(frozen=True, eq=False, slots=True)
class Repeat(Value):
    """How a pass is repeated: until no cell changes, and each time only tiles that may change."""

    limit: int
    """How often at most."""
    scratch_bytes: int
    """The most that its tiles take of the disk, until the run ends."""
    folder: str
    """Where they lie."""


def tile_of(iteration: Iteration, asked: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the tiles of an iteration."""
    rows, cols = (min(side, size) for side, size in zip(asked or TILE, iteration.grid.shape, strict=True))
    return rows, cols


def all_tiles(shape: tuple[int, int], tile: tuple[int, int]) -> bytes:
    """A plan's `active` for all tiles."""
    return b"\1" * prod(ceil(size / side) for size, side in zip(shape, tile, strict=True))


def copies(iteration: Iteration, tile: tuple[int, int]) -> list[Request]:
    """The requests for what an iteration begins with, and for what stays the same, in tiles."""

    def storage(_: np.dtype) -> Storage:
        return Storage(block=tile)

    info, pairs = iteration.bands[0], zip(iteration.application.inputs, _takers(iteration), strict=True)
    taken = [band.for_kernel(raster.dtype) if isinstance(band, SourceBand) else band for band, raster in pairs]
    state, *constants = (Request((band,), storage=storage, is_scratch=True) for band in taken)
    return [replace(state, dtype=info.dtype, nodata=info.nodata), *constants]


def _takers(iteration: Iteration) -> list[RasterParameter]:
    """The parameter that each of its inputs is for; a stack takes several."""
    application = iteration.application
    return [r for r, port in zip(application.kernel.rasters, application.ports, strict=True) for _ in port]


def stores_of(iteration: Iteration, writes: Sequence[Write]) -> list[TileStore]:
    """What reads the tiles that `copies` are written to, the state first, as files by names without a folder."""
    kernel, unit = iteration.application.kernel, iteration.application.inputs[0].unit
    infos = [
        BandInfo(1, write.dtype, None if write.dtype.kind == "f" else write.nodata, unit=None if number else unit)
        for number, write in enumerate(writes)
    ]
    return [
        TileStore(str(number), f"{raster.name} of {kernel.name}", iteration.grid, (info,), write.block)
        for number, (raster, info, write) in enumerate(zip(_takers(iteration), infos, writes, strict=True))
    ]


def sweep(iteration: Iteration, writes: Sequence[Write]) -> list[Request]:
    """The requests for one sweep, over the tiles that `copies` are written to: new cells, and which have changed."""
    stores, tile = stores_of(iteration, writes), writes[0].block
    left = iter(stores)
    ports = tuple(tuple(SourceBand(s, s.bands[0]) for s in islice(left, len(p))) for p in iteration.application.ports)
    result = ResultBand(replace(iteration.application, ports=ports), 0)
    # A source of its own: what the kernel reads may be written over while it is computed.
    both = (SourceBand(replace(stores[0]), stores[0].bands[0]), result)
    changes = Reduced(iteration.grid, both, Changes(iteration.grid.flips))
    state = Request((result,), nodata=iteration.bands[0].nodata, storage=lambda _: Storage(block=tile), is_scratch=True)
    return [state, Request(both, reduced=changes)]


def scans_of(iteration: Iteration, backend: str) -> int:
    """How often a tile may be gone over in place: not at all where that may come to another end, or cannot be done."""
    return iteration.limit if iteration.monotone and isinstance(get_backend(backend), SettlingBackend) else 0


def repeat_of(iteration: Iteration, writes: Sequence[Write], folder: str) -> Repeat:
    """How sweeps are repeated; the state has two places for each tile."""
    cells = prod(iteration.grid.shape)
    size = cells * (writes[0].dtype.itemsize + sum(write.dtype.itemsize for write in writes))
    return Repeat(iteration.limit, size, folder)

"""A plan: how a job runs, as a value that is made without touching a pixel."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise, product
from math import ceil, isnan, prod
from typing import TYPE_CHECKING, Any

from tilejit.engine.partials import CountsPartial, Partial
from tilejit.formats.sink import WRITTEN_DIRECTLY
from tilejit.text import printable
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from tilejit.compiler.signature import Signature
    from tilejit.formats.source import Decoding
    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Edge

Index = tuple[int, int]
"""A tile's row and column among tiles."""

Halo = tuple[int, int]
"""Rows above and below, columns left and right, that are needed beyond a tile."""

BASE_BYTES = 260_000_000
"""What a process holds before any buffer: Python, NumPy, Numba, GDAL (190-210 MB, measured), LLVM compiling (45 MB)."""
COMPILER_BYTES = 160_000_000
"""What of these Numba and LLVM take: a process that copies, and compiles nothing, holds 86 MB (measured)."""
GDAL_BYTES = 14_000_000
"""GDAL's block cache (8 MB), and what its drivers hold for each file."""
_DIRECT_BLOCKS, _GDAL_BLOCKS = 5, 3
PANEL_BYTES = 35_000_000
"""What a row of tiles that waits for the row below may take before a raster is computed in panels of columns: that of
16384 columns of float32 just fits."""
TILES_IN_HAND = 2
"""Tiles that a receiver holds: one, and the next before it lets go of that. One more waits for each worker."""
SEAM_SHARE = 0.02
"""The most of a raster that panels may decode a second time: the column of blocks to the right of a seam."""


class _Value:
    """What equals another of the same parts; NaN is a part like any other, also where it was pickled."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Any, ...]:
        return tuple(_comparable(getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]


def _comparable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return "nan" if isinstance(value, float) and isnan(value) else value


@dataclass(frozen=True, eq=False, slots=True)
class Read(_Value):
    """Bands that are read together from one source."""

    source: str
    """The file."""
    bands: tuple[int, ...]
    """Band numbers, from 1."""
    dtype: np.dtype
    """What they are read as."""
    halo: Halo
    """What is needed beyond the tile."""
    edge: Edge
    """What lies outside the raster."""
    valid: bool
    """Whether validity is read beside integers."""
    block: tuple[int, int]
    """The file's storage block."""
    block_bytes: int
    """Bytes that decoding one block takes."""
    stored_bytes: int | None
    """The file's size."""
    reader: str
    """How it is read, and why."""
    decoding: Decoding | None = None
    """What decoding takes where workers share decoded blocks; None where each decodes for itself."""
    scales: tuple[tuple[float, float], ...] = ()
    """What the stored cells of each band are multiplied by, and what is added then; empty where they are taken as they
    are."""

    @property
    def cell_bytes(self) -> int:
        """Bytes that one cell of all its bands takes in memory."""
        return len(self.bands) * (self.dtype.itemsize + self.valid)


@dataclass(frozen=True, eq=False, slots=True)
class Operand(_Value):
    """An input of a step: a plane, as the kernel wants it."""

    plane: int
    """The plane's number."""
    dtype: np.dtype
    """The dtype of the array that is passed."""
    halo: Halo
    """The halo of the array that is passed."""
    valid: bool
    """Whether its validity is passed too."""
    direct: bool
    """Whether the plane is passed as it is; otherwise it is cropped or converted first."""


@dataclass(frozen=True, eq=False, slots=True)
class Plane(_Value):
    """One band of cells over a tile and a halo, while the tile is computed."""

    label: str
    """Where it comes from."""
    dtype: np.dtype
    """Its dtype."""
    halo: Halo
    """What it covers beyond the tile."""
    edge: Edge
    """What lies outside the raster."""
    nodata: float | None
    """The value of invalid cells; None where validity is apart or nothing is invalid."""
    turned: bool = False
    """Whether kernels see it turned around: it is read, and its rows or columns do not run south and east."""


@dataclass(frozen=True, eq=False, slots=True)
class Step(_Value):
    """One launch: planes in, planes out."""

    kernel: str
    """``module:name`` of the kernel."""
    operands: tuple[Operand, ...]
    """Its inputs."""
    results: tuple[int, ...]
    """The planes that it makes."""
    nodata: tuple[float, ...]
    """The nodata value of each result."""
    signature: Signature
    """What it is compiled for."""
    halo: Halo
    """What it computes beyond the tile, for the steps after it."""
    radius: Halo
    """How far it reads."""
    heights: str = ""
    """The unit that it takes heights to have, and why; empty where it does not ask."""


@dataclass(frozen=True, eq=False, slots=True)
class Write(_Value):
    """One output."""

    path: str
    """The file, or empty for an array."""
    planes: tuple[int, ...]
    """The plane of each band."""
    dtype: np.dtype
    """What is stored."""
    nodata: float | None
    """The nodata value that is written; None where every cell holds data."""
    options: Mapping[str, str]
    """GDAL's creation options."""
    block: tuple[int, int] = (1, 1)
    """The file's storage block."""
    writer: str = ""
    """What writes it, and why; empty for an array."""
    handed_over: bool = False
    """Whether each tile goes to a receiver when it is computed, instead of into an array."""
    held: int = 0
    """Bytes that each writer holds until there are enough for a file."""
    shared: bool = True
    """Whether it can be written by several processes, and by one after the other."""
    notes: tuple[str, ...] = ()
    """What of the inputs' georeferencing it keeps elsewhere, or does not keep."""
    is_tagged: bool = True
    """Whether it says which value is nodata."""

    @property
    def tag(self) -> float | None:
        """The nodata value that it says it has."""
        return self.nodata if self.is_tagged else None

    @property
    def is_unmarked(self) -> bool:
        """Whether cells without data hold a value that could be another cell's own."""
        return not self.is_tagged and self.nodata is not None and not isnan(self.nodata)

    @property
    def block_bytes(self) -> int:
        """Bytes that are encoded together with a block; none of an array."""
        together = len(self.planes) if self.options.get("INTERLEAVE", "PIXEL").upper() == "PIXEL" else 1
        return together * self.dtype.itemsize * self.block[0] * self.block[1] if self.path else 0

    def encoding_bytes(self, workers: int) -> int:
        """Bytes that encoding takes.

        A worker that writes blocks directly holds one as cut out, with its predictor applied, encoded, and in the
        encoder's room for the worst: measured with random floats in blocks of 17 and 50 MB, 3.1 to 4.1 of them. GDAL's
        threads hold three each, and one more thread's worth waits for them: measured with blocks of 17 MB, beyond the
        buffers and the process, 157 MB on two threads and 481 MB on eight.
        """
        held = (workers + 1) * self.held
        if self.writer.endswith(WRITTEN_DIRECTLY):
            return held + _DIRECT_BLOCKS * workers * self.block_bytes
        return held + _GDAL_BLOCKS * (workers + 1) * self.block_bytes

    def raw_bytes(self, window: Window) -> int:
        """Bytes before compression."""
        return len(self.planes) * self.dtype.itemsize * window.height * window.width


@dataclass(frozen=True, eq=False, slots=True)
class Plan(_Value):
    """How a job runs. Made without reading a pixel; prints, compares, and can be refused."""

    grid: Grid
    """Where the cells lie."""
    window: Window
    """The part that is computed: the whole grid, unless a window is read."""
    tile: tuple[int, int]
    """Rows and columns of a task."""
    reads: tuple[Read, ...]
    """What is read."""
    planes: tuple[Plane, ...]
    """The planes: those of the reads first, in order, then those of the steps."""
    steps: tuple[Step, ...]
    """What is computed, in order."""
    writes: tuple[Write, ...]
    """What is written."""
    backend: str
    """What computes."""
    reason: str
    """Why it is this backend."""
    workers: int
    """Threads."""
    memory_limit: int | None
    """The memory given, in bytes."""
    executor: str = "threads"
    """What runs the tasks: threads of this process, or workers elsewhere that get parts of the window."""
    processes: int = 1
    """Worker processes on this machine; each has as many threads as there are workers."""
    partials: tuple[Partial, ...] = (CountsPartial(),)
    """What tiles are reduced to."""
    is_shared: bool = True
    """Whether blocks that tiles cut are held until all their tiles have them; otherwise each tile decodes them."""

    def tasks(self) -> Iterator[tuple[Index, Window]]:
        """Yields what is computed: panel by panel, in each group by group, row by row."""
        (rows, cols), wide = self.task_shape, self.panel_tiles
        for first in range(0, cols, wide):
            for down, across in product(self._groups(0, 0, rows), self._groups(1, first, min(first + wide, cols))):
                for row, col in product(down, across):
                    yield (row, col), self.tiles_window(row, row + 1, col, col + 1)

    def _groups(self, axis: int, start: int, end: int) -> list[range]:
        """Rows or columns of tiles, cut where groups end; these lie on the grid's own lines, as tiles do."""
        size = self.group[axis]
        before = (self.window.row_off, self.window.col_off)[axis] // self.tile[axis] % size
        edges = [start, *range(start + size - (start + before) % size, end, size), end]
        return [range(a, b) for a, b in pairwise(edges)]

    @property
    def group(self) -> tuple[int, int]:
        """Rows and columns of tiles that come one after the other, because they cut the same blocks."""
        files = [r for r in self.reads if r.block_bytes]
        down, across = (
            max((ceil(min(r.block[k], self.grid.shape[k]) / self.tile[k]) for r in files), default=1) for k in (0, 1)
        )
        return down, across

    def panel(self, index: Index) -> Window:
        """Returns the window of the panel that a tile belongs to; its tiles hand each other their halos."""
        first = index[1] // self.panel_tiles * self.panel_tiles
        return self.tiles_window(0, self.task_shape[0], first, first + self.panel_tiles)

    def tiles_window(self, row: int, row_end: int, col: int, col_end: int) -> Window:
        """Returns the window of some rows and columns of tiles, which lie on the grid's own tile lines."""
        rows, cols = self.tile
        first_row, first_col = self.window.row_off // rows, self.window.col_off // cols
        height, width = (row_end - row) * rows, (col_end - col) * cols
        window = Window((first_row + row) * rows, (first_col + col) * cols, height, width)
        return window.intersection(self.window)

    @property
    def panel_tiles(self) -> int:
        """Columns of tiles in a panel: all of them, but where a row of tiles would take much memory while it waits.

        Memory then does not grow with the raster's width, for the price of decoding the blocks at the seams twice.
        """
        cols = self.task_shape[1]
        waiting = self._reach_down * cols * self.frame_bytes
        wanted = ceil(waiting / PANEL_BYTES)
        seam = max((r.block[1] for r in self.reads if r.block_bytes), default=0)
        most = 1 + int(SEAM_SHARE * self.window.width / seam) if seam else wanted
        across = self.group[1]
        return min(cols, ceil(cols / max(1, min(wanted, most)) / across) * across)

    @property
    def task_shape(self) -> tuple[int, int]:
        """Rows and columns of tasks."""
        rows, cols = self.tile
        return (
            ceil(self.window.row_end / rows) - self.window.row_off // rows,
            ceil(self.window.col_end / cols) - self.window.col_off // cols,
        )

    @property
    def largest_task(self) -> tuple[int, int]:
        """Rows and columns of the largest window that is computed at once: a tile, or less of a small raster."""
        return min(self.tile[0], self.window.height), min(self.tile[1], self.window.width)

    @property
    def task_count(self) -> int:
        """How many tasks there are."""
        rows, cols = self.task_shape
        return rows * cols

    @property
    def halo(self) -> Halo:
        """The largest halo of the reads."""
        return (max((r.halo[0] for r in self.reads), default=0), max((r.halo[1] for r in self.reads), default=0))

    @property
    def exchanges(self) -> bool:
        """Whether neighbouring tiles hand each other halo cells, so that each block is decoded once."""
        return self.halo != (0, 0)

    @property
    def has_seams(self) -> bool:
        """Whether halo cells inside the raster belong to no tile of the same panel, and are read on their own."""
        return self.exchanges and (self.window.shape != self.grid.shape or self.panel_tiles < self.task_shape[1])

    @property
    def _reach_down(self) -> int:
        return min(ceil(self.halo[0] / self.tile[0]), self.task_shape[0] - 1)

    @property
    def reach(self) -> tuple[int, int]:
        """How many tiles away, down and across, halo cells come from; no further than there are tiles in a panel."""
        return self._reach_down, min(ceil(self.halo[1] / self.tile[1]), self.panel_tiles - 1)

    @property
    def frames(self) -> int:
        """How many tiles' inputs are held at once."""
        if not self.exchanges:
            return min(self.workers, self.task_count)
        return min(self._waiting + 2 * self.workers, self.task_count)

    @property
    def _waiting(self) -> int:
        """The most tiles that wait for halo cells of tiles that come later."""
        (down, across), (rows, cols), wide = self.reach, self.group, self.panel_tiles
        if rows == 1 or cols >= wide:
            return down * wide + across + 1
        # Below the groups that are done; to the right of the last one, and of what is done of this one; and in it.
        return down * (wide + across) + across * (rows + down + 1) + down * cols + across + 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one tile's inputs."""
        return sum(r.cell_bytes * _cells(self.largest_task, r.halo) for r in self.reads)

    @property
    def is_chain(self) -> bool:
        """Whether a step takes what another one makes."""
        made = {p for step in self.steps for p in step.results}
        return any(o.plane in made for step in self.steps for o in step.operands)

    @property
    def nodata_values(self) -> list[float | None]:
        """The nodata values of the outputs, and those of integers that kernels make."""
        made = [value for step in self.steps for value in step.nodata if not isnan(value)]
        return [*(write.nodata for write in self.writes), *made]

    def written_directly(self) -> dict[int, tuple[int, int]]:
        """Returns the results that kernels write straight into an output: plane -> number of the write, band.

        There are none where rows or columns are turned around for kernels.
        """
        if any(self.grid.flips):
            return {}
        places: dict[int, tuple[int, int]] = {}
        made = {p for step in self.steps for p in step.results}
        for w, write in enumerate(self.writes):
            for b, number in enumerate(write.planes):
                plane = self.planes[number]
                both_nan = plane.dtype.kind == "f" and write.nodata is not None and isnan(write.nodata)
                same = plane.dtype == write.dtype and plane.halo == (0, 0)
                if number in made and same and (both_nan or plane.nodata == write.nodata):
                    places.setdefault(number, (w, b))
        return places

    @property
    def worker_bytes(self) -> int:
        """Bytes of the buffers that one worker computes in."""
        direct, task = self.written_directly(), self.largest_task
        total = 0
        for step in self.steps:
            apart = [p for p in step.results if p not in direct]
            total += sum(self.planes[p].dtype.itemsize * _cells(task, step.halo) for p in apart)
            copies = [o for o in step.operands if not o.direct]
            total += sum((o.dtype.itemsize + o.valid) * _cells(task, o.halo) for o in copies)
        return total + sum(w.raw_bytes(Window(0, 0, *task)) for w in self.writes)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers."""
        return self.frames * self.frame_bytes + self.workers * self.worker_bytes + self.seam_bytes

    @property
    def seam_bytes(self) -> int:
        """Bytes of the columns that panels leave to the next: of one seam, for they are let go of as they are taken."""
        seams = self.panel_tiles < self.task_shape[1]
        return sum(r.cell_bytes * r.halo[1] for r in self.reads) * self.window.height if seams else 0

    def cuts(self, read: Read) -> bool:
        """Whether tiles cut the blocks of a read."""
        sizes = zip(self.tile, read.block, self.grid.shape, strict=True)
        return bool(read.block_bytes) and any(tile % block and tile < size for tile, block, size in sizes)

    def shares(self, read: Read) -> bool:
        """Whether each block of a read is decoded once, though tiles may cut it."""
        if not self.cuts(read):
            return True
        # A tile that lies in two rows of blocks takes some of the lower one, which is gone when its own turn comes.
        sizes = zip(self.tile, read.block, self.grid.shape, strict=True)
        fits = [not tile % block or not block % tile or block >= size for tile, block, size in sizes]
        is_wide = read.block[1] >= self.grid.width
        return read.decoding is not None and self.is_shared and (all(fits) or is_wide)

    def blocks_held(self, read: Read) -> int:
        """How many decoded blocks of a read, or runs of small ones, its workers hold."""
        if read.decoding is None or not self.is_shared or not self.cuts(read):
            return self._decoders(read)
        row = self.largest_task[0], self.largest_task[1] * self.group[1]
        planes = len(read.bands) if read.decoding.is_apart else 1
        touched = planes * prod(map(_touched, row, self._run(read), self.grid.shape))
        return min(touched * self.groups_read, self._blocks(read))

    def _decoders(self, read: Read) -> int:
        """How many workers decode blocks of a read at the same time."""
        return min(self.workers, self.task_count, self._blocks(read))

    def _blocks(self, read: Read) -> int:
        """How many blocks of a read there are, or runs of small ones."""
        planes = len(read.bands) if read.decoding is not None and read.decoding.is_apart else 1
        return planes * prod(map(_touched, self.grid.shape, self._run(read), self.grid.shape))

    def _run(self, read: Read) -> tuple[int, int]:
        """Rows and columns that a worker decodes together, for a tile."""
        if read.decoding is None:
            return read.block
        parts = zip(read.decoding.run, self.largest_task, read.block, strict=True)
        rows, cols = (min(run, ceil(tile / block) * block) for run, tile, block in parts)
        return rows, cols

    @property
    def groups_read(self) -> int:
        """How many groups of tiles are read at the same time: as many as one tile for each worker can be of."""
        workers = min(self.workers, self.task_count)
        return min(workers, 1 + ceil((workers - 1) / prod(self.group)))

    def group_of(self, index: Index) -> Index:
        """Returns the row and column of a tile's group among groups."""
        (rows, cols), first = self.group, (self.window.row_off // self.tile[0], self.window.col_off // self.tile[1])
        return (first[0] + index[0]) // rows, (first[1] + index[1]) // cols

    def decoding_bytes_of(self, read: Read) -> int:
        """Bytes that the workers take to decode blocks of a read."""
        decoding, held = read.decoding, self.blocks_held(read)
        if decoding is None:
            return min(self.workers, self.task_count) * read.block_bytes
        rows, cols = self._run(read)
        if decoding.by_rows:
            rows = min(rows, self.largest_task[0] + 2 * read.halo[0])
        share = rows * cols / prod(decoding.run)
        return ceil(share * (self._decoders(read) * decoding.thread_bytes + held * decoding.run_bytes))

    @property
    def memory(self) -> int:
        """The most memory that the process takes, or all of them together, in bytes."""
        working = self.fixed_bytes + self.buffer_bytes + self.decoding_bytes + self.encoding_bytes
        leading = self.fixed_bytes if self.is_distributed else 0
        return self.processes * working + leading + self.array_bytes

    @property
    def is_distributed(self) -> bool:
        """Whether other processes compute."""
        return self.executor not in {"threads", "serial"}

    @property
    def decoding_bytes(self) -> int:
        """Bytes that the workers take to decode blocks of each file."""
        return sum(map(self.decoding_bytes_of, self.reads))

    @property
    def encoding_bytes(self) -> int:
        """Bytes of the blocks that are being encoded, and of what comes of them."""
        return sum(w.encoding_bytes(self.workers) for w in self.writes)

    @property
    def array_bytes(self) -> int:
        """Bytes of the outputs that stay in memory, and of tiles that wait for their receiver or are in its hands."""
        tiles = Window(0, 0, (self.workers + TILES_IN_HAND) * self.largest_task[0], self.largest_task[1])
        return sum(w.raw_bytes(tiles if w.handed_over else self.window) for w in self.writes if not w.path)

    @property
    def fixed_bytes(self) -> int:
        """Bytes that the process takes whatever the raster."""
        return BASE_BYTES + GDAL_BYTES - (0 if self.compiles else COMPILER_BYTES)

    @property
    def compiles(self) -> bool:
        """Whether a process may have to compile something: a kernel, a predictor, LZW."""
        read = any(r.decoding is not None and r.decoding.is_compiled for r in self.reads)
        written = any(w.options.get("PREDICTOR", "1") != "1" for w in self.writes)
        return bool(self.steps) or read or written

    @property
    def source_bytes(self) -> int:
        """Bytes of the cells that the job needs, as they are in memory: each once, however many forms it takes."""
        sizes: dict[tuple[str | int, int], int] = {}
        for number, read in enumerate(self.reads):
            for band in read.bands:
                # Arrays share a name, and nothing of them is decoded.
                key = read.source if read.block_bytes else number, band
                sizes[key] = max(sizes.get(key, 0), read.dtype.itemsize)
        return sum(sizes.values()) * self.window.height * self.window.width

    @property
    def output_bytes(self) -> int:
        """Bytes of the outputs before compression."""
        return sum(w.raw_bytes(self.window) for w in self.writes)

    def __str__(self) -> str:
        from tilejit.engine.planning.plan_text import plan_text

        return printable(plan_text(self))


def _touched(tile: int, block: int, extent: int) -> int:
    """The most blocks that a tile lies in along one axis."""
    return min(ceil(tile / block) + bool(tile % block and block % tile), ceil(extent / block))


def _cells(tile: tuple[int, int], halo: Halo) -> int:
    return (tile[0] + 2 * halo[0]) * (tile[1] + 2 * halo[1])

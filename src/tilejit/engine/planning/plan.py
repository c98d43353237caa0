"""A plan: how a job runs, as a value that is made without touching a pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, isnan, prod
from typing import TYPE_CHECKING, cast

from tilejit.engine.partials import CountsPartial, Partial
from tilejit.engine.planning.tiles import Tiling, cells_of
from tilejit.errors import printable
from tilejit.sizes import counted, format_size
from tilejit.window import Window

if TYPE_CHECKING:
    from tilejit.compiler.jit.native_function import Compiler
    from tilejit.engine.planning.iterations import Repeat
    from tilejit.engine.planning.steps import Plane, Read, Reduce, Step, Write
    from tilejit.engine.reductions import Reduction
    from tilejit.grid import Grid

_BODY_ARRAYS = 6
"""Arrays of a tile that a body of arrays is taken to hold at once: its copies, what it makes of them, its result."""
_STORED, _WAYS = ("rows", "columns"), ("from south to north", "from east to west")
BASE_BYTES = 100_000_000
"""What a process holds before any buffer: Python, NumPy, GDAL (86 MB, measured)."""
LOADER_BYTES = 40_000_000
"""What LLVM takes that loads machine code (38 MB, measured)."""
COMPILER_BYTES = 65_000_000
"""What LLVM takes that compiles in this process (51 to 55 MB, measured)."""
NUMBA_BYTES = 100_000_000
"""What Numba takes beside, which compiles for a GPU."""
APART_BYTES = 75_000_000
"""What a process of its own takes that compiles, beside what both have in common (63 MB, measured)."""
GDAL_BYTES = 14_000_000
"""GDAL's block cache (8 MB), and what its drivers hold for each file."""
TILES_IN_HAND = 2
"""Tiles that a receiver holds: one, and the next before it lets go of that. One more waits for each worker."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Plan(Tiling):
    """How a job runs. Made without reading a pixel; prints, compares, and can be refused."""

    planes: tuple[Plane, ...]
    """The planes: those of the reads first, in order, then those of the steps."""
    steps: tuple[Step, ...]
    """What is computed, in order."""
    writes: tuple[Write, ...]
    """What is written."""
    reduces: tuple[Reduce, ...] = ()
    """What is reduced."""
    partials: tuple[Partial, ...] = (CountsPartial(),)
    """What tiles are reduced to: the counts of pixels, and what is made of each of `reduces`."""
    earlier: tuple[Plan, ...] = ()
    """The passes before this one, whose results its kernels take."""
    repeat: Repeat | None = None
    """How often it is run, where that is more than once."""
    backend: str
    """What computes."""
    reason: str
    """Why it is this backend."""
    memory_limit: int | None
    """The memory given, in bytes."""
    executor: str = "threads"
    """What computes the tiles: threads of this process, or workers elsewhere that get parts of the window."""
    compiler: Compiler = ""
    """Where kernels and codecs are compiled; see `tilejit.compiler.jit.native_function.compiler_of`."""
    processes: int = 1
    """Worker processes on this machine; each has as many threads as there are workers."""

    @property
    def is_chain(self) -> bool:
        """Whether a step takes what another one makes."""
        made = {p for step in self.steps for p in step.made}
        return any(not made.isdisjoint(o.planes) for step in self.steps for o in step.operands)

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
        made = {p for step in self.steps for p in step.made}
        for w, write in enumerate(self.writes):
            for b, number in enumerate(write.planes):
                plane = self.planes[number]
                both_nan = plane.dtype.kind == "f" and write.nodata is not None and isnan(write.nodata)
                same = plane.dtype == write.dtype and plane.halo == (0, 0)
                if number in made and same and (both_nan or plane.nodata == write.nodata):
                    places.setdefault(number, (w, b))
        for planes in (planes for step in self.steps for planes in step.results):
            first = places.get(planes[0], (0, 0))
            if any(places.get(plane) != (first[0], first[1] + k) for k, plane in enumerate(planes)):
                places = {plane: place for plane, place in places.items() if plane not in planes}
        return places

    @property
    def worker_bytes(self) -> int:
        """Bytes of the buffers that one worker computes in."""
        direct, tile = self.written_directly(), self.largest_tile
        total = 0
        for step in self.steps:
            apart = [p for p in step.made if p not in direct]
            total += sum(self.planes[p].dtype.itemsize * cells_of(tile, step.halo) for p in apart)
            copies = [o for o in step.operands if not o.direct]
            total += sum(o.cell_bytes * cells_of(tile, o.halo) for o in copies)
        arrays = (cells_of(tile, step.operands[0].halo) * step.signature.compute.itemsize for step in self.steps
                  if step.takes_arrays)  # fmt: skip
        total += _BODY_ARRAYS * max(arrays, default=0)
        total += max((fixed + each * tile[1] for fixed, each in (step.scratch for step in self.steps)), default=0)
        reducing = (p.cell_bytes * cells_of(tile, (0, 0)) + 2 * p.state_bytes for p in self.reductions)
        return total + sum(w.raw_bytes(Window(0, 0, *tile)) for w in self.writes) + sum(reducing)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers."""
        return self.tile_buffers * self.tile_buffer_bytes + self.workers * self.worker_bytes + self.boundary_bytes

    @property
    def boundary_bytes(self) -> int:
        """Bytes of the columns that panels leave to the next: of one boundary, for each is let go of when taken."""
        has_panels = self.exchanges and self.panel_tiles < self.tile_counts[1]
        strips = sum(count * r.cell_bytes * r.halo[1] for r, count in self.alike)
        return strips * self.window.height if has_panels else 0

    def _decoding_of(self, read: Read) -> tuple[int, int]:
        """Bytes that decoding blocks of a read takes for itself, and those that other reads take after it."""
        decoding, held = read.decoding, self.blocks_held(read)
        if decoding is None:
            return min(self.workers, self.tile_count) * read.block_bytes, 0
        rows, cols = self.run_of(read)
        if decoding.by_rows:
            rows = min(rows, self.largest_tile[0] + 2 * read.halo[0])
        share = rows * cols / prod(decoding.run)
        blocks, threads = (
            ceil(share * held * decoding.run_bytes),
            ceil(share * self.decoders(read) * decoding.thread_bytes),
        )
        return (blocks, threads) if self.keeps(read) else (0, blocks + threads)

    @property
    def memory(self) -> int:
        """The most memory that the process takes, or all of them together, in bytes.

        Where code is compiled in a process of its own, that has ended before there are buffers.
        """
        buffers = self.buffer_bytes + self.decoding_bytes + self.encoding_bytes
        working = self.fixed_bytes + max(buffers, self.compiling_bytes)
        leading = self.fixed_bytes if self.is_distributed else 0
        return self.processes * working + leading + self.array_bytes

    @property
    def is_distributed(self) -> bool:
        """Whether other processes compute."""
        return self.executor not in {"threads", "serial"}

    @property
    def decoding_bytes(self) -> int:
        """Bytes that the workers take to decode blocks: a thread decodes for one read after the other."""
        found = [(count, *self._decoding_of(read)) for read, count in self.alike]
        return sum(count * own for count, own, _ in found) + max((passing for *_, passing in found), default=0)

    @property
    def encoding_bytes(self) -> int:
        """Bytes of the blocks that are being encoded, and of what comes of them."""
        return sum(w.encoding_bytes(self.workers) for w in self.writes)

    @property
    def array_bytes(self) -> int:
        """Bytes of the outputs that stay in memory, and of tiles that wait for their receiver or are in its hands."""
        tiles = Window(0, 0, (self.workers + TILES_IN_HAND) * self.largest_tile[0], self.largest_tile[1])
        return sum(
            w.raw_bytes(tiles if w.handed_over else self.window) for w in self.writes if not (w.path or w.is_scratch)
        )

    @property
    def fixed_bytes(self) -> int:
        """Bytes that the process takes whatever the raster."""
        code = {"": 0, "ready": LOADER_BYTES, "apart": LOADER_BYTES, "here": COMPILER_BYTES}
        return BASE_BYTES + GDAL_BYTES + code[self.compiler] + NUMBA_BYTES * self.imports_numba

    @property
    def imports_numba(self) -> bool:
        """Whether Numba compiles: for a GPU."""
        return self.compiler == "here" and self.backend == "cuda"

    @property
    def compiling_bytes(self) -> int:
        """Bytes that the process takes that compiles, before there are buffers."""
        return APART_BYTES if self.compiler == "apart" else 0

    @property
    def output_bytes(self) -> int:
        """Bytes of the outputs before compression."""
        return sum(w.raw_bytes(self.window) for w in self.writes)

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """What `reduces` are reduced by: its partials after the counts."""
        return cast("tuple[Reduction, ...]", self.partials[1:])

    @property
    def passes(self) -> tuple[Plan, ...]:
        """The passes of the whole run, this one last."""
        return *self.earlier, self

    def __str__(self) -> str:
        if not self.earlier:
            return printable("\n".join(self._lines()))
        count = len(self.passes)
        lines = [f"pass {k} of {count}\n" + "\n".join(one._lines()) for k, one in enumerate(self.passes, 1)]  # noqa: SLF001
        return printable("\n\n".join(lines))

    def _lines(self) -> list[str]:
        from tilejit.engine.planning.plan_text import read_lines, reduce_line, repeat_line, step_line, write_line

        lines = [f"grid      {self.grid}"]
        if self.steps:
            lines += _facing_lines(self.grid)
        if self.window.shape != self.grid.shape:
            lines.append(f"window    {self.window}")
        lines += read_lines(self.reads)
        lines += [step_line(step, self.planes) for step in self.steps]
        lines += [reduce_line(r, self.planes, p) for r, p in zip(self.reduces, self.reductions, strict=True)]
        lines += [write_line(write, self.window) for write in self.writes]
        lines += [repeat_line(self.repeat)] if self.repeat else []
        lines.append(f"tiles     {_tiles(self)}, {_decoding(self)}")
        lines.append(f"memory    {_memory(self)}")
        lines.append(f"backend   {self.backend} on {_workers(self)}: {self.reason}")
        return lines


def _facing_lines(grid: Grid) -> list[str]:
    """What kernels see otherwise than it is stored."""
    stored = [f"{what} run {way}" for what, way, flip in zip(_STORED, _WAYS, grid.flips, strict=True) if flip]
    notes = []
    if stored:
        notes.append(f"facing    {' and '.join(stored)}: kernels see them turned around, outputs keep their order")
    if grid.is_rotated:
        notes.append(f"facing    up is {grid.turn:.4g} degrees clockwise from north, and is taken for north by kernels")
    return notes


def _workers(plan: Plan) -> str:
    threads = counted(plan.workers, "thread")
    if not plan.is_distributed:
        return threads
    count = f"{plan.processes} " if plan.processes > 1 else ""
    return f"{count}workers of {plan.executor}, {threads} each"


def _tiles(plan: Plan) -> str:
    rows, cols = plan.tile_counts
    size = "{} x {}".format(*plan.largest_tile)
    if rows * cols == 1:
        return f"one tile of {size}"
    panels = ceil(cols / plan.panel_tiles)
    return f"{rows} x {cols} = {rows * cols} tiles of up to {size}{f' in {panels} panels' if panels > 1 else ''}"


def _decoding(plan: Plan) -> str:
    files = [r for r in plan.reads if r.block_bytes]
    split = [r.source for r in files if not plan.shares(r)]
    counts = Counter((r.source, band) for r in files for band in r.bands)
    twice = dict.fromkeys(source for (source, _), count in counts.items() if count > 1)
    notes = []
    if split:
        notes.append(f"blocks of {', '.join(dict.fromkeys(split))} are decoded more than once")
    elif any(r.halo != (0, 0) for r in files) and plan.has_boundaries:
        notes.append("blocks at the boundaries of panels are decoded more than once")
    if twice:
        notes.append(f"{', '.join(twice)} is decoded once for each form that it is read in")
    if any(r.edge == "wrap" and r.halo != (0, 0) for r in files):
        notes.append("blocks at the raster's edges are decoded again for the other side")
    return "; ".join(notes) or ("each block decoded once" if files else "nothing to decode")


def _memory(plan: Plan) -> str:
    decoding = f", decoding {format_size(plan.decoding_bytes)}" if plan.decoding_bytes else ""
    encoding = f", encoding {format_size(plan.encoding_bytes)}" if plan.encoding_bytes else ""
    result = f", the result {format_size(plan.array_bytes)}" if plan.array_bytes else ""
    boundaries = f", boundaries {format_size(plan.boundary_bytes)}" if plan.boundary_bytes else ""
    limit = f" of {format_size(plan.memory_limit)} given" if plan.memory_limit is not None else ""
    tiles = f"{counted(plan.tile_buffers, 'tile')} x {format_size(plan.tile_buffer_bytes)}"
    workers = f"{counted(plan.workers, 'worker')} x {format_size(plan.worker_bytes)}"
    numba = ", Numba" * plan.imports_numba
    compiling = f"; before that {format_size(plan.compiling_bytes)} to compile" if plan.compiling_bytes else ""
    processes = f"{plan.processes} processes, each " if plan.processes > 1 else ""
    return (
        f"{format_size(plan.memory)} at most{limit}: {processes}inputs of {tiles}, {workers}"
        f"{boundaries}{decoding}{encoding}{result}, "
        f"Python{numba} and GDAL {format_size(plan.fixed_bytes)}{compiling}"
    )

"""A plan in words."""

from __future__ import annotations

from collections import Counter
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.formats.codecs.coders import coders_for
from tilejit.formats.gdal.creation_options import is_auto, level_of
from tilejit.formats.sink import WRITTEN_DIRECTLY
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.engine.planning.plan import Halo, Plan, Read, Step, Write
    from tilejit.grid import Grid


_STORED, _WAYS = ("rows", "columns"), ("from south to north", "from east to west")


def plan_text(plan: Plan) -> str:
    """Returns the lines that ``print(raster.plan())`` shows."""
    lines = [f"grid      {plan.grid}"]
    if plan.steps:
        lines += _facing_lines(plan.grid)
    if plan.window.shape != plan.grid.shape:
        lines.append(f"window    {plan.window}")
    lines += [_read_line(read) for read in plan.reads]
    lines += [_step_line(plan, step) for step in plan.steps]
    lines += [_write_line(plan, write) for write in plan.writes]
    lines.append(f"tasks     {_tasks(plan)}, {_decoding(plan)}")
    lines.append(f"memory    {_memory(plan)}")
    lines.append(f"backend   {plan.backend} on {_workers(plan)}: {plan.reason}")
    return "\n".join(lines)


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


def _tasks(plan: Plan) -> str:
    rows, cols = plan.task_shape
    size = "{} x {}".format(*plan.largest_task)
    if rows * cols == 1:
        return f"one tile of {size}"
    panels = ceil(cols / plan.panel_tiles)
    return f"{rows} x {cols} = {rows * cols} tiles of up to {size}{f' in {panels} panels' if panels > 1 else ''}"


def _reach(halo: Halo) -> str:
    return f"halo {halo[0]}" if halo[0] == halo[1] else f"halo {halo[0]} x {halo[1]}"


def _read_line(read: Read) -> str:
    bands = f" band{'s' * (len(read.bands) > 1)} {_ranges(read.bands)}"
    stored = f", {format_size(read.stored_bytes)} stored" if read.stored_bytes is not None else ""
    edge = f", edge {read.edge}" if read.halo != (0, 0) else ""
    blocks = f"blocks {read.block[0]} x {read.block[1]}{stored}, " if read.block_bytes else ""
    valid = " and which cells are valid" if read.valid else ""
    form = f"{read.dtype}{valid}{_scales(read)}"
    return f"read      {read.source}{bands} as {form}, {_reach(read.halo)}{edge}, {blocks}{read.reader}"


def _scales(read: Read) -> str:
    """What becomes of the stored cells: ``, cells times 0.0001 plus -0.1``, by bands where they differ."""
    by_scale: dict[tuple[float, float], list[int]] = {}
    for band, scale in zip(read.bands, read.scales, strict=False):
        if scale != (1.0, 0.0):
            by_scale.setdefault(scale, []).append(band)
    whole = len(by_scale) == 1 and len(read.bands) == sum(map(len, by_scale.values()))
    return "".join(
        f", cells{'' if whole else f' of {_ranges(bands)}'} times {scale:.15g} plus {offset:.15g}"
        for (scale, offset), bands in by_scale.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers with runs put together: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _step_line(plan: Plan, step: Step) -> str:
    inputs = ", ".join(Path(plan.planes[o.plane].label).name for o in step.operands)
    beyond = f", computed with {_reach(step.halo)}" if step.halo != (0, 0) else ""
    radius = f", radius {step.radius[0]} x {step.radius[1]}" if step.radius != (0, 0) else ""
    heights = f"; {step.heights}" if step.heights else ""
    return f"compute   {step.kernel}({inputs}): {step.signature}{radius}{beyond}{heights}"


def _write_line(plan: Plan, write: Write) -> str:
    name = write.path or ("tiles, one by one" if write.handed_over else "an array")
    bands = f"{len(write.planes)} x " if len(write.planes) > 1 else ""
    options = " ".join(f"{k}={v}" for k, v in write.options.items())
    stored = f" before compression, {write.writer}; {options}{_encoders(write)}" if write.path else ""
    size = format_size(write.raw_bytes(plan.window))
    notes = "".join(f"; {note}" for note in write.notes)
    return f"write     {name}: {bands}{write.dtype}, {_nodata(write)}, {size}{stored}{notes}"


def _encoders(write: Write) -> str:
    """Who may encode blocks where no level was given."""
    if WRITTEN_DIRECTLY not in write.writer or not is_auto(write.options):
        return ""
    *cheaper, asked = (coder.name for coder in coders_for(write.options["COMPRESS"], level_of(write.options)))
    return f"; blocks by {asked}, or by {' or '.join(cheaper)} where the file stays about as small"


def _nodata(write: Write) -> str:
    if write.is_unmarked:
        return f"no nodata value, {write.nodata} where there are no data"
    return "no nodata value" if write.tag is None else f"nodata {write.nodata}"


def _decoding(plan: Plan) -> str:
    files = [r for r in plan.reads if r.block_bytes]
    split = [r.source for r in files if not plan.shares(r)]
    counts = Counter((r.source, band) for r in files for band in r.bands)
    twice = dict.fromkeys(source for (source, _), count in counts.items() if count > 1)
    notes = []
    if split:
        notes.append(f"blocks of {', '.join(dict.fromkeys(split))} are decoded more than once")
    elif any(r.halo != (0, 0) for r in files) and plan.has_seams:
        notes.append("blocks at the seams are decoded more than once")
    if twice:
        notes.append(f"{', '.join(twice)} is decoded once for each form that it is read in")
    if any(r.edge == "wrap" and r.halo != (0, 0) for r in files):
        notes.append("blocks at the raster's edges are decoded again for the other side")
    return "; ".join(notes) or ("each block decoded once" if files else "nothing to decode")


def _memory(plan: Plan) -> str:
    decoding = f", decoding {format_size(plan.decoding_bytes)}" if plan.decoding_bytes else ""
    encoding = f", encoding {format_size(plan.encoding_bytes)}" if plan.encoding_bytes else ""
    result = f", the result {format_size(plan.array_bytes)}" if plan.array_bytes else ""
    seams = f", seams {format_size(plan.seam_bytes)}" if plan.seam_bytes else ""
    limit = f" of {format_size(plan.memory_limit)} given" if plan.memory_limit is not None else ""
    tiles = counted(plan.frames, "tile")
    processes = f"{plan.processes} processes, each " if plan.processes > 1 else ""
    return (
        f"{format_size(plan.memory)} at most{limit}: {processes}inputs of {tiles} x {format_size(plan.frame_bytes)}, "
        f"{counted(plan.workers, 'worker')} x {format_size(plan.worker_bytes)}{seams}{decoding}{encoding}{result}, "
        f"Python, Numba and GDAL {format_size(plan.fixed_bytes)}"
    )

"""The parts of a plan in words: a line for each read, step and write."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.formats.codecs.compression_level import coders_for
from tilejit.formats.files import most
from tilejit.formats.gdal.creation_options import is_auto, level_of
from tilejit.formats.sink import WRITTEN_DIRECTLY
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.engine.partials import Partial
    from tilejit.engine.planning.iterations import Repeat
    from tilejit.engine.planning.steps import Halo, Operand, Plane, Read, Reduce, Step, Write
    from tilejit.window import Window


_MANY = 4
"""Files that one line tells of together."""


def reach_text(halo: Halo) -> str:
    """How far beyond a tile: ``halo 1``, ``halo 1 x 2``."""
    return f"halo {halo[0]}" if halo[0] == halo[1] else f"halo {halo[0]} x {halo[1]}"


def read_lines(reads: Sequence[Read]) -> list[str]:
    """What is read, as what, and how; many files that are read alike, one after the other, in one line."""
    lines = []
    for _, group in groupby(reads, lambda r: (r.bands, r.dtype, r.halo, r.edge, r.valid, r.block, r.reader, r.scales)):
        found = list(group)
        lines += [_read_line(found)] if len(found) >= _MANY else [_read_line([read]) for read in found]
    return lines


def _read_line(reads: Sequence[Read]) -> str:
    read, sizes = reads[0], [each.stored_bytes for each in reads]
    open_ones = f"at most {min(len(reads), most())} of them open at once"
    several = f"{len(reads)} files, {read.source} to {reads[-1].source}, {open_ones},"
    source = read.source if len(reads) == 1 else several
    bands = f" band{'s' * (len(read.bands) > 1)} {_ranges(read.bands)}"
    known = [size for size in sizes if size is not None]
    stored = f", {format_size(sum(known))} stored" if len(known) == len(sizes) else ""
    edge = f", edge {read.edge}" if read.halo != (0, 0) else ""
    blocks = f"blocks {read.block[0]} x {read.block[1]}{stored}, " if read.block_bytes else ""
    valid = " and which cells are valid" if read.valid else ""
    form = f"{read.dtype}{valid}{_scales(read)}"
    return f"read      {source}{bands} as {form}, {reach_text(read.halo)}{edge}, {blocks}{read.reader}"


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


def step_line(step: Step, planes: Sequence[Plane]) -> str:
    """What is computed of which planes."""
    inputs = ", ".join(_operand_text(operand, planes) for operand in step.operands)
    beyond = f", computed with {reach_text(step.halo)}" if step.halo != (0, 0) else ""
    radius = f", radius {step.radius[0]} x {step.radius[1]}" if step.radius != (0, 0) else ""
    heights = f"; {step.heights}" if step.heights else ""
    scans = f"; each tile in place until it is settled, in {step.scans} scans at most" if step.scans else ""
    awaited = f"; {step.awaited}, of an earlier pass" if step.awaited else ""
    dates = f"; layers of {step.dates}" if step.dates else ""
    layers = max(map(len, step.results))
    dates += f"; a value for each of {layers} layers" if layers > 1 else ""
    dates += "; a body of arrays, which threads call in turn unless it lets go of the GIL" * step.takes_arrays
    return f"compute   {step.kernel}({inputs}): {step.signature}{radius}{beyond}{heights}{dates}{awaited}{scans}"


def _operand_text(operand: Operand, planes: Sequence[Plane]) -> str:
    """A plane by its name, and a stack by how many layers it has: dates of as many files, or bands of one."""
    files = {planes[number].label.partition("[")[0] for number in operand.planes}
    if len(operand.planes) == 1:
        return Path(planes[operand.planes[0]].label).name
    return f"stack of {len(operand.planes)} {'dates' if len(files) == len(operand.planes) else 'bands'}"


def reduce_line(reduce: Reduce, planes: Sequence[Plane], partial: Partial) -> str:
    """What is reduced to what."""
    names = ", ".join(dict.fromkeys(Path(planes[number].label).name for number in reduce.planes))
    return f"reduce    {names}: {partial.name}, kept until the run ends"


def repeat_line(repeat: Repeat) -> str:
    """How often a pass is run, and what it takes of the disk."""
    return (
        f"repeat    until no cell changes, at most {counted(repeat.limit, 'sweep')}, of tiles that may still change; "
        f"their cells take {format_size(repeat.scratch_bytes)} at most of {repeat.folder}, kept until the run ends"
    )


def write_line(write: Write, window: Window) -> str:
    """What is written, and how it is encoded."""
    elsewhere = "tiles, one by one" if write.handed_over else "tiles on the disk" if write.is_scratch else "an array"
    name = write.path or elsewhere
    bands = f"{len(write.planes)} x " if len(write.planes) > 1 else ""
    options = " ".join(f"{k}={v}" for k, v in write.options.items())
    stored = f" before compression, {write.writer}; {options}{_encoders(write)}" if write.path else ""
    size = format_size(write.raw_bytes(window))
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

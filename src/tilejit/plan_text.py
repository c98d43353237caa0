"""A plan in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.sizes import format_size

if TYPE_CHECKING:
    from tilejit.plan import Halo, Plan, Read, Step, Write


def plan_text(plan: Plan) -> str:
    """Returns the lines that ``print(raster.plan())`` shows."""
    lines = [f"grid      {plan.grid}"]
    if plan.window.shape != plan.grid.shape:
        lines.append(f"window    {plan.window}")
    lines += [_read_line(read) for read in plan.reads]
    lines += [_step_line(plan, step) for step in plan.steps]
    lines += [_write_line(plan, write) for write in plan.writes]
    rows, cols = plan.task_shape
    lines.append(
        f"tasks     {rows} x {cols} = {rows * cols} tiles of up to {plan.tile[0]} x {plan.tile[1]}, {_decoding(plan)}"
    )
    lines.append(f"memory    {_memory(plan)}")
    lines.append(f"backend   {plan.backend} on {plan.workers} threads: {plan.reason}")
    return "\n".join(lines)


def _reach(halo: Halo) -> str:
    return f"halo {halo[0]}" if halo[0] == halo[1] else f"halo {halo[0]} x {halo[1]}"


def _read_line(read: Read) -> str:
    bands = f" band{'s' * (len(read.bands) > 1)} {', '.join(map(str, read.bands))}"
    stored = f", {format_size(read.stored_bytes)} stored" if read.stored_bytes is not None else ""
    edge = f", edge {read.edge}" if read.halo != (0, 0) else ""
    return (
        f"read      {read.source}{bands} as {read.dtype}, {_reach(read.halo)}{edge}, "
        f"blocks {read.block[0]} x {read.block[1]}{stored}"
    )


def _step_line(plan: Plan, step: Step) -> str:
    inputs = ", ".join(Path(plan.planes[o.plane].label).name for o in step.operands)
    beyond = f", computed with {_reach(step.halo)}" if step.halo != (0, 0) else ""
    return f"compute   {step.kernel}({inputs}): {step.signature}, radius {step.radius[0]} x {step.radius[1]}{beyond}"


def _write_line(plan: Plan, write: Write) -> str:
    name = write.path or "an array"
    bands = f"{len(write.planes)} x " if len(write.planes) > 1 else ""
    options = " ".join(f"{k}={v}" for k, v in write.options.items())
    return (
        f"write     {name}: {bands}{write.dtype}, nodata {write.nodata}, "
        f"{format_size(write.raw_bytes(plan.window))} before compression{'; ' if options else ''}{options}"
    )


def _decoding(plan: Plan) -> str:
    split = [
        r
        for r in plan.reads
        if any(t % b and t < s for t, b, s in zip(plan.tile, r.block, plan.grid.shape, strict=True))
    ]
    if split:
        return f"blocks of {', '.join(r.source for r in split)} are decoded more than once"
    if plan.halo != (0, 0) and not plan.exchanges:
        return "blocks at the seams are decoded more than once"
    return "each block decoded once"


def _memory(plan: Plan) -> str:
    limit = f" of {format_size(plan.memory_limit)} given" if plan.memory_limit is not None else ""
    return (
        f"{format_size(plan.memory)} at most{limit}: {plan.frames} tiles read x {format_size(plan.frame_bytes)}, "
        f"{plan.workers} workers x {format_size(plan.worker_bytes)}, "
        f"Python, Numba and GDAL {format_size(plan.fixed_bytes)}"
    )

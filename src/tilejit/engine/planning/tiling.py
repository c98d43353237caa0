"""How large a tile is: whole storage blocks, big enough to be worth a call, small enough for the memory given."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, product
from math import ceil, lcm, prod
from typing import TYPE_CHECKING

from tilejit.errors import MemoryLimitError, PlanError
from tilejit.sizes import format_size
from tilejit.system.limits import memory_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tilejit.engine.planning.plan import Plan

MOST_PIXELS = 1 << 21
"""A larger call is no faster: a megapixel runs at the full speed, 16-row strips at 58 % (measured)."""
CHAIN_PIXELS = 1 << 18
"""The same where kernels are chained: what one hands to the next then stays in a core's L2.

An 11x11 mean in two kernels computes 990 Mpx/s in tiles of 512 x 512, 680 in 512 x 1536, and 350 in 512 x 4096, where
rows are a multiple of 4096 bytes apart besides, and fall on each other in L1."""
SLOW_PIXELS = 1 << 18
"""The same where a kernel's text does not tell how long a pixel takes: at 20 microseconds a pixel a tile is five
seconds of work, so that it is divided evenly and a person sees it go on."""
BUFFER_BYTES = 104_000_000
"""What the buffers may come to before tiles get narrower: a raster twice as wide then takes no more memory."""
_LARGEST_BLOCK_ROWS = 4096
"""Beyond this, tiles that hold whole blocks of every file at once are not worth their memory."""


def fitting_plan(
    plan: Plan, output_blocks: Sequence[tuple[int, int]], tile: tuple[int, int] | None, *, is_slow: bool = False
) -> Plan:
    """Returns the plan with the largest tile that fits, or refuses it.

    Args:
        plan: The plan, its tile not chosen yet.
        output_blocks: Storage blocks of the outputs.
        tile: The tile asked for, or None.
        is_slow: Whether a kernel's text does not tell how long a pixel takes.

    Raises:
        PlanError: The tile asked for would write parts of blocks.
        MemoryLimitError: No tile fits; with the numbers.
    """
    if tile:
        plans = [replace(plan, tile=_asked(tile, output_blocks, plan))]
    else:
        plans = _all_shapes(plan, output_blocks, _most_pixels(plan, is_slow=is_slow))
    bound, given = _bound(plan)
    for chosen in chain(_by_preference(plans), _cutting_blocks(plans)):
        if bound is None or chosen.memory <= bound:
            return chosen
    smallest = min(chain(plans, _cutting_blocks(plans)), key=lambda p: p.memory)
    raise MemoryLimitError(
        f"{_outputs(plan)}: needs at least {format_size(smallest.memory)} of memory, and {given}\n{smallest}\n"
        f"give more with memory=, fewer workers=, or read smaller windows"
    )


def _bound(plan: Plan) -> tuple[int | None, str]:
    """The bytes that a plan may take, and what is said of them; None where nobody knows."""
    if plan.memory_limit is not None:
        return plan.memory_limit, f"{format_size(plan.memory_limit)} were given"
    free = memory_limit()
    return (None, "") if free is None else (free.value, f"{format_size(free.value)} are left by {free.name}")


def _all_shapes(plan: Plan, output_blocks: Sequence[tuple[int, int]], pixels: int) -> list[Plan]:
    """Plans of all shapes of tiles, whole blocks before parts."""
    whole, parts = _whole_blocks(plan, output_blocks, pixels), _part_blocks(plan, output_blocks, pixels)
    return [replace(plan, tile=tile) for tile in dict.fromkeys((*whole, *parts))]


def _by_preference(plans: Sequence[Plan]) -> Iterator[Plan]:
    """Those that decode each block once: thrifty ones in their order, then all by what they take; then the others."""
    once = [p for p in plans if all(p.shares(read) for read, _ in p.alike)]
    yield from (p for p in once if p.buffer_bytes <= BUFFER_BYTES)
    yield from sorted(once, key=lambda p: p.memory)
    yield from (p for p in plans if not all(p.shares(read) for read, _ in p.alike))


def _cutting_blocks(plans: Iterable[Plan]) -> Iterator[Plan]:
    """As a last resort each tile decodes the blocks that it cuts: the larger it is, the fewer do."""
    return (replace(p, is_shared=False) for p in sorted(plans, key=lambda p: prod(p.tile), reverse=True))


def _outputs(plan: Plan) -> str:
    return ", ".join(w.path or ("tiles on the disk" if w.is_scratch else "this window") for w in plan.writes)


def _asked(tile: tuple[int, int], output_blocks: Sequence[tuple[int, int]], plan: Plan) -> tuple[int, int]:
    for rows, cols in output_blocks:
        for asked, block, size in zip(tile, (rows, cols), plan.grid.shape, strict=True):
            if asked % block and asked < size:
                raise PlanError(
                    f"a tile of {tile[0]} x {tile[1]} cuts the output's blocks of {rows} x {cols}: give multiples"
                )
    return tile


def _most_pixels(plan: Plan, *, is_slow: bool) -> int:
    """The pixels that a tile may have: few enough for each worker to get one, where the blocks allow it."""
    most = CHAIN_PIXELS if plan.is_chain else SLOW_PIXELS if is_slow else MOST_PIXELS
    share = plan.window.height * plan.window.width // (plan.workers * plan.processes)
    return max(1, min(most, share))


def _whole_blocks(plan: Plan, output_blocks: Sequence[tuple[int, int]], pixels: int) -> list[tuple[int, int]]:
    """Shapes of tiles that hold whole blocks of every file, the largest first."""
    height, width = plan.grid.shape
    out_rows, out_cols = _output_block(output_blocks)
    rows = _common([r.block[0] for r, _ in plan.alike], out_rows, height)
    cols = _common([r.block[1] for r, _ in plan.alike], out_cols, width)
    most = min(ceil(width / cols), max(1, pixels // (rows * cols)))
    shapes = [(rows, count * cols) for count in range(most, 0, -1)]
    # Strips of a few rows are taken together, as long as there are some tiles for each worker.
    tall = min(pixels // (rows * most * cols), ceil(height / rows) // (4 * plan.workers))
    return [(tall * rows, most * cols), *shapes] if tall > 1 else shapes


def _part_blocks(plan: Plan, output_blocks: Sequence[tuple[int, int]], pixels: int) -> list[tuple[int, int]]:
    """Shapes of tiles that cut the inputs' blocks, the largest first."""
    files = [r.block for r, _ in plan.alike if r.block_bytes] or [(1, 1)]
    rows, cols = (
        _lengths(max(block[k] for block in files), side, plan.grid.shape[k])
        for k, side in enumerate(_output_block(output_blocks))
    )
    # The smallest shape has to do where blocks of the output are large.
    few = [shape for shape in product(rows, cols) if prod(shape) <= pixels] or [(min(rows), min(cols))]
    return sorted(few, key=lambda shape: (prod(shape), shape[1]), reverse=True)


def _lengths(block: int, output: int, extent: int) -> list[int]:
    """Lengths of whole blocks of the output that divide a block of an input, or all that lies in one block."""
    if block >= extent:
        whole = _rounded(extent, output)
        return [whole, *(_rounded(whole >> k, output) for k in range(1, 32) if whole >> k > output), output]
    count = block // output
    return [output * n for n in range(1, count + 1) if block % (output * n) == 0] or [output]


def _output_block(output_blocks: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns that hold whole blocks of every output."""
    return lcm(*(b[0] for b in output_blocks)), lcm(*(b[1] for b in output_blocks))


def _common(sizes: Sequence[int], output: int, extent: int) -> int:
    """The smallest length that holds whole blocks of all files; without the odd ones where that grows too long."""
    common = output
    for size in sorted({min(s, extent) for s in sizes}):
        together = lcm(common, size)
        if size >= extent:
            together = _rounded(extent, output)
        if together <= max(_LARGEST_BLOCK_ROWS, _rounded(extent, output) if size >= extent else 0):
            common = together
    return common


def _rounded(length: int, block: int) -> int:
    return max(1, ceil(length / block)) * block

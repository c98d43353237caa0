"""How large a task is: whole storage blocks, big enough to be worth a call, small enough for the memory given."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, lcm
from typing import TYPE_CHECKING

from tilejit.cores import available_memory
from tilejit.errors import MemoryLimitError, PlanError
from tilejit.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.plan import Plan

TARGET_PIXELS = 1 << 20
"""A call on fewer pixels costs speed: 16-row strips ran at 58 % (measured)."""
_LARGEST_BLOCK_ROWS = 4096
"""Beyond this, tasks that hold whole blocks of every file at once are not worth their memory."""


def fitting_plan(plan: Plan, output_blocks: Sequence[tuple[int, int]], tile: tuple[int, int] | None) -> Plan:
    """Returns the plan with the largest task shape that fits, or refuses it.

    Args:
        plan: The plan, its tile not chosen yet.
        output_blocks: Storage blocks of the outputs.
        tile: The task shape asked for, or None.

    Raises:
        PlanError: The tile asked for would write parts of blocks.
        MemoryLimitError: No task shape fits; with the numbers.
    """
    candidates = [_asked(tile, output_blocks, plan)] if tile else list(_candidates(plan, output_blocks))
    limit = plan.memory_limit
    bound = limit if limit is not None else available_memory()
    for candidate in candidates:
        chosen = replace(plan, tile=candidate)
        if bound is None or chosen.memory <= bound:
            return chosen
    smallest = min((replace(plan, tile=c) for c in candidates), key=lambda p: p.memory)
    given = f"{format_size(limit)} were given" if limit is not None else f"{format_size(bound or 0)} are free here"
    raise MemoryLimitError(
        f"{_outputs(plan)}: needs at least {format_size(smallest.memory)} of memory, and {given}\n{smallest}\n"
        f"give more with memory=, fewer workers=, or read smaller windows"
    )


def _outputs(plan: Plan) -> str:
    return ", ".join(w.path or "this window" for w in plan.writes)


def _asked(tile: tuple[int, int], output_blocks: Sequence[tuple[int, int]], plan: Plan) -> tuple[int, int]:
    for rows, cols in output_blocks:
        for asked, block, size in zip(tile, (rows, cols), plan.grid.shape, strict=True):
            if asked < 1 or (asked % block and asked < size):
                raise PlanError(
                    f"a tile of {tile[0]} x {tile[1]} cuts the output's blocks of {rows} x {cols}: give multiples"
                )
    return tile


def _candidates(plan: Plan, output_blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Task shapes, the best first."""
    height, width = plan.grid.shape
    out_rows, out_cols = (lcm(*(b[k] for b in output_blocks)) for k in (0, 1))
    blocks = [r.block for r in plan.reads]
    rows = _common([b[0] for b in blocks], out_rows, height)
    cols = _common([b[1] for b in blocks], out_cols, width)
    wide = min(ceil(width / cols), max(1, ceil(TARGET_PIXELS / (rows * cols))))
    for count in range(wide, 0, -1):
        yield rows, min(count * cols, _rounded(width, cols))
    # Narrower than a block: some blocks are decoded more than once, which the plan says.
    narrow = cols
    while narrow > max(out_cols, 512):
        narrow = max(out_cols, _rounded(narrow // 2, out_cols))
        yield min(rows, out_rows), narrow
    yield out_rows, out_cols


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

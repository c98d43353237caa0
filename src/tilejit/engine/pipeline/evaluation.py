"""One worker's part: from a tile's buffer to the arrays that are written."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import OF, SettlingBackend, backend_of
from tilejit.compiler.form.kinds import ALL
from tilejit.compiler.jit.native_function import finish_compiling
from tilejit.engine.pipeline.tile_buffers import Block, Cells, in_place
from tilejit.engine.planning.dispatch import functions_of
from tilejit.errors import ReadError
from tilejit.formats.cells import chunks, convert, nodata_key, set_nan, set_valid
from tilejit.kernel.counts import Counts
from tilejit.kernel.inputs import fill_outside, scalar_values
from tilejit.kernel.nodata import constant, is_constant, is_nodata_tile
from tilejit.system.program import hushed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.backends import Launch, LaunchControl
    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.tile_buffers import TileBuffer
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.engine.planning.steps import Halo, Step, Write
    from tilejit.kernel.kernel import Kernel
    from tilejit.window import Window

    Array = NDArray[Any]


def launches(job: Job) -> tuple[Launch, ...]:
    """Compiles all of a job now: workers that all found a function uncompiled would wait for one lock."""
    for function, types in functions_of(job.plan, job.kernels):
        function.load(types)
    pairs = zip(job.kernels, job.plan.steps, strict=True)
    steps = [(backend_of(kernel, job.plan.backend), kernel, step) for kernel, step in pairs]
    with hushed():  # the progress bar tells it, where there is one
        compiled = tuple(
            backend.compile_settling(kernel, step.signature, step.scans)
            if step.scans and isinstance(backend, SettlingBackend)
            else backend.compile(kernel, step.signature)
            for backend, kernel, step in steps
        )
    finish_compiling()
    return compiled


class Evaluator:
    """Runs the steps of a plan on tile after tile, in buffers of its own that are allocated once."""

    def __init__(self, job: Job, compiled: Sequence[Launch]) -> None:
        self.job, self.plan, self.compiled = job, job.plan, compiled
        self._facing = self.plan.grid.facing
        self._outputs = [self._flat(w.dtype, (0, 0), len(w.planes)) for w in self.plan.writes]
        self._direct = self.plan.written_directly()
        self._deciding = [
            tuple(_deciding(step, kernel)) for step, kernel in zip(self.plan.steps, job.kernels, strict=True)
        ]
        self._owners = [_owner(self.plan, step) for step in self.plan.steps]
        self._results = {
            made: self._flat(self.plan.planes[made[0]].dtype, s.halo, len(made))
            for s in self.plan.steps
            for made in s.results
            if made[0] not in self._direct
        }
        self._operands = {
            (k, i): [self._flat(d, o.halo, len(o.planes)) for d in (o.dtype, *[np.dtype(np.uint8)] * o.valid)]
            for k, s in enumerate(self.plan.steps)
            for i, o in enumerate(s.operands)
            if not o.direct
        }

    def _flat(self, dtype: np.dtype, halo: Halo, count: int = 1) -> Array:
        rows, cols = self.plan.largest_tile
        return np.empty(count * (rows + 2 * halo[0]) * (cols + 2 * halo[1]), dtype)

    def run(
        self, buffer: TileBuffer, control: LaunchControl, places: Sequence[Array | None]
    ) -> tuple[list[Array], tuple[State, ...]]:
        """Computes one tile.

        Args:
            buffer: Its inputs.
            control: What stops it, and tells how far it is; of a tile that was stopped nothing is to be used.
            places: Where each output is to be, if that is in memory; None where it is written afterwards.

        Returns:
            For each write its (band, row, col) array, which lives until the next run; and for each partial of the plan
            the state of this tile.
        """
        planes = buffer.planes(self._facing)
        control[OF] = sum(buffer.window.height + 2 * step.halo[0] for step in self.plan.steps)
        outputs = []
        for write, flat, place in zip(self.plan.writes, self._outputs, places, strict=True):
            shape = len(write.planes), *buffer.window.shape
            outputs.append(flat[: prod(shape)].reshape(shape) if place is None else place)
        seen = [output[:, *self._facing] for output in outputs]
        counts, own = Counts(), [0] * len(outputs)
        for number in range(len(self.plan.steps)):
            told, owner = self._step(number, buffer.window, planes, seen, control), self._owners[number]
            if owner is not None:
                own[owner] += told.collisions
                told = replace(told, collisions=0)
            counts += told
        for w, write in enumerate(self.plan.writes):
            told = self._write(w, planes, outputs, seen[w], buffer.window)
            if write.is_unmarked:
                told = replace(told, collisions=0) + _unmarked(write, outputs[w], own[w] + told.collisions)
            counts += told
        return outputs, (asdict(counts), *self._reduced(planes, buffer.window))

    def _reduced(self, planes: Sequence[Cells], window: Window) -> Iterator[State]:
        """The states of this tile of what is reduced."""
        for reduce, reduction in zip(self.plan.reduces, self.plan.reductions, strict=True):
            cells, valid = zip(*(self._own(number, planes, window) for number in reduce.planes), strict=True)
            try:
                yield reduction.of(cells, valid, window)
            except ReadError as error:
                label = self.plan.planes[reduce.planes[0]].label
                raise ReadError(f"{label}, {window}: {error}") from error

    def _own(self, number: int, planes: Sequence[Cells], window: Window) -> tuple[Array, NDArray[np.bool_] | None]:
        """The tile's own cells of a plane, and where they are valid, if NaN does not tell."""
        plane, flags = self.plan.planes[number], planes[number].valid
        place = window.slices(window.expand(*plane.halo))
        cells = planes[number].cells[place]
        if flags is not None:
            return cells, flags[place] != 0
        told = plane.nodata is None or np.isnan(plane.nodata)
        return cells, None if told else cells != plane.nodata

    def _write(self, w: int, planes: Sequence[Cells], outputs: list[Array], seen: Array, window: Window) -> Counts:
        """Completes an output: what no kernel wrote straight into it, whose ``seen`` is the output as bodies see it."""
        write, counts = self.plan.writes[w], Counts()
        if all(is_constant(planes[plane].cells) for plane in write.planes):
            outputs[w] = constant(np.full(len(write.planes), write.nodata, write.dtype), window.shape)
            return counts
        for b, plane in enumerate(write.planes):
            if is_constant(planes[plane].cells):
                outputs[w][b] = write.nodata
            elif self._direct.get(plane) != (w, b):
                counts += self._finish(write, planes, plane, seen[b], window)
        return counts

    def _is_blank(self, number: int, planes: Sequence[Cells], window: Window, area: Window) -> bool:
        """Whether a plane has no valid cell in ``area``."""
        plane, valid = self.plan.planes[number], planes[number].valid
        place = area.slices(window.expand(*plane.halo))
        return is_nodata_tile(planes[number].cells[place], None if valid is None else valid[place], plane.nodata)

    def _step(
        self,
        number: int,
        window: Window,
        planes: list[Cells],
        outputs: Sequence[Array],
        control: LaunchControl,
    ) -> Counts:
        step, area = self.plan.steps[number], window.expand(*self.plan.steps[number].halo)
        # The halo does not matter: where nodata propagates, each result needs the cell that it stands at.
        if any(self._is_blank(plane, planes, window, area) for plane in self._deciding[number]):
            planes += self._blank_results(step, area)
            return Counts()
        results = []
        for made in step.results:
            write, band = self._direct.get(made[0], (-1, -1))
            results.append(self._shaped(made, area) if write < 0 else outputs[write][band : band + len(made)])
        arrays, nodata, scalars = self._arguments(number, window, planes)
        taken = results if self.job.kernels[number].by_date else [block[0] for block in results]
        counts = self.compiled[number](arrays, taken, nodata, scalars, control)
        self._outside(step, area, results)
        planes += _layers(results)
        return counts

    def _shaped(self, made: tuple[int, ...], area: Window) -> Array:
        """The (layer, row, col) array that planes are made in."""
        shape = len(made), *area.shape
        return self._results[made][: prod(shape)].reshape(shape)

    def first_arguments(self, buffer: TileBuffer) -> tuple[list[Array], list[Any], list[Any]]:
        """What the first step's launch takes for a tile, but for the outputs; arrays live until the next tile."""
        return self._arguments(0, buffer.window, buffer.planes(self._facing))

    def _arguments(
        self, number: int, window: Window, planes: Sequence[Cells]
    ) -> tuple[list[Array], list[Any], list[Any]]:
        """A launch's arrays, nodata values and scalars."""
        step, kernel = self.plan.steps[number], self.job.kernels[number]
        arrays: list[Array] = []
        for index, (operand, raster) in enumerate(zip(step.operands, kernel.rasters, strict=True)):
            found = in_place(operand, planes) if operand.direct else self._gathered(number, index, planes, window)
            arrays += found if raster.is_stack else [array[0] for array in found]
        nodata = [d.type(v) for d, v in zip(step.signature.outputs, step.nodata, strict=True)]
        area, bound = window.expand(*step.halo), self.job.parameters[number]
        return arrays, nodata, scalar_values(kernel, bound, step.signature.compute, area, self.plan.grid)

    def _blank_results(self, step: Step, area: Window) -> list[Cells]:
        """The results of a step that has nothing valid to compute with."""
        if step.halo == (0, 0):
            pairs = zip(step.results, step.nodata, strict=True)
            blanks = (constant(np.full(len(p), v, self.plan.planes[p[0]].dtype), area.shape) for p, v in pairs)
            return [Cells(layer) for blank in blanks for layer in blank]
        results = [self._shaped(made, area) for made in step.results]
        for result, nodata in zip(results, step.nodata, strict=True):
            result[...] = nodata
        self._outside(step, area, results)
        return _layers(results)

    def _outside(self, step: Step, area: Window, results: Sequence[Array]) -> None:
        """What a step computed outside the raster gives way to what its consumers take there."""
        if step.halo == (0, 0):
            return
        for result, nodata, made in zip(results, step.nodata, step.results, strict=True):
            for layer in result:
                fill_outside(layer[self._facing], area, self.plan.grid.shape, self.plan.planes[made[0]].edge, nodata)

    def _gathered(self, number: int, index: int, planes: Sequence[Cells], window: Window) -> list[Array]:
        """Planes as the kernel wants them: cropped to its halo, integers with nodata turned into floats with NaN.

        Behind the cells comes their validity, if it is asked for.
        """
        operand = self.plan.steps[number].operands[index]
        wanted = window.expand(*operand.halo)
        shape = len(operand.planes), *wanted.shape
        found = [flat[: prod(shape)].reshape(shape) for flat in self._operands[number, index]]
        for k, taken in enumerate(operand.planes):
            plane, own = self.plan.planes[taken], planes[taken]
            place = wanted.slices(window.expand(*plane.halo))
            part = own.cells[place]
            target, *flags = (array[k] for array in found)
            convert(part, target)
            key = nodata_key(part.dtype, plane.nodata) if part.dtype.kind != "f" else None
            if not flags:
                set_nan(target, part, key)
            elif own.valid is not None:
                np.copyto(flags[0], own.valid[place])
            else:
                set_valid(flags[0], part, key)
        return found

    def _finish(self, write: Write, planes: Sequence[Cells], number: int, output: Array, window: Window) -> Counts:
        """Copies a plane into its output, with the nodata value that the file has; returns collisions with that."""
        plane = self.plan.planes[number]
        place = window.slices(window.expand(*plane.halo))
        cells, valid = planes[number].cells[place], planes[number].valid
        if write.nodata is None or (plane.nodata == write.nodata and output.dtype == cells.dtype):
            return _cast(write, cells, output, None)
        has_nan = cells.dtype.kind == "f" and (plane.nodata is None or np.isnan(plane.nodata))
        if has_nan and np.isnan(write.nodata):
            return _cast(write, cells, output, None)
        invalid = np.isnan(cells) if has_nan else cells == plane.nodata if valid is None else valid[place] == 0
        return _cast(write, cells, output, invalid) + _replace(output, invalid, write.nodata)


def _deciding(step: Step, kernel: Kernel) -> Iterator[int]:
    """The planes of which each makes all results nodata where it is nodata all over."""
    for k, layers in kernel.facts.deciding_inputs:
        taken = step.operands[k].planes
        yield from taken if ALL in layers else (taken[layer] for layer in layers)


def _owner(plan: Plan, step: Step) -> int | None:
    """The write without a tag that takes all results of a step as they are, so that their collisions are its own."""
    planes = [(number, plan.planes[number]) for number in step.made]
    takers = (
        w
        for w, write in enumerate(plan.writes)
        if write.is_unmarked
        and all(n in write.planes and (p.dtype, p.nodata) == (write.dtype, write.nodata) for n, p in planes)
    )
    return next(takers, None) if step.halo == (0, 0) else None


def _unmarked(write: Write, output: Array, valid: int) -> Counts:
    """How many cells without data an output has that does not tell them.

    Args:
        write: The output.
        output: Its cells.
        valid: How many cells with data hold the same value.
    """
    count = int(np.count_nonzero(output == write.nodata)) - valid
    return Counts(unmarked={write.path or "the array": count}) if count else Counts()


def _cast(write: Write, cells: Array, output: Array, invalid: NDArray[np.bool_] | None) -> Counts:
    """Copies cells into an output, whose dtype may not hold them: then they are converted as GDAL does."""
    if write.dtype == cells.dtype or np.can_cast(cells.dtype, write.dtype, "safe"):
        np.copyto(output, cells, casting="unsafe")
        return Counts()
    clamped = 0
    for rows in chunks(cells):
        part, place = cells[rows], output[rows]
        convert(part, place)
        beyond = _beyond(part, place)
        clamped += int(np.count_nonzero(beyond if invalid is None else beyond & ~invalid[rows]))
    return Counts(clamped={write.path or "the array": clamped}) if clamped else Counts()


def _beyond(cells: Array, converted: Array) -> NDArray[np.bool_]:
    """Which cells the dtype that they were converted to does not hold, once they are rounded."""
    if converted.dtype.kind == "f":
        infinite: NDArray[np.bool_] = np.isinf(converted) & ~np.isinf(cells)
        return infinite
    low, high = np.iinfo(converted.dtype).min, np.iinfo(converted.dtype).max
    if cells.dtype.kind != "f":
        return (cells < low) | (cells > high)
    # Near the ends of 32 and 64 bits a float has no halves: there the lowest value itself is not beyond.
    return ((cells <= low - 0.5) & (cells < low)) | (cells >= high + 0.5)


def _replace(output: Array, invalid: NDArray[np.bool_] | np.bool_ | bool, nodata: float) -> Counts:
    """Puts nodata where cells are invalid; returns how many valid cells equal it already."""
    value = output.dtype.type(nodata)
    collisions = int(np.count_nonzero((output == value) & ~invalid))
    output[invalid] = value
    return Counts(collisions)


def _layers(results: Sequence[Array]) -> list[Cells]:
    """The planes of (layer, row, col) arrays, which lie in these."""
    blocks = [Block((), result, None) for result in results]
    return [Cells(layer, None, block, k) for block in blocks for k, layer in enumerate(block.cells)]

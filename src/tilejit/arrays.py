"""Kernels over arrays in memory, at once and on all cores.

The inner part is computed straight from the caller's arrays, with no copy: padding them would cost a pass over memory,
as much as a cheap kernel itself. Only the border, a radius wide, goes through padded strips.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tilejit.backends import STOP, backend_of, on_threads
from tilejit.backends.cpu import CpuBackend, short_pixels
from tilejit.compiler.form.kinds import compute_dtype, is_real
from tilejit.errors import KernelError, warn_caller
from tilejit.formats.containers import Container, given_array
from tilejit.kernel.counts import Counts
from tilejit.kernel.inputs import inside_index, is_index_edge, scalar_values, with_times
from tilejit.kernel.nodata import nodata_value
from tilejit.sizes import counted
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.backends import Backend, Launch, LaunchControl
    from tilejit.compiler.form.kinds import Signature
    from tilejit.formats.containers import Given
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]
    _Piece = tuple[Window, LaunchControl]

_AS_THEY_ARE = frozenset(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"))
"""Types that a float parameter takes without a word. Python before the loop counts: its caches are cold when the loop
before has streamed half a gigabyte through them, and 0.3 ms is a part of 7 ms that shows."""
_OPERATIONS = 1e6
"""Operations that are worth a thread, whose start takes 0.1 ms."""
_MANY = 10
"""Times as many for each of several pieces a thread, which take 50 us of Python each: sixteen of an NDVI took 0.3 ms
more than two."""
_PIECES = 8
"""Pieces for each thread at most, where a second a piece allows: the last one is waited for."""
_CONTROL_WORDS = 16
"""Of which three are used: two cache lines for each launch, or threads that count rows would wait for each other."""
_TILE = 1024
"""Rows and columns of the tiles in which backends other than the CPU's take an array."""


@dataclass(frozen=True)
class _ArrayJob:
    """One kernel over arrays of one shape, C-contiguous; of integers with the validity of each, or None for all."""

    kernel: Kernel
    arrays: tuple[Array, ...]
    valid: tuple[NDArray[np.uint8] | None, ...]
    parameters: Mapping[str, Any]
    backend: Backend
    workers: int
    signature: Signature
    """What the kernel is compiled for over the inner part; where arrays are padded, only their dtypes may be others."""

    @property
    def shape(self) -> tuple[int, int]:
        *_, height, width = self.arrays[0].shape
        return height, width

    def run(self, out: Sequence[Array] | None = None) -> tuple[tuple[Array, ...], Counts]:
        """Computes the results, into ``out`` where it is given, and what is to be told of their pixels."""
        shape, dtypes = self.kernel.result_shape(*self.shape), self.signature.outputs
        outputs = tuple(np.empty(shape, dtype) for dtype in dtypes) if out is None else tuple(out)
        if not all(output.flags.c_contiguous for output in outputs):
            raise KernelError(f"{self.kernel.name}: out= is not C-contiguous: give an array as np.empty makes it")
        return outputs, self._compute(outputs)

    def _compute(self, outputs: Sequence[Array]) -> Counts:
        counts = Counts()
        if isinstance(self.backend, CpuBackend):
            rows, cols = self.kernel.radius
            inner = Window(rows, cols, max(0, self.shape[0] - 2 * rows), max(0, self.shape[1] - 2 * cols))
            if not inner.is_empty:
                counts = self._inner(inner, outputs)
            windows = _border(self.shape, inner) if rows or cols or inner.is_empty else []
            if windows and self.kernel.facts.border_is_nodata:
                _fill(outputs, [w for w in windows if w.width == self.shape[1]])  # see `_rows` for the others
                windows = []
        else:
            windows = list(tiles(*self.shape, _TILE, _TILE))
        for window in windows:
            counts += self._strip(window, outputs)
        return counts

    def _inner(self, inner: Window, outputs: Sequence[Array]) -> Counts:
        """Computes the inner part: threads take one piece of its rows after the other."""
        launch = self.backend.compile(self.kernel, self.signature)
        windows = self._pieces(inner)
        controls = np.zeros((len(windows), _CONTROL_WORDS), np.int64)
        pieces = deque(zip(windows, controls, strict=True))

        def work() -> Counts:
            counts = Counts()
            while not controls[0, STOP] and (piece := _taken(pieces)):
                counts += self._rows(launch, *piece, outputs)
            return counts

        # A pixel of a kernel that loops may take for ever, and this thread would not hear of Ctrl-C.
        joins = not self.kernel.facts.is_open_ended or threading.current_thread() is not threading.main_thread()
        return sum(on_threads(work, min(self.workers, len(pieces)), controls, joins=joins), Counts())

    def _pieces(self, inner: Window) -> list[Window]:
        """The inner part in pieces of some rows: a few for each thread, where that is worth it."""
        pixels = inner.height * inner.width
        worth = int(pixels * max(1, self.kernel.facts.operations) / _OPERATIONS)
        even = max(min(worth, self.workers), min(worth // _MANY, _PIECES * self.workers))
        # The main thread hears of Ctrl-C between pieces where it computes some itself: see `_inner`.
        heard = 1 if self.kernel.facts.is_open_ended else ceil(pixels / short_pixels(self.kernel))
        count = min(max(1, even, heard), inner.height)
        height, col, width = -(-inner.height // count), inner.col_off, inner.width
        return [Window(row, col, min(height, inner.row_end - row), width)
                for row in range(inner.row_off, inner.row_end, height)]  # fmt: skip

    def _rows(self, launch: Launch, piece: Window, control: LaunchControl, outputs: Sequence[Array]) -> Counts:
        """Computes one piece, and puts nodata at both ends of its rows where the border has it."""
        reach, cols = self.kernel.radius
        rows = slice(piece.row_off - reach, piece.row_end + reach)
        arrays = [_from(array, rows) for array in self.arrays]
        valid = [None if known is None else _from(known, rows) for known in self.valid]
        counts = self._launch(launch, piece, arrays, [_inside(o, piece) for o in outputs], valid, control)
        if cols and self.kernel.facts.border_is_nodata:
            _fill(outputs, [w for w in _border(self.shape, piece) if w.width < self.shape[1]])
        return counts

    def _strip(self, window: Window, outputs: Sequence[Array]) -> Counts:
        """Computes one window through padded copies."""
        place = window.slices(Window(0, 0, *self.shape))
        padded = [self._padded(array, k, window) for k, array in enumerate(self.arrays)]
        arrays = [array for array, _ in padded]
        signature = replace(self.signature, inputs=tuple(a.dtype for a in arrays))
        parts = [np.empty((*o.shape[:-2], *window.shape), o.dtype) for o in outputs]
        launch = self.backend.compile(self.kernel, signature)
        counts = self._launch(launch, window, arrays, parts, [valid for _, valid in padded])
        for output, part in zip(outputs, parts, strict=True):
            output[..., *place] = part
        return counts

    def _padded(self, array: Array, index: int, window: Window) -> tuple[Array, NDArray[np.uint8]]:
        """The window with its halo, outside cells filled by the kernel's edge, and the validity of each cell."""
        halo = window.expand(*self.kernel.radius)
        edge = self.kernel.edge
        rows, cols = np.arange(halo.row_off, halo.row_end), np.arange(halo.col_off, halo.col_end)
        shape = *array.shape[:-2], *halo.shape
        valid = np.ones(shape, np.uint8)
        known = self.valid[index]
        if is_index_edge(edge):
            taken = ..., inside_index(rows, self.shape[0], edge)[:, None], inside_index(cols, self.shape[1], edge)
            return np.ascontiguousarray(array[taken]), valid if known is None else np.ascontiguousarray(known[taken])
        is_float = self.kernel.rasters[index].dtype is None
        inside = halo.intersection(Window(0, 0, *self.shape))
        outside = (np.nan if is_float else 0) if edge == "nodata" else edge
        padded = np.full(shape, outside, self.signature.compute if is_float else array.dtype)
        place = ..., *inside.slices(halo)
        part = ..., *inside.slices(Window(0, 0, *self.shape))
        padded[place] = array[part]
        if edge == "nodata":
            valid[...] = 0
            valid[place] = 1
        if known is not None:
            valid[place] = known[part]
        return padded, valid

    def _launch(  # noqa: PLR0917 - what a launch takes, and where
        self, launch: Launch, window: Window, arrays: Sequence[Array], outputs: Sequence[Array],
        valid: Sequence[Array | None], control: LaunchControl | None = None,
    ) -> Counts:  # fmt: skip
        passed: list[Array] = []
        for k, (array, raster) in enumerate(zip(arrays, self.kernel.rasters, strict=True)):
            passed.append(array)
            if raster.dtype is not None:
                known = valid[k]
                passed.append(np.ones(array.shape, np.uint8) if known is None else known)
        nodata = [nodata_value(dtype, None) for dtype in self.signature.outputs]
        scalars = scalar_values(self.kernel, self.parameters, self.signature.compute, window, None)
        return launch(passed, outputs, nodata, scalars, control)


def _from(array: Array, rows: slice) -> Array:
    """Some rows. Of layers all rows from there: so they stay C-contiguous, and the launch reads no more than it writes.

    The view of the last layer ends as many rows behind the array as the first one begins in it.
    """
    return array[rows] if array.ndim == 2 else as_strided(array[:, rows.start :], array.shape, array.strides)


def _inside(output: Array, piece: Window) -> Array:
    """Where a piece's pixels go: rows from its first pixel on, as long as the output's, so that they are C-contiguous.

    Their last pixels, of which none is written, may be those of the next row, or behind the array.
    """
    shape = *output.shape[:-2], piece.height, output.shape[-1]
    return as_strided(output[..., piece.row_off :, piece.col_off :], shape, output.strides)


def _taken(pieces: deque[_Piece]) -> _Piece | None:
    try:
        return pieces.popleft()
    except IndexError:
        return None


def _border(shape: tuple[int, int], inner: Window) -> list[Window]:
    """The windows around the inner part: above, below, left and right."""
    height, width = shape
    if inner.is_empty:
        return [Window(0, 0, height, width)] if height and width else []
    around = [
        Window(0, 0, inner.row_off, width),
        Window(inner.row_end, 0, height - inner.row_end, width),
        Window(inner.row_off, 0, inner.height, inner.col_off),
        Window(inner.row_off, inner.col_end, inner.height, width - inner.col_end),
    ]
    return [window for window in around if not window.is_empty]


def _fill(outputs: Sequence[Array], windows: Sequence[Window]) -> None:
    """Puts nodata into some windows."""
    for output, window in itertools.product(outputs, windows):
        output[..., *window.slices(Window(0, 0, *output.shape[-2:]))] = nodata_value(output.dtype, None)


def run_on_arrays(
    kernel: Kernel,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    backend: str,
    workers: int,
    out: Array | Sequence[Array] | None = None,
) -> Any:
    """Runs a kernel over arrays of one shape, (row, col) or (1, row, col); the results are what the inputs came in.

    Stacks are (layer, row, col); their results come in what one layer would, unless there is a value for each.
    """
    given = [given_array(v, f"{kernel.name}: {r.name}") for v, r in zip(inputs, kernel.rasters, strict=True)]
    stacked = [raster.is_stack for raster in kernel.rasters]
    pairs = list(zip(given, stacked, strict=True))
    masks = [None if g.mask is None and g.nodata is None else g.invalid(stacked=s) for g, s in pairs]
    cells = [_as_taken(kernel, k, g.layers if s else g.plane) for k, (g, s) in enumerate(pairs)]
    arrays = tuple(_blanked(kernel, k, c, masks[k]) for k, c in enumerate(cells))
    valid = tuple(
        None if mask is None or raster.dtype is None else np.ascontiguousarray(~mask).view(np.uint8)
        for mask, raster in zip(masks, kernel.rasters, strict=True)
    )
    shapes = {a.shape[-2:] for a in arrays}
    if len(shapes) > 1:
        named = ", ".join(f"{r.name} {a.shape}" for r, a in zip(kernel.rasters, arrays, strict=True))
        raise KernelError(f"{kernel.name}: the arrays differ in shape ({named}); they must lie on one grid")
    if any(stacked):
        kernel = kernel.for_layers([len(array) if array.ndim == 3 else 1 for array in arrays])
    # Results are as wide as what is given, whether or not a mask makes floats of it.
    signature = replace(kernel.signature([c.dtype for c in cells]), inputs=tuple(a.dtype for a in arrays))
    bound = with_times(kernel, kernel.bind(parameters), [one.dates for one in given])
    job = _ArrayJob(kernel, arrays, valid, bound, backend_of(kernel, backend), workers, signature)
    container = Container.of([g.first if s and not kernel.by_date else g for g, s in pairs])
    outs = None if out is None else [out] if isinstance(out, np.ndarray) else list(out)
    if outs is not None:
        shape, dtypes = container.shape(kernel.result_shape(*job.shape)), job.signature.outputs
        check_out(kernel.name, outs, [(shape, dtype) for dtype in dtypes], given)
    results, counts = job.run(None if outs is None else [_cells_of(o, kernel) for o in outs])
    nodata = [nodata_value(result.dtype, None).item() for result in results]
    warn_of(counts, kernel.name, nodata)
    places = [None] * len(results) if outs is None else outs
    held = [container.hold(r, v, kernel.name, o) for r, v, o in zip(results, nodata, places, strict=True)]
    return tuple(held) if kernel.facts.returns_tuple else held[0]


def check_out(
    name: str, outs: Sequence[Any], results: Sequence[tuple[tuple[int, ...], np.dtype]], inputs: Sequence[Given]
) -> None:
    """Refuses arrays that results, of some shapes and dtypes, cannot be computed into."""
    if len(outs) != len(results):
        raise KernelError(f"{name} gives {counted(len(results), 'array')}, and out= has {len(outs)}")
    for array, (shape, dtype) in zip(outs, results, strict=True):
        if not isinstance(array, np.ndarray):
            raise KernelError(f"{name}: out= is a {type(array).__name__}; it must be an array of {shape} {dtype}")
        if array.shape != shape or array.dtype != dtype:
            raise KernelError(f"{name}: out= is {array.shape} {array.dtype}; it must be {shape} and {dtype}")
        read = (cells for one in inputs for cells in (one.cells, one.mask) if cells is not None)
        if any(np.may_share_memory(array, cells) for cells in read):
            raise KernelError(f"{name}: out= shares memory with an input, whose cells are still to be read")


def warn_of(counts: Counts, name: str, nodata: Sequence[float | None]) -> None:
    """Tells the caller what there is to be told of results in arrays."""
    warning = counts.warning(name, nodata, "annotate the kernel with a type that has values to spare, as -> np.int32")
    if warning is not None:
        warn_caller(warning)


def _cells_of(array: Array, kernel: Kernel) -> Array:
    """The cells of an array to compute into, as a launch takes them."""
    cells: Array = np.ma.getdata(array)
    return cells.reshape(kernel.result_shape(*cells.shape[-2:]))


def _blanked(kernel: Kernel, index: int, cells: Array, invalid: NDArray[np.bool_] | None) -> Array:
    """An input that is as the kernel takes it; where it has no data a float is NaN."""
    if invalid is None or kernel.rasters[index].dtype is not None:
        return cells
    blanked = cells.astype(compute_dtype((cells.dtype,)))
    blanked[invalid] = np.nan
    return blanked


def _as_taken(kernel: Kernel, index: int, array: Array) -> Array:
    """An input in the dtype that the kernel takes, C-contiguous."""
    parameter = kernel.rasters[index]
    is_shaped = array.ndim == 3 and len(array) > 0 if parameter.is_stack else array.ndim == 2
    if is_shaped and array.dtype in _AS_THEY_ARE and parameter.dtype is None and array.flags.c_contiguous:
        return array
    if not is_shaped:
        wanted = "a stack is (layers, rows, columns), of one layer or more" if parameter.is_stack else (
            "a raster is one band, (rows, columns): pass array[0]"
        )  # fmt: skip
        raise KernelError(f"{kernel.name}: {parameter.name} has the shape {array.shape}; {wanted}")
    if not is_real(array.dtype):
        raise KernelError(
            f"{kernel.name}: {parameter.name} is {array.dtype}; rasters hold integers and floats of up to 64 bits: "
            "convert it with .astype(np.float64), or take its .real or .imag"
        )
    if parameter.dtype is not None:
        if array.dtype.kind == "f" or not np.can_cast(array.dtype, parameter.dtype, "safe"):
            raise KernelError(
                f"{kernel.name}: {parameter.name} is annotated {parameter.dtype}, the array is {array.dtype}: "
                f"convert it with .astype(np.{parameter.dtype}) if its values fit"
            )
        array = array.astype(parameter.dtype, copy=False)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False)

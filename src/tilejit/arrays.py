"""Kernels over arrays in memory, at once and on all cores.

The inner part is computed straight from the caller's arrays, with no copy: padding them would cost a pass over memory,
as much as a cheap kernel itself. Only the border, a radius wide, goes through padded strips.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import get_backend
from tilejit.backends.cpu import CpuBackend
from tilejit.errors import KernelError
from tilejit.kernel.edges import inside_index, is_index_edge
from tilejit.kernel.nodata import nodata_value
from tilejit.kernel.quantities import scalar_values
from tilejit.language.kinds import is_real
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Backend, Launch
    from tilejit.kernel.kernel import Kernel
    from tilejit.language.signature import Signature

    Array = NDArray[Any]

_AS_THEY_ARE = frozenset(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"))
"""Types that a float parameter takes without a word. Python before the loop counts: its caches are cold when the loop
before has streamed half a gigabyte through them, and 0.3 ms is a part of 7 ms that shows."""
_TILE = 1024
"""Rows and columns of the tiles in which backends other than the CPU's take an array."""


@dataclass(frozen=True)
class ArrayJob:
    """One kernel over arrays of one shape."""

    kernel: Kernel
    """The kernel."""
    arrays: tuple[Array, ...]
    """One C-contiguous array for each raster parameter."""
    parameters: Mapping[str, Any]
    """Its bound keyword-only parameters."""
    backend: Backend
    """What compiles it."""
    workers: int
    """Threads to use."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.arrays[0].shape
        return height, width

    def run(self, out: Sequence[Array] | None = None) -> tuple[Array, ...]:
        """Computes the results, into ``out`` where it is given."""
        signature = self.kernel.signature([a.dtype for a in self.arrays])
        outputs = tuple(np.empty(self.shape, d) for d in signature.outputs) if out is None else tuple(out)
        for array, dtype in zip(outputs, signature.outputs, strict=True):
            if array.shape != self.shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise KernelError(
                    f"{self.kernel.name}: out= is {array.shape} {array.dtype}; it must be C-contiguous, "
                    f"{self.shape} and {dtype}"
                )
        if isinstance(self.backend, CpuBackend):
            rows, cols = self.kernel.radius
            inner = Window(rows, cols, max(0, self.shape[0] - 2 * rows), max(0, self.shape[1] - 2 * cols))
            if not inner.is_empty:
                self._inner(self.backend, signature, inner, outputs)
            windows = _border(self.shape, inner) if rows or cols or inner.is_empty else []
            if windows and self.kernel.border_is_nodata:
                _fill(outputs, [w for w in windows if w.width == self.shape[1]])  # the launch fills their ends
                windows = []
        else:
            windows = list(tiles(*self.shape, _TILE, _TILE))
        for window in windows:
            self._strip(window, outputs)
        return outputs

    def _inner(self, backend: CpuBackend, signature: Signature, inner: Window, outputs: Sequence[Array]) -> None:
        launch = backend.compile_whole(self.kernel, signature, self.workers)
        self._launch(launch, signature, inner, self.arrays, outputs)

    def _strip(self, window: Window, outputs: Sequence[Array]) -> None:
        """Computes one window through padded copies."""
        place = window.slices(Window(0, 0, *self.shape))
        padded = [self._padded(array, k, window) for k, array in enumerate(self.arrays)]
        arrays = [array for array, _ in padded]
        signature = self.kernel.signature([a.dtype for a in arrays])
        parts = [np.empty(window.shape, o.dtype) for o in outputs]
        launch = self.backend.compile(self.kernel, signature)
        self._launch(launch, signature, window, arrays, parts, [valid for _, valid in padded])
        for output, part in zip(outputs, parts, strict=True):
            output[place] = part

    def _padded(self, array: Array, index: int, window: Window) -> tuple[Array, NDArray[np.uint8]]:
        """The window with its halo, outside cells filled by the kernel's edge, and the validity of each cell."""
        halo = window.expand(*self.kernel.radius)
        edge = self.kernel.edge
        rows, cols = np.arange(halo.row_off, halo.row_end), np.arange(halo.col_off, halo.col_end)
        valid = np.ones(halo.shape, np.uint8)
        if is_index_edge(edge):
            taken = array[inside_index(rows, self.shape[0], edge)[:, None], inside_index(cols, self.shape[1], edge)]
            return taken, valid
        is_float = self.kernel.rasters[index].dtype is None
        compute = self.kernel.signature([a.dtype for a in self.arrays]).compute
        inside = halo.intersection(Window(0, 0, *self.shape))
        outside = (np.nan if is_float else 0) if edge == "nodata" else edge
        padded = np.full(halo.shape, outside, compute if is_float else array.dtype)
        place = inside.slices(halo)
        padded[place] = array[inside.slices(Window(0, 0, *self.shape))]
        if edge == "nodata":
            valid[...] = 0
            valid[place] = 1
        return padded, valid

    def _launch(  # noqa: PLR0917 - what a launch takes, and where
        self,
        launch: Launch,
        signature: Signature,
        window: Window,
        arrays: Sequence[Array],
        outputs: Sequence[Array],
        valid: Sequence[Array] | None = None,
    ) -> None:
        passed: list[Array] = []
        for k, (array, raster) in enumerate(zip(arrays, self.kernel.rasters, strict=True)):
            passed.append(array)
            if raster.dtype is not None:
                passed.append(np.ones(array.shape, np.uint8) if valid is None else valid[k])
        nodata = [nodata_value(dtype, None) for dtype in signature.outputs]
        scalars = scalar_values(self.kernel, self.parameters, signature.compute, window, None)
        launch(passed, outputs, nodata, scalars)


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
    """Puts nodata into whole rows."""
    for output, window in itertools.product(outputs, windows):
        output[window.row_off : window.row_end] = nodata_value(output.dtype, None)


def run_on_arrays(
    kernel: Kernel,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    backend: str,
    workers: int,
    out: Array | Sequence[Array] | None = None,
) -> Array | tuple[Array, ...]:
    """Runs a kernel over arrays.

    Args:
        kernel: The kernel.
        inputs: 2-D arrays of one shape, one for each raster parameter.
        parameters: Its keyword-only parameters.
        backend: The backend's name.
        workers: Threads to use.
        out: Arrays to compute into, one for each result; new ones if left out. Fresh memory costs as much as a cheap
            kernel, so a loop over many arrays does well to reuse its own.

    Returns:
        One array, or a tuple of them where the body returns a tuple.

    Raises:
        KernelError: An input is not 2-D, not of real numbers, or not of the others' shape.
    """
    arrays = tuple(_checked(kernel, k, a) for k, a in enumerate(inputs))
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        named = ", ".join(f"{r.name} {a.shape}" for r, a in zip(kernel.rasters, arrays, strict=True))
        raise KernelError(f"{kernel.name}: the arrays differ in shape ({named}); they must lie on one grid")
    job = ArrayJob(kernel, arrays, kernel.bind(parameters), get_backend(backend), workers)
    given = None if out is None else [out] if isinstance(out, np.ndarray) else list(out)
    if given is not None and len(given) != len(kernel.results):
        raise KernelError(f"{kernel.name} gives {len(kernel.results)} arrays, and out= has {len(given)}")
    if given is not None and any(np.may_share_memory(o, a) for o in given for a in arrays):
        raise KernelError(f"{kernel.name}: out= shares memory with an input, whose cells are still to be read")
    results = job.run(given)
    return results if kernel.form.body.is_tuple else results[0]


def _checked(kernel: Kernel, index: int, value: Any) -> Array:
    parameter = kernel.rasters[index]
    array = np.asarray(value)
    if array.ndim == 2 and array.dtype in _AS_THEY_ARE and parameter.dtype is None and array.flags.c_contiguous:
        return array
    if array.ndim != 2:
        raise KernelError(
            f"{kernel.name}: {parameter.name} has the shape {array.shape}; a raster is 2-D (rows, columns), "
            "so pass one band: array[0]"
        )
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

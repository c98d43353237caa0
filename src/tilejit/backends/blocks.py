"""Bodies of arrays: called with each tile, and held to the contract of every kernel."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import STOP
from tilejit.errors import KernelError, TilejitError
from tilejit.kernel.counts import Counts
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.backends import Launch, LaunchControl
    from tilejit.compiler.form.kinds import Quantity, Signature
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]


class BlockBackend:
    """Calls bodies of arrays where Python runs."""

    name = "block"

    def why_not(self) -> str | None:
        """Python is always there."""
        return None

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns a launch that calls the body with a tile's arrays."""
        return BlockLaunch(kernel, signature)

    def functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """There are none."""
        del kernel, signature
        return []

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the body as its author wrote it."""
        del signature
        return inspect.getsource(kernel.function)


class BlockLaunch:
    """Calls a body of arrays; Ctrl-C is heard when the body returns, or by the body itself."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self.kernel, self.signature = kernel, signature

    def __call__(self, arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        """Computes one tile: see `Launch`."""
        if control is not None and control[STOP]:
            return Counts()
        shape = outputs[0].shape[-2:]
        pairs = zip(self.inputs(arrays), self._paired(arrays), strict=True)
        inputs = [cells if flags is None else np.ma.MaskedArray(cells, flags == 0) for cells, (_, flags) in pairs]
        results = self._called(inputs, self.scalars(scalars, shape))
        return self.stored([self._inner(result, shape) for result in results], arrays, outputs, nodata)

    def _paired(self, arrays: Sequence[Array]) -> list[tuple[Array, Array | None]]:
        """The cells of each raster, and of an integer parameter their validity."""
        remaining = iter(arrays)
        return [(next(remaining), None if r.dtype is None else next(remaining)) for r in self.kernel.rasters]

    def inputs(self, arrays: Sequence[Array]) -> list[Array]:
        """The cells that the body takes, its own."""
        compute = self.signature.compute
        return [np.array(cells, compute if flags is None else None) for cells, flags in self._paired(arrays)]

    def scalars(self, values: Sequence[Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """The body's keyword arguments; what varies by row or column as an array of a column or a row."""
        pairs = zip(self.kernel.scalars, values, strict=False)
        return {scalar.name: self._scalar(scalar.quantity, value, shape) for scalar, value in pairs}

    def _scalar(self, quantity: Quantity | None, value: Any, shape: tuple[int, ...]) -> Any:
        if quantity is None or quantity.axis == "grid":
            return np.asarray(value).item()
        if quantity.is_index:
            steps = np.arange(shape[0] if quantity.axis == "row" else shape[1])
            value = value + (-steps if self.signature.sign(quantity) == "-" else steps)
        return value[:, np.newaxis] if quantity.axis == "row" else value[np.newaxis, :]

    def _called(self, inputs: Sequence[Array], scalars: Mapping[str, Any]) -> tuple[Any, ...]:
        """The body's results."""
        returned = called(self.kernel, self.kernel.function, inputs, scalars)
        results = returned if isinstance(returned, tuple) else (returned,)
        if len(results) != len(self.signature.outputs):
            raise KernelError(
                f"{self._label} returned {counted(len(results), 'array')}, and {len(self.signature.outputs)} are "
                "declared: annotate each, as -> tuple[np.float32, np.uint8]"
            )
        return results

    @property
    def _label(self) -> str:
        return f"{self.kernel.name} ({self.kernel.source.where})"

    def _inner(self, result: Any, shape: tuple[int, ...]) -> Array:
        """A result without the cells around."""
        cells: Array = np.asanyarray(result)
        (rows, cols), inner = self.kernel.radius, tuple(shape)
        whole = inner[0] + 2 * rows, inner[1] + 2 * cols
        if cells.shape not in {inner, whole} or cells.dtype.kind not in "biuf":
            raise KernelError(
                f"{self._label} returned {cells.dtype} of the shape {cells.shape} for a tile of {inner} in arrays of "
                f"{whole}: return real numbers of one of the two shapes"
            )
        return cells if cells.shape == inner else cells[rows : rows + inner[0], cols : cols + inner[1]]

    def stored(
        self, results: Sequence[Array], arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any]
    ) -> Counts:
        """Puts results into the outputs: rounded and held as those of all kernels, with nodata where there is none."""
        invalid, counts = self._invalid(arrays, outputs[0].shape[-2:]), [0, 0]
        for result, output, value in zip(results, outputs, nodata, strict=True):
            cells = np.ma.getdata(result)
            own = invalid | np.ma.getmaskarray(result)
            own |= np.isnan(cells) if cells.dtype.kind == "f" else False
            counts[1] += _store(cells, own, output)
            counts[0] += int(np.count_nonzero(~own & (output == value)))
            output[own] = value
        return Counts.of(self.kernel.name, ["collisions", "saturated"], counts)

    def _invalid(self, arrays: Sequence[Array], shape: tuple[int, ...]) -> Mask:
        """Where a pixel's own cell is invalid in an input, if that decides."""
        found, (rows, cols) = np.zeros(shape, np.bool_), self.kernel.radius
        if self.kernel.nodata == "propagate":
            for cells, flags in self._paired(arrays):
                wrong = np.isnan(cells) if flags is None else flags == 0
                own = wrong[..., rows : rows + shape[0], cols : cols + shape[1]]
                found |= own.any(axis=0) if own.ndim == len(shape) + 1 else own
        return found


def called(kernel: Kernel, body: Callable[..., object], inputs: Sequence[Any], scalars: Mapping[str, Any]) -> object:
    """Calls a body; an error of its own names the kernel."""
    try:
        with np.errstate(all="ignore"):  # as in every kernel: 0 / 0 is NaN
            return body(*inputs, **scalars)
    except TilejitError:
        raise
    except Exception as error:
        shapes = ", ".join(str(cells.shape) for cells in inputs)
        raise KernelError(
            f"{kernel.name} ({kernel.source.where}) failed with arrays of {shapes}: {type(error).__name__}: {error}"
        ) from error


def _store(cells: Array, invalid: Mask, output: Array) -> int:
    """Converts cells, and returns how many valid ones the output's type does not hold."""
    if output.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(output, cells, casting="unsafe")
        return 0
    info = np.iinfo(output.dtype)
    if cells.dtype.kind == "f":
        cells = cells.astype(np.float64)
        cells = np.trunc(cells + np.copysign(0.5, cells))
        high = cells > info.max if int(float(info.max)) == info.max else cells >= float(info.max)
    else:
        cells = cells.astype(np.uint8) if cells.dtype.kind == "b" else cells
        high = cells > info.max
    low = cells < info.min
    with np.errstate(invalid="ignore"):
        np.copyto(output, cells, casting="unsafe")
    output[low], output[high] = info.min, info.max
    return int(np.count_nonzero((low | high) & ~invalid))

"""The body itself, interpreted pixel by pixel: slow, and the definition that the other backends are held to.

It takes nothing from the compiler but the signature: the user's own function runs, with ``math`` replaced by functions
that stay in the compute dtype, and rasters by objects that look cells up. NumPy 2 keeps ``2 * z`` in z's dtype.
"""

from __future__ import annotations

import builtins
import inspect
import itertools
import math
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import tilejit.math as tilejit_math
from tilejit.language.functions import MATH, OWN
from tilejit.language.kinds import Kind
from tilejit.language.names import is_valid
from tilejit.math import float32, float64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.kernel import Kernel
    from tilejit.language.signature import Signature


class PythonBackend:
    """Interprets bodies."""

    name = "python"

    def why_not(self) -> str | None:
        """Python is always there."""
        return None

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns a launch that runs the body for each pixel."""
        return _Interpreter(kernel, signature)

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the body as the user wrote it."""
        del signature
        return "\n".join(kernel.source.lines) + "\n"


class _InvalidInt(int):
    """An integer cell that is nodata: ``is_valid`` sees its class."""


class _Cells:
    """The cells around one pixel of a padded array."""

    def __init__(
        self, array: NDArray[Any], valid: NDArray[np.uint8] | None, radius: tuple[int, int], compute: Any
    ) -> None:
        self.array, self.valid, self.radius, self.compute = array, valid, radius, compute
        self.row = self.col = 0

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        dy, dx = offset
        if abs(dy) > self.radius[0] or abs(dx) > self.radius[1]:
            raise IndexError(f"offset {dy, dx} is beyond the radius {self.radius}")
        row, col = self.row + dy + self.radius[0], self.col + dx + self.radius[1]
        value = self.array[row, col]
        if self.valid is None:
            return self.compute(value)
        return int(value) if self.valid[row, col] else _InvalidInt(value)

    def is_valid(self, offset: tuple[int, int]) -> bool:
        return _is_valid(self[offset])


def _is_valid(value: Any) -> bool:
    return bool(not isinstance(value, _InvalidInt) and value == value)  # noqa: PLR0124


class _Interpreter:
    """A launch that interprets."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self.kernel, self.signature = kernel, signature
        self.body = _Patches(signature.compute).function(kernel.source.function)

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any]) -> int:  # fmt: skip
        cells = self._cells(arrays)
        collisions = 0
        with np.errstate(all="ignore"):
            for row, col in itertools.product(*map(range, outputs[0].shape)):
                for cell in cells.values():
                    cell.row, cell.col = row, col
                results = self._pixel(cells, self._scalars(scalars, row, col))
                for k, output in enumerate(outputs):
                    value = None if results is None else _stored(results[k], output.dtype)
                    collisions += value is not None and bool(value == nodata[k])
                    output[row, col] = nodata[k] if value is None else value
        return collisions

    def _cells(self, arrays: Sequence[NDArray[Any]]) -> dict[str, _Cells]:
        remaining = iter(arrays)
        cells = {}
        for raster in self.kernel.rasters:
            array = next(remaining)
            valid = next(remaining) if raster.dtype is not None else None
            cells[raster.name] = _Cells(array, valid, self.kernel.radius, self.signature.compute.type)
        return cells

    def _scalars(self, scalars: Sequence[Any], row: int, col: int) -> dict[str, Any]:
        values = {}
        for scalar, value in zip(self.kernel.scalars, scalars, strict=True):
            axis = scalar.quantity.axis if scalar.quantity else "grid"
            index = {"row": row, "col": col}.get(axis)
            if index is not None:
                value = value + index if scalar.quantity.is_index else value[index]  # type: ignore[union-attr] # noqa: PLW2901
            if scalar.kind is Kind.FLOAT:
                values[scalar.name] = self.signature.compute.type(value)
            else:
                values[scalar.name] = int(value) if scalar.kind is Kind.INT else bool(value)
        return values

    def _pixel(self, cells: dict[str, _Cells], scalars: dict[str, Any]) -> tuple[Any, ...] | None:
        """The body's results, or None where the pixel is nodata."""
        if self.kernel.nodata == "propagate":
            for name, offsets in self.kernel.form.footprint.items():
                if not all(cells[name].is_valid(offset) for offset in offsets):
                    return None
        arguments = [c if name in self.kernel.windows else c[0, 0] for name, c in cells.items()]
        results = self.body(*arguments, **scalars)
        return results if isinstance(results, tuple) else (results,)


def _stored(value: Any, dtype: np.dtype) -> Any:
    """The value in the output's dtype: floats are rounded to even and saturated, integers saturated; None for NaN."""
    if value != value:  # noqa: PLR0124
        return None
    if dtype.kind == "f":
        return dtype.type(value)
    info = np.iinfo(dtype)
    if isinstance(value, (float, np.floating)):
        if np.isinf(value):
            return dtype.type(info.max if value > 0 else info.min)
        value = round(float(value))
    return dtype.type(min(max(int(value), info.min), info.max))


class _Patches:
    """Copies of functions in which ``math`` stays in the compute dtype."""

    def __init__(self, compute: np.dtype) -> None:
        self.compute = compute
        self._functions: dict[Callable[..., Any], FunctionType] = {}
        self._math = {name: self._math_function(name) for name in MATH}

    def function(self, function: Callable[..., Any]) -> FunctionType:
        """Returns a copy of a plain function that sees patched names."""
        if function not in self._functions:
            source: FunctionType = function  # type: ignore[assignment]
            names = {n for code in _codes(source.__code__) for n in (*code.co_names, *code.co_freevars)}
            namespace: dict[str, Any] = {"__builtins__": builtins}
            copy = FunctionType(source.__code__, namespace, source.__name__, source.__defaults__,
                                tuple(CellType() for _ in source.__closure__ or ()))  # fmt: skip
            copy.__kwdefaults__ = source.__kwdefaults__
            self._functions[function] = copy
            namespace |= {n: self._value(v) for n, v in source.__globals__.items() if n in names}
            for cell, original in zip(copy.__closure__ or (), source.__closure__ or (), strict=True):
                cell.cell_contents = self._value(original.cell_contents)
        return self._functions[function]

    def _value(self, value: Any) -> Any:
        if value is is_valid:
            return _is_valid
        if isinstance(value, ModuleType):
            return _PatchedModule(self, value)
        if isinstance(value, np.generic):
            return value.item()
        name = getattr(value, "__name__", "")
        if name in self._math and value in {getattr(math, name, None), getattr(tilejit_math, name, None)}:
            return self._math[name]
        plain = getattr(value, "py_func", value)
        return self.function(plain) if inspect.isfunction(plain) else value

    def _math_function(self, name: str) -> Callable[..., Any]:
        compute = self.compute.type
        library: Any = float32 if self.compute == np.float32 else float64
        if name in OWN:
            return lambda *values: getattr(library, name)(*map(compute, values))
        if MATH[name][1] is Kind.INT:
            return lambda value: _whole(getattr(math, name), value)
        if MATH[name][1] is Kind.BOOL:
            return getattr(math, name)  # type: ignore[no-any-return]
        return lambda *values: compute(_float64_math(name, *map(compute, values)))


def _float64_math(name: str, *values: Any) -> float:
    """A function of ``math`` that follows C instead of raising."""
    numpy_name = {"asin": "arcsin", "acos": "arccos", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
                  "pow": "power"}.get(name, name)  # fmt: skip
    function = getattr(np, numpy_name, None)
    if function is not None:
        return float(function(*values))
    try:
        return float(getattr(math, name)(*values))
    except (ValueError, OverflowError):
        return math.nan


def _whole(function: Callable[[Any], int], value: Any) -> int:
    return int(function(value)) if math.isfinite(value) else -(2**63)


def _codes(code: Any) -> list[Any]:
    return [code, *itertools.chain.from_iterable(_codes(c) for c in code.co_consts if inspect.iscode(c))]


class _PatchedModule(SimpleNamespace):
    """A module whose attributes are patched as they are looked up."""

    def __init__(self, patches: _Patches, module: ModuleType) -> None:
        super().__init__()
        self.__dict__["_lookup"] = lambda name: patches._value(getattr(module, name))  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_lookup"](name)

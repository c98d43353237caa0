"""The lines that put a pixel's results into the output arrays: validity, nodata values, saturation."""

from __future__ import annotations

import ast
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.form import Form, Window
    from tilejit.compiler.signature import Signature
    from tilejit.kernel.kernel import Kernel

_WRITTEN_OUT = 32
"""Cells whose checks are written out one by one; a larger footprint is checked in loops."""


def saturating_casts(signature: Signature, decorator: str) -> str:
    """The functions that turn a float result into an integer dtype: halves away from zero, saturated, as GDAL does.

    What is added before cutting is the float below one half: with 0.5 itself, 0.49999997 would round up.
    """
    dtypes = dict.fromkeys(d for d in signature.outputs if d.kind in "iu")
    return "".join(_saturating_cast(dtype, signature, decorator) for dtype in dtypes)


def _saturating_cast(dtype: np.dtype, signature: Signature, decorator: str) -> str:
    info = np.iinfo(dtype)
    compute = signature.compute if dtype.itemsize <= 2 else np.dtype(np.float64)
    name = "f32" if compute == np.float32 else "f64"
    half = float(np.nextafter(compute.type(0.5), compute.type(0)))
    most = int(info.max) if dtype.itemsize < 8 else int(most_below(float(info.max), compute))
    lines = [
        f"def _to_{dtype}(value):",
        f"    held = min(max({name}(value), {name}({info.min})), {name}({most}))",
        f"    cut = np.{dtype}(held + ({name}({half}) if held >= {name}(0.0) else {name}({-half})))",
        f"    return cut if {name}(value) <= held else np.{dtype}({info.max})",
    ]  # fmt: skip
    if dtype.itemsize < 8:
        lines[-1] = "    return cut"  # every other bound is a float64
    return f"\n\n{decorator}\n" + "\n".join(lines) + "\n"


def validity_test(kernel: Kernel, window: Window, cell: Callable[[str, int, int], str],
                  step: str = "_k") -> list[str]:  # fmt: skip
    """The lines that fold the validity of a raster's cells into ``_ok``; ``step`` moves an index by ``_k``."""
    array = f"_{window.name}_valid" if window.kind is Kind.INT else window.name
    offsets = sorted(kernel.checked_cells[window.raster])
    test = "{0} != 0" if window.kind is Kind.INT else "{0} == {0}"
    if len(offsets) <= _WRITTEN_OUT:
        return [f"_ok = _ok & ({test.format(cell(array, dy, dx))})" for dy, dx in offsets]
    rows = sorted({dy for dy, _ in offsets})
    lines = []
    for dy in rows:
        cols = sorted(dx for y, dx in offsets if y == dy)
        index = cell(array, dy, cols[0])
        if cols == list(range(cols[0], cols[-1] + 1)):
            moved = f"{index[:-1]} + {step}]"
            lines += [f"for _k in range({len(cols)}):", f"    _ok = _ok & ({test.format(moved)})"]
        else:
            lines += [f"_ok = _ok & ({test.format(cell(array, dy, dx))})" for dx in cols]
    return lines


def counters_of(kernel: Kernel, signature: Signature) -> tuple[str, ...]:
    """What a launch counts, each into an element of its last argument; where that is nothing, there is none.

    Collisions with nodata: NaN equals nothing, so only other nodata values collide. Pixels that asked for cells beyond
    the radius. Results that their integer type does not hold, and cells that no integer of a body does.
    """
    saturates = any(map(_saturates, kernel.results, signature.outputs))
    known = {"collisions": not all(signature.nan_nodata), "beyond": "beyond" in kernel.form.body.notes}
    known["saturated"] = saturates or "saturated" in kernel.form.body.notes
    return tuple(name for name, is_there in known.items() if is_there)


def _saturates(kind: Kind, dtype: np.dtype) -> bool:
    """Whether a result of a kind may lie beyond what a dtype holds."""
    return dtype.kind in "iu" and (kind is Kind.FLOAT or (kind is Kind.INT and dtype != np.int64))


def most_below(bound: float, dtype: np.dtype) -> float:
    """The largest number below ``bound`` of a float dtype."""
    return float(np.nextafter(dtype.type(bound), dtype.type(0)))


def settling_lines(kernel: Kernel, form: Form, *, checked: bool,
                   count: Callable[[str, str], str]) -> tuple[list[str], bool]:  # fmt: skip
    """The lines that take in what the body noted of its pixel, and whether ``_ok`` is known after them.

    Args:
        kernel: Whose body it is.
        form: The body in this variant.
        checked: Whether ``_ok`` is known before.
        count: What is counted, and a condition -> the statement that counts it.
    """
    notes = form.body.notes
    told = [note for note in notes if note != "undefined"]
    lines = [count(note, f"_{note} & _ok" if checked else f"_{note}") for note in told]
    void = {"undefined", "beyond"} if kernel.nodata == "propagate" else {"undefined"}
    empty = [note for note in notes if note in void]
    tests = [*(["_ok"] if checked else []), *(f"(not _{note})" for note in empty)]
    return [*lines, *([f"_ok = {' & '.join(tests)}"] if empty else [])], checked or bool(empty)


def store_lines(kernel: Kernel, signature: Signature, cell: Callable[[int], str], *, checked: bool,
                count: Callable[[str, str], str]) -> list[str]:  # fmt: skip
    """The lines that store ``_v0``, ``_v1``, … where ``_ok`` (if ``checked``) says whether the pixel is valid.

    Args:
        kernel: Whose results they are.
        signature: Their dtypes and nodata.
        cell: Number of a result -> the text of its cell in the output array.
        checked: Whether ``_ok`` is known.
        count: What is counted, and a condition -> the statement that counts it.
    """
    lines: list[str] = []
    for k, (kind, dtype, nan) in enumerate(zip(kernel.results, signature.outputs, signature.nan_nodata, strict=True)):
        value = _converted(f"_v{k}", kind, dtype)
        beyond = _beyond_type(f"_v{k}", dtype, kind, signature.compute) if _saturates(kind, dtype) else ""
        tests = (["not _ok"] if checked else []) + ([f"_isnan(_v{k})"] if kind is Kind.FLOAT and not nan else [])
        if nan:
            lines.append(f"{cell(k)} = {value} if _ok else _nodata{k}" if checked else f"{cell(k)} = {value}")
            continue
        if not tests:
            lines += [f"_r{k} = {value}", count("collisions", f"_r{k} == _nodata{k}"), f"{cell(k)} = _r{k}"]
            lines += [count("saturated", beyond)] if beyond else []
            continue
        lines += [
            f"_bad{k} = {' | '.join(f'({t})' for t in tests)}",
            f"_r{k} = _nodata{k} if _bad{k} else {value}",
            count("collisions", f"(_r{k} == _nodata{k}) & (not _bad{k})"),
            f"{cell(k)} = _r{k}",
        ]
        lines += [count("saturated", f"({beyond}) & (not _bad{k})")] if beyond else []
    return lines


def _beyond_type(value: str, dtype: np.dtype, kind: Kind, compute: np.dtype) -> str:
    """The test whether a result lies beyond what an integer dtype holds, floats after they are rounded."""
    info = np.iinfo(dtype)
    if kind is Kind.INT:
        return f"{value} < 0" if dtype == np.uint64 else f"({value} < {info.min}) | ({value} > {info.max})"
    half = Fraction(1, 2)
    low, high = -_at_least(half - info.min, compute), _at_least(info.max + half, compute)
    name = "f32" if compute == np.float32 else "f64"
    return f"({value} <= {name}({low})) | ({value} >= {name}({high}))"


def _at_least(bound: Fraction, dtype: np.dtype) -> float:
    """The smallest number of a float dtype that is not below ``bound``."""
    near = dtype.type(float(bound))
    return float(near if Fraction(float(near)) >= bound else np.nextafter(near, dtype.type(np.inf)))


def _converted(value: str, kind: Kind, dtype: np.dtype) -> str:
    if dtype.kind == "f" or kind is Kind.BOOL:
        return f"np.{dtype}({value})"
    if kind is Kind.FLOAT:
        return f"_to_{dtype}({value})"
    info = np.iinfo(dtype)
    if dtype.itemsize == 8:
        return f"np.int64({value})" if dtype == np.int64 else f"np.uint64(max({value}, 0))"
    return f"np.{dtype}(min(max({value}, {info.min}), {info.max}))"


def unparse(node: ast.expr) -> str:
    """The text of an expression."""
    return ast.unparse(ast.fix_missing_locations(node))

"""A form as a Python module for numba-cuda: one thread per pixel.

Rules, each measured on the assembled code (docs/performance.md): indices are unsigned and shifted by the radius,
because Numba wraps a signed index around and that costs half of a slope's instructions; LLVM inlines the functions,
which gives the same instructions as Numba's own inlining and compiles a 5x5 median in 0.6 s instead of 22; literals are
typed; validity is always checked where NaN does not find its own way, because the loads are shared with the body's.
Division and square root are approximate (2 ulp), but the functions of ``math`` are the precise ones unless the kernel
is declared ``fast``: the fast ones lose digits as arguments grow.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.functions import OWN
from tilejit.compiler.hoist import Hoisted, hoist
from tilejit.compiler.kinds import Kind
from tilejit.compiler.rows import arguments_of
from tilejit.compiler.spelling import Spelling, device_parameters, function_text, math_used
from tilejit.compiler.stores import (
    counters_of,
    most_below,
    saturating_casts,
    settling_lines,
    store_lines,
    unparse,
    validity_test,
)

if TYPE_CHECKING:
    from tilejit.compiler.form import Form
    from tilejit.compiler.signature import Signature
    from tilejit.kernel.kernel import Kernel

_DOC = '''"""{name}: {signature}, one tile at a time, on CUDA.

Written by tilejit from the body of {name} in {file}. Change that and not this: another body makes another file.
"""'''
_ROUNDED = (
    "(value):\n    held = value if abs(value) < _MOST else _ZERO\n"
    "    return {{float}}({0}(held)) if abs(value) < _MOST else value"
)
"""Numba has no rounding but to 64-bit integers; what these do not hold is whole already."""
_HELPERS = {
    "_rint": _ROUNDED.format("round"),
    "_floor": _ROUNDED.format("math.floor"),
    "_ceil": _ROUNDED.format("math.ceil"),
    "_cut": "(value):\n    held = min(max(value, _LEAST), _MOST) if value == value else _ZERO\n"
    "    return i64(2**63 - 1) if value > _MOST else i64(held)",
    "_minimum": "(a, b):\n    return b if b < a else a",
    "_maximum": "(a, b):\n    return b if b > a else a",
    "_isnan": "(a):\n    return a != a",
}
_NAMES = {
    "f32": "np.float32",
    "f64": "np.float64",
    "i64": "np.int64",
    "u64": "np.uint64",
    "_NAN": "{float}(np.nan)",
    "_INF": "{float}(np.inf)",
    "_LEAST": "{float}(-(2.0**63))",
    "_MOST": "{float}({most})",
    "_ZERO": "{float}(0.0)",
    "_INLINE": '{{"device": True, "forceinline": True, "fastmath": True}}',
    # Without fastmath, which would swap the functions of the device library for cruder ones.
    "_MATH": '{{"device": True, "forceinline": True, "fastmath": {fast}}}',
    "_OUTER": '{{"fastmath": True}}',
}
_DECORATOR = "@cuda.jit(**_INLINE)"

_PLAIN = {
    "hypot": "math.sqrt(a * a + b * b)",
    "degrees": "a * {float}(57.29577951308232)",
    "radians": "a * {float}(0.017453292519943295)",
}
"""Spelled as tj.math does: the device's own hypot(inf, nan) is inf, and scales what needs no scaling."""
_PRECISE = {*OWN, "tan", "tanh", "log2", "log10"} - _PLAIN.keys()
"""Functions of which fastmath has a cruder form, and those that a Spelling expects in the compute dtype."""
_OF_TWO = {"atan2", "hypot", "pow"}

_NOTHING = {Kind.FLOAT: "_NAN", Kind.BOOL: "False", Kind.INT: "0"}


def cuda_source(kernel: Kernel, signature: Signature) -> str:
    """Returns the module's text: ``launch`` takes padded inputs and outputs of the inner shape.

    Where `counters_of` has something to count, its last argument is an array of as many integers, which are added to.

    Args:
        kernel: The kernel.
        signature: The dtypes.

    Raises:
        KernelError: It calls a C function.
    """
    for function in kernel.form.c_functions:
        function.refuse_on_gpu()
    name = "f64" if signature.compute == np.float64 else "f32"
    form = hoisted(kernel).form
    own = _PRECISE | _PLAIN.keys() | {"floor", "ceil", "rint"}
    spelling = Spelling(name, _shifted, lambda n: f"_{n}" if n in own else f"math.{n}")
    functions = _math_functions(math_used(form), name)
    if Kind.FLOAT in kernel.results:
        functions.append(saturating_casts(signature, _DECORATOR))
    functions += [function_text(spelling, form, f, _DECORATOR) for f in form.functions]
    functions.append(_launch(kernel, signature, form))
    return _module(kernel, signature, [f for f in functions if f])


def hoisted(kernel: Kernel) -> Hoisted:
    """What a launch computes before it starts: ``launch`` takes those values behind the kernel's own scalars."""
    return hoist(kernel, kernel.form)


def _module(kernel: Kernel, signature: Signature, functions: list[str]) -> str:
    """Puts in front of the functions what they use, and two empty lines between all."""
    text = "\n".join(functions)
    fill = {"float": f"f{8 * signature.compute.itemsize}", "fast": kernel.fast,
            "most": most_below(2.0**63, signature.compute)}  # fmt: skip
    helpers = [f"{_DECORATOR}\ndef {n}{body.format(**fill)}" for n, body in _HELPERS.items() if _uses(text, n)]
    text += "\n".join(helpers)
    names = [f"{name} = {value.format(**fill)}" for name, value in _NAMES.items() if _uses(text, name)]
    steps = sorted({int(n) for n in re.findall(r"\b_U(\d+)\b", text)})
    # Typed, because uint64 + int64 is float64.
    names += [f"_U{n} = np.uint64({n})" for n in steps]
    doc = _DOC.format(name=kernel.name, signature=signature, file=kernel.source.file)
    imports = ["import math\n"] if _uses(text, "math") else []
    head = "\n".join([doc, "", *imports, "import numpy as np", "from numba import cuda", "", *names])
    return "\n\n\n".join([head, *(part.strip("\n") for part in (*helpers, *functions))]) + "\n"


def _uses(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){name}\b", text) is not None


def _math_functions(names: set[str], float_name: str) -> list[str]:
    parts = []
    for name in sorted(names & (_PRECISE | _PLAIN.keys())):
        values = "a, b" if name in _OF_TWO else "a"
        plain = _PLAIN.get(name, "").format(float=float_name)
        decorator = _DECORATOR if plain else "@cuda.jit(**_MATH)"
        result = plain or f"math.{name}({values})"
        parts.append(f"{decorator}\ndef _{name}({values}):\n    return {float_name}({result})")
    return parts


def _shifted(index: str, offset: ast.expr, radius: int) -> ast.expr:
    """Padded arrays start a radius before the pixel, so offsets are never negative."""
    if isinstance(offset, ast.Constant):
        moved = int(offset.value) + radius  # type: ignore[arg-type]
        return ast.parse(f"{index} + _U{moved}" if moved else index, mode="eval").body
    return ast.parse(f"{index} + u64({unparse(offset)} + {radius})", mode="eval").body


def _cell(form: Form, array: str, dy: int, dx: int) -> str:
    row = unparse(_shifted("_y", ast.Constant(dy), form.radius[0]))
    col = unparse(_shifted("_x", ast.Constant(dx), form.radius[1]))
    return f"{array}[{row}, {col}]"


def _launch(kernel: Kernel, signature: Signature, form: Form) -> str:
    own = arguments_of(kernel, signature)
    before = form.body.scalars[len(kernel.scalars) :]
    counters = counters_of(kernel, signature)
    arguments = [*own, *before, *["_counts"] * bool(counters)]
    checked = kernel.is_checked
    at_pixels, scalars = _scalars(kernel, signature, form)

    def count(name: str, test: str) -> str:
        return f"if {test}:\n    cuda.atomic.add(_counts, {counters.index(name)}, 1)"

    settling, settled = settling_lines(kernel, form, checked=checked, count=count)
    lines = [
        "_col, _row = cuda.grid(2)",
        "_y = u64(_row)",
        "_x = u64(_col)",
        "if _y >= u64(_out0.shape[0]) or _x >= u64(_out0.shape[1]):",
        "    return",
        *at_pixels,
        *_call(kernel, form, scalars, checked=checked),
        *settling,
        *store_lines(kernel, signature, lambda k: f"_out{k}[_y, _x]", checked=settled, count=count),
    ]
    text = "\n".join(f"    {line}" for part in lines for line in part.split("\n"))
    return f"@cuda.jit(**_OUTER)\ndef launch({', '.join(arguments)}):\n{text}"


def _scalars(kernel: Kernel, signature: Signature, form: Form) -> tuple[list[str], list[str]]:
    """The lines that look up what varies by row or column, and what the body is called with."""
    lines, values = [], []
    count = len(kernel.scalars)
    for scalar, name in zip(kernel.scalars, form.body.scalars[:count], strict=True):
        axis = scalar.quantity.axis if scalar.quantity else "grid"
        index = {"row": "_y", "col": "_x"}.get(axis)
        if scalar.quantity is None or index is None:
            values.append(name)
            continue
        held = f"_{name}_here"
        counted = f"{name} {signature.sign(scalar.quantity)} i64({index})"
        lines.append(f"{held} = {counted}" if scalar.quantity.is_index else f"{held} = {name}[{index}]")
        values.append(held)
    return lines, [*values, *form.body.scalars[count:]]


def _call(kernel: Kernel, form: Form, scalars: list[str], *, checked: bool) -> list[str]:
    """The lines that look at the pixel's validity and call the body."""
    comma = "," if form.body.is_tuple and len(kernel.results) == 1 and not form.body.notes else ""
    noted = [f"_{note}" for note in form.body.notes]
    results = ", ".join([*(f"_v{k}" for k in range(len(kernel.results))), *noted]) + comma
    arrays = [p for p in device_parameters(form.body) if p not in form.body.scalars]
    line = f"{results} = {form.body.name}({', '.join([*arrays, *scalars])})"
    if not checked:
        return [line]
    lines = ["_ok = True"]
    for window in form.body.windows:
        lines += validity_test(kernel, window, lambda a, dy, dx: _cell(form, a, dy, dx), step="u64(_k)")
    if not form.has_while:
        return [*lines, line]
    # NaN must not enter a loop that waits for a comparison to become true.
    nothing = ", ".join([*(_NOTHING[kind] for kind in kernel.results), *("False" for _ in noted)]) + comma
    return [*lines, "if _ok:", f"    {line}", "else:", f"    {results} = {nothing}"]

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
import copy
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tilejit.language.form import call
from tilejit.language.functions import OWN
from tilejit.language.hoist import Hoisted, hoist
from tilejit.language.kinds import Kind
from tilejit.language.rows import arguments_of
from tilejit.language.spelling import Spelling, device_parameters, function_text, math_used
from tilejit.language.stores import saturating_casts, store_lines, unparse, validity_test

if TYPE_CHECKING:
    from tilejit.kernel.kernel import Kernel
    from tilejit.language.form import Form
    from tilejit.language.signature import Signature

_DOC = '''"""{name}: {signature}, one tile at a time, on CUDA.

Written by tilejit from the body of {name} in {file}. Change that and not this: another body makes another file.
"""'''
_HELPERS = {
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
_PRECISE = {*OWN, "tan", "tanh", "log2", "log10", "pow"} - _PLAIN.keys()
"""Functions of which fastmath has a cruder form, and those that a Spelling expects in the compute dtype."""
_OF_TWO = {"atan2", "hypot", "pow"}

_NOTHING = {Kind.FLOAT: "_NAN", Kind.BOOL: "False", Kind.INT: "0"}


def cuda_source(kernel: Kernel, signature: Signature) -> str:
    """Returns the module's text: ``launch`` takes padded inputs and outputs of the inner shape.

    Where some nodata value is not NaN, its last argument is an integer array of one element, to which the number of
    valid pixels whose result equals nodata is added.

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
    spelling = Spelling(name, _shifted, lambda n: f"_{n}" if n in _PRECISE | _PLAIN.keys() else f"math.{n}")
    functions = _math_functions(math_used(form), name)
    if Kind.FLOAT in kernel.results:
        functions.append(saturating_casts(kernel, signature, _DECORATOR))
    functions += [function_text(spelling, form, f, _DECORATOR) for f in form.functions]
    functions.append(_launch(kernel, signature, form))
    return _module(kernel, signature, [f for f in functions if f])


def hoisted(kernel: Kernel) -> Hoisted:
    """What a launch computes before it starts: ``launch`` takes those values behind the kernel's own scalars."""
    return hoist(kernel, _with_power_calls(kernel.form))


def counts_collisions(signature: Signature) -> bool:
    """Whether ``launch`` takes an array to count in: NaN equals nothing, so only other nodata values collide."""
    return not all(signature.nan_nodata)


def _module(kernel: Kernel, signature: Signature, functions: list[str]) -> str:
    """Puts in front of the functions what they use, and two empty lines between all."""
    text = "\n".join(functions)
    helpers = [f"{_DECORATOR}\ndef {name}{body}" for name, body in _HELPERS.items() if _uses(text, name)]
    text += "\n".join(helpers)
    fill = {"float": f"f{8 * signature.compute.itemsize}", "fast": kernel.fast}
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


class _PowerCalls(ast.NodeTransformer):
    """Spells ``x ** y`` as a call, unless y is a literal integer, which Numba multiplies out."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow) or isinstance(node.right, ast.Constant):
            return node
        return call("_math", ast.Constant("pow"), node.left, node.right)


def _with_power_calls(form: Form) -> Form:
    functions = tuple(
        replace(f, body=tuple(_PowerCalls().visit(copy.deepcopy(s)) for s in f.body)) for f in form.functions
    )
    return replace(form, functions=functions)


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
    arguments = [*own, *before, *["_collisions"] * counts_collisions(signature)]
    checked = kernel.nodata == "propagate" and not kernel.carries_nan
    at_pixels, scalars = _scalars(kernel, form)
    lines = [
        "_col, _row = cuda.grid(2)",
        "_y = u64(_row)",
        "_x = u64(_col)",
        "if _y >= u64(_out0.shape[0]) or _x >= u64(_out0.shape[1]):",
        "    return",
        *at_pixels,
        *_call(kernel, form, scalars, checked=checked),
        *store_lines(kernel, signature, lambda k: f"_out{k}[_y, _x]", checked=checked,
                     count="if {0}:\n    cuda.atomic.add(_collisions, 0, 1)"),
    ]  # fmt: skip
    text = "\n".join(f"    {line}" for part in lines for line in part.split("\n"))
    return f"@cuda.jit(**_OUTER)\ndef launch({', '.join(arguments)}):\n{text}"


def _scalars(kernel: Kernel, form: Form) -> tuple[list[str], list[str]]:
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
        lines.append(f"{held} = {name} + i64({index})" if scalar.quantity.is_index else f"{held} = {name}[{index}]")
        values.append(held)
    return lines, [*values, *form.body.scalars[count:]]


def _call(kernel: Kernel, form: Form, scalars: list[str], *, checked: bool) -> list[str]:
    """The lines that look at the pixel's validity and call the body."""
    comma = "," if form.body.is_tuple and len(kernel.results) == 1 else ""
    results = ", ".join(f"_v{k}" for k in range(len(kernel.results))) + comma
    arrays = [p for p in device_parameters(form.body) if p not in form.body.scalars]
    line = f"{results} = {form.body.name}({', '.join([*arrays, *scalars])})"
    if not checked:
        return [line]
    lines = ["_ok = True"]
    for window in form.body.windows:
        lines += validity_test(form, window, lambda a, dy, dx: _cell(form, a, dy, dx), step="u64(_k)")
    if not form.has_while:
        return [*lines, line]
    # NaN must not enter a loop that waits for a comparison to become true.
    nothing = ", ".join(_NOTHING[kind] for kind in kernel.results) + comma
    return [*lines, "if _ok:", f"    {line}", "else:", f"    {results} = {nothing}"]

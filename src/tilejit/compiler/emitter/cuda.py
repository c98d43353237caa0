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
from dataclasses import replace
from typing import TYPE_CHECKING

from tilejit.compiler.emitter.array_places import networks, sorting_functions
from tilejit.compiler.emitter.module import Target, float_name, function_text, math_used, module_text
from tilejit.compiler.emitter.passes import hoisted
from tilejit.compiler.emitter.pixels import Pixels, arguments_of, saturating_casts
from tilejit.compiler.form.form import OWN, is_call
from tilejit.compiler.form.tables import module_parts

if TYPE_CHECKING:
    import numpy as np

    from tilejit.compiler.emitter.module import Body
    from tilejit.compiler.form.form import Form
    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.form.tables import Table

_ROUNDED = (
    "(value):\n    held = value if abs(value) < _MOST else _ZERO\n"
    "    return {{float}}({0}(held)) if abs(value) < _MOST else value"
)
"""Numba has no rounding but to 64-bit integers; what these do not hold is whole already."""
_PLAIN = {
    "hypot": "math.sqrt(a * a + b * b)",
    "degrees": "a * {float}(57.29577951308232)",
    "radians": "a * {float}(0.017453292519943295)",
}
"""Spelled as tj.math does: the device's own hypot(inf, nan) is inf, and scales what needs no scaling."""
_PRECISE = {*OWN, "tan", "tanh", "log2", "log10"} - _PLAIN.keys()
"""Functions of which fastmath has a cruder form, and those that a form expects in the compute dtype."""
_OF_TWO = {"atan2", "hypot", "pow"}
_CONSTANT_BYTES = 1 << 15
"""Tables up to here lie in constant memory, of which there are 64 KB; larger ones in global memory."""
_TARGET = Target(
    module="cuda",
    decorator="@cuda.jit(**_INLINE)",
    shifted="{0} + _U{1}",
    shifted_by="{0} + u64({1} + {2})",
    running="u64({0})",
    counted="i64({0})",
    array="cuda.local.array({1}, {2})",
    own_math=frozenset(_PRECISE | _PLAIN.keys() | {"floor", "ceil", "rint"}),
    of_numpy=frozenset(),
    has_select=False,
    helpers={
        "_rint": _ROUNDED.format("round"),
        "_floor": _ROUNDED.format("math.floor"),
        "_ceil": _ROUNDED.format("math.ceil"),
        "_cut": "(value):\n    held = min(max(value, _LEAST), _MOST) if value == value else _ZERO\n"
        "    return i64(2**63 - 1) if value > _MOST else i64(held)",
        "_within": "(i, n):\n    return i if (i >= 0) & (i < n) else i64(n)",
        "_minimum": "(a, b):\n    return b if b < a else a",
        "_maximum": "(a, b):\n    return b if b > a else a",
        "_isnan": "(a):\n    return a != a",
    },
    options={
        "_INLINE": '{{"device": True, "forceinline": True, "fastmath": True}}',
        # Without fastmath, which would swap the functions of the device library for cruder ones.
        "_MATH": '{{"device": True, "forceinline": True, "fastmath": {fast}}}',
        "_OUTER": '{{"fastmath": True}}',
    },
)


def cuda_source(kernel: Body, signature: Signature) -> str:
    """Returns the module's text: ``launch`` takes padded inputs and outputs of the inner shape.

    Where `counters_of` has something to count, its last argument is an array of as many integers, which are added to.

    Raises:
        KernelError: It calls a C function.
    """
    for function in kernel.form.c_functions:
        function.refuse_on_gpu()
    form = hoisted(kernel).form
    given = {table.name for table in given_tables(kernel, signature)}
    form = _taking(form, given)
    constants, readers = module_parts(form.tables, signature.compute, _TARGET.decorator, given)
    functions = [
        *readers,
        *_math_functions(math_used(form), signature.compute),
        *networks(form, float_name(signature.compute), _TARGET.decorator),
        *sorting_functions(form, _TARGET.decorator),
        *saturating_casts(_TARGET, kernel, signature),
        *(function_text(_TARGET, signature, form, f) for f in form.functions),
        _launch(kernel, signature, form),
    ]
    shape = "one tile at a time, on CUDA"
    return module_text(_TARGET, kernel, signature, functions, constants, shape=shape, fast=str(kernel.fast))


def given_tables(kernel: Body, signature: Signature) -> list[Table]:
    """Returns the tables that a launch takes, after all else: those for which constant memory has no room."""
    room, given = _CONSTANT_BYTES, []
    for table in sorted(kernel.form.tables, key=lambda t: t.values.size):
        room -= table.stored(signature.compute).nbytes
        given += [table] * (room < 0)
    return given


def _taking(form: Form, given: set[str]) -> Form:
    """The form whose functions take the tables that they and those that they call index."""
    taken: dict[str, tuple[str, ...]] = {}
    for function in form.functions:
        calls = [n for s in function.body for n in ast.walk(s) if isinstance(n, ast.Call)]
        own = [str(n.args[0].value) for n in calls if is_call(n, "_table")]  # type: ignore[attr-defined]
        called = [name for n in calls for name in taken.get(getattr(n.func, "id", ""), ())]
        taken[function.name] = tuple(sorted(given & {*own, *called}))
    return replace(form, functions=tuple(replace(f, tables=taken[f.name]) for f in form.functions))


def _math_functions(names: set[str], compute: np.dtype) -> list[str]:
    parts, number = [], float_name(compute)
    for name in sorted(names & (_PRECISE | _PLAIN.keys())):
        values = "a, b" if name in _OF_TWO else "a"
        plain = _PLAIN.get(name, "").format(float=number)
        decorator = _TARGET.decorator if plain else "@cuda.jit(**_MATH)"
        result = plain or f"math.{name}({values})"
        parts.append(f"{decorator}\ndef _{name}({values}):\n    return {number}({result})")
    return parts


def _launch(kernel: Body, signature: Signature, form: Form) -> str:
    pixels = Pixels(_TARGET, kernel, signature, form, checked=any(kernel.checked_cells.values()))
    before = form.body.scalars[len(kernel.form.body.scalars) :]
    arguments = [*arguments_of(kernel, signature), *before, *["_counts"] * bool(pixels.counters)]
    arguments += [table.name for table in given_tables(kernel, signature)]

    def count(name: str, test: str) -> str:
        index = pixels.counters.index(name)
        first = f"\n    cuda.atomic.max(_counts, {index + 1}, i64({pixels.extent(0)} - _row))"
        return f"if {test}:\n    cuda.atomic.add(_counts, {index}, 1){first * (name == 'outside')}"

    looked_up, scalars = pixels.scalars()
    layer = "u64(_layer), " if form.body.result else ""
    lines = [
        "_col, _row = cuda.grid(2)",
        "_y = u64(_row)",
        "_x = u64(_col)",
        f"if _y >= u64({pixels.extent(0)}) or _x >= u64({pixels.extent(1)}):",
        "    return",
        *looked_up,
        *pixels.lines(scalars, lambda k: f"_out{k}[{layer}_y, _x]", count),
    ]
    text = "\n".join(f"    {line}" for part in lines for line in part.split("\n"))
    return f"@cuda.jit(**_OUTER)\ndef launch({', '.join(arguments)}):\n{text}"

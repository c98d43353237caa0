"""The emitter: a form's functions, and the module around them, as text in a target's spelling."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.compiler.emitter.array_places import local_array
from tilejit.compiler.emitter.imported import imports_of, uses
from tilejit.compiler.form.c_functions import is_narrow
from tilejit.compiler.form.form import OWN, call, copied, is_call, load
from tilejit.compiler.form.kinds import Kind
from tilejit.math import float32, float64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.compiler.form.form import Cell, Form, Function
    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.form.parameters import ScalarParameter
    from tilejit.compiler.form.source import FunctionSource

_DOC = '''"""{name}: {signature}, {shape}.

Written by tilejit from the body of {name} in {file}. Change that and not this: another body makes another file.
"""'''
_NAMES = {
    "f32": "np.float32",
    "f64": "np.float64",
    "i64": "np.int64",
    "u64": "np.uint64",
    "_u8": "np.uint8",
    "_NAN": "{float}(np.nan)",
    "_INF": "{float}(np.inf)",
    "_LEAST": "{float}(-(2.0**63))",
    "_MOST": "{float}({most})",
    "_ZERO": "{float}(0.0)",
}
_DIRECT = {"isnan": "_isnan", "fabs": "abs"}
_CONVERSIONS = {"float32": "f32", "float64": "f64", "int64": "i64"}


@dataclass(frozen=True, slots=True)
class Target:
    """How the CPU, or CUDA, spells what differs between them."""

    module: str
    """What is imported of Numba."""
    decorator: str
    """The decorator of a function that is inlined."""
    shifted: str
    """An index and a literal number of cells -> the index so many further."""
    shifted_by: str
    """The same for an offset known only while running, plus the radius: padded arrays start that much earlier."""
    running: str
    """A loop variable, to be added to an index."""
    counted: str
    """An index as a signed integer."""
    array: str
    """The place of a local array, by the name of its dtype and its length."""
    own_math: frozenset[str]
    """Functions of ``math`` that the module has of its own, with a leading underscore."""
    of_numpy: frozenset[str]
    """Functions of ``math`` that are taken of NumPy."""
    has_select: bool
    """Whether ``_select`` is a function of the module; otherwise it is a conditional expression."""
    helpers: Mapping[str, str]
    """Functions of the module: name -> parameters and statements; the first ones may use others."""
    options: Mapping[str, str]
    """Names of decorators' arguments."""
    operations: Sequence[str] = ()
    """What modules take of `tilejit.compiler.jit.operations`."""

    def math_name(self, name: str) -> str:
        """What a function of ``math`` is called in the module."""
        if name in self.own_math:
            return f"_{name}"
        return f"{'np' if name in self.of_numpy else 'math'}.{name}"

    def index(self, index: str, offset: ast.expr, radius: int) -> str:
        """The index into a padded array."""
        if isinstance(offset, ast.Constant):
            return self.moved(index, int(offset.value) + radius)  # type: ignore[arg-type]
        return self.shifted_by.format(index, unparse(offset), radius)

    def moved(self, index: str, cells: int) -> str:
        """The index some cells further."""
        return self.shifted.format(index, cells) if cells else index


class Body(Protocol):
    """What is made source of: a kernel, as far as the compiler knows it."""

    @property
    def source(self) -> FunctionSource:
        """Its text."""

    @property
    def scalars(self) -> tuple[ScalarParameter, ...]:
        """Its keyword-only parameters."""

    @property
    def form(self) -> Form:
        """For tiles that may hold invalid cells."""

    @property
    def clean_form(self) -> Form:
        """For tiles in which every cell is valid."""

    @property
    def looped_form(self) -> Form | None:
        """With its longer loops kept, where that is another one."""

    @property
    def checked_cells(self) -> Mapping[str, frozenset[Cell]]:
        """For each raster, the cells whose validity is asked for each pixel."""

    @property
    def nodata(self) -> str:
        """Whether tilejit deals with invalid cells ("propagate") or the body ("kernel")."""

    @property
    def fast(self) -> bool:
        """Whether the last bits matter less than speed."""


def float_name(dtype: np.dtype) -> str:
    """The name of a float dtype in generated source."""
    return "f32" if dtype == np.float32 else "f64"


def module_text(target: Target, kernel: Body, signature: Signature, functions: Sequence[str],
                constants: Sequence[str] = (), *, shape: str, fast: str) -> str:  # fmt: skip
    """Puts in front of the functions what they use, and two empty lines between all.

    ``shape`` says what the module goes over, ``constants`` are those of the functions, ``fast`` is what fastmath is.
    """
    text = "\n".join(functions)
    fill = {"float": float_name(signature.compute), "most": most_below(2.0**63, signature.compute), "fast": fast}
    helpers: list[str] = []
    for name, body in target.helpers.items():
        if uses("\n".join([text, *helpers]), name):
            helpers.append(f"{target.decorator}\ndef {name}{body.format(**fill)}")
    text += "\n".join([*helpers, *constants])
    held = "\n".join(constants)
    values = {name: value.format(**fill) for name, value in {**_NAMES, **target.options}.items()}
    text = "\n".join([text, *(value for name, value in values.items() if uses(text, name))])
    names = [f"{n} = {value}" for n, value in values.items() if uses(text, n) and f"{n} = " not in held]
    # Typed, because uint64 + int64 is float64.
    names += [f"_U{n} = np.uint64({n})" for n in sorted({int(n) for n in re.findall(r"\b_U(\d+)\b", text)})]
    imports = ["import math\n"] if uses(text, "math") else []
    doc = _DOC.format(name=kernel.source.name, signature=signature, file=kernel.source.file, shape=shape)
    own = imports_of(text, target.operations)
    known = f"from numba import {target.module}"
    head = "\n".join([doc, "", *imports, "import numpy as np", known, *own, "", *names])
    head += f"\n\n{held}" if held else ""
    return "\n\n\n".join([head, *(part.strip("\n") for part in (*helpers, *functions))]) + "\n"


def most_below(bound: float, dtype: np.dtype) -> float:
    """The largest number below ``bound`` of a float dtype."""
    return float(np.nextafter(dtype.type(bound), dtype.type(0)))


def unparse(node: ast.AST) -> str:
    """The text of an expression or a statement."""
    return ast.unparse(ast.fix_missing_locations(node))


def function_text(target: Target, signature: Signature, form: Form, function: Function) -> str:
    """One function as text."""
    speller = _Speller(target, signature, form, function)
    body = [unparse(speller.visit(copied(s))) for s in function.body]
    lines = "\n".join("    " + line for text in body for line in text.split("\n"))
    return f"{target.decorator}\ndef {function.name}({', '.join(device_parameters(function))}):\n{lines}\n"


def expression_text(target: Target, signature: Signature, form: Form, node: ast.AST) -> str:
    """An expression or a statement of a form's body as text."""
    return unparse(_Speller(target, signature, form, form.body).visit(copied(node)))


def device_parameters(function: Function) -> list[str]:
    """The parameters of a generated function: arrays (with validity for integers), the pixel, scalars."""
    return passed(function, function.scalars)


def passed(function: Function, scalars: Sequence[str]) -> list[str]:
    """What a call passes to a generated function with some scalars."""
    arrays, result = arrays_of(function), [function.result.name] if function.result else []
    return [*arrays, *(["_y", "_x"] if arrays else []), *scalars, *result, *function.tables]


def arrays_of(function: Function) -> list[str]:
    """The arrays that a generated function takes."""
    arrays: list[str] = []
    for window in function.windows:
        arrays += [window.name, f"_{window.name}_valid"] if window.kind is Kind.INT else [window.name]
    return arrays


class _Speller(ast.NodeTransformer):
    """Replaces the pseudo-operations of one function."""

    def __init__(self, target: Target, signature: Signature, form: Form, function: Function) -> None:
        self.target, self.float_name, self.radius = target, float_name(signature.compute), form.radius
        dtypes = dict(zip((w.raster for w in form.body.windows), signature.inputs, strict=True))
        self.casts = {w.name: self._cast(w.kind, dtypes[w.raster]) for w in function.windows}
        self.tables = function.tables
        self.functions = {f.name: f for f in form.functions}
        self.arrays = {a.name: a for a in function.arrays}
        self.c_functions = {f.name: f for f in form.c_functions}

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """An element of a local array, which lies within it."""
        index = self.target.running.format(unparse(self.visit(node.slice)))
        return ast.Subscript(node.value, ast.parse(index, mode="eval").body, node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        own = {"_read": self._cell, "_valid": self._cell, "_whole": self._whole}
        if name in own:
            return own[name](node)
        arguments = [self.visit(a) for a in node.args]
        if name in {"_array", "_sort"}:
            return local_array(name, arguments, self.arrays, self.float_name, self.target.array)
        if name in {"_float", "_count", "_time"}:
            return call(self.float_name, *arguments) if name == "_float" else self._of_layers(name, *arguments)
        if name in {"_math", "_c", "_table"}:
            return {"_math": self._math, "_c": self._c_function, "_table": self._element}[name](arguments)
        if name == "_select" and not self.target.has_select:
            return ast.IfExp(*arguments)
        is_helper = name in self.functions
        return self._helper(self.functions[name], arguments) if is_helper else ast.Call(node.func, arguments, [])

    def _whole(self, called: ast.Call) -> ast.expr:
        """Unsigned integers wrap; LLVM takes it that signed ones, as Numba adds them, do not."""
        (node,) = called.args
        assert isinstance(node, ast.BinOp)  # noqa: S101 - a sum, difference or product
        left, right = (call("u64", self.visit(side)) for side in (node.left, node.right))
        return call("i64", ast.BinOp(left, node.op, right))

    def _cell(self, node: ast.Call) -> ast.expr:
        raster, *layer, dy, dx = node.args
        array = raster.id  # type: ignore[attr-defined]
        places = zip(("_y", "_x"), map(self.visit, (dy, dx)), self.radius, strict=True)
        layers = (self.target.running.format(unparse(self.visit(k))) for k in layer)
        index = ", ".join([*layers, *(self.target.index(*place) for place in places)])
        text = f"_{array}_valid[{index}] != 0" if is_call(node, "_valid") else f"{self.casts[array]}({array}[{index}])"
        return ast.parse(text, mode="eval").body

    def _of_layers(self, name: str, array: ast.expr, *index: ast.expr) -> ast.expr:
        """How many layers there are, or a row of a table that has one for each."""
        at = "".join(self.target.running.format(unparse(k)) for k in index)
        text = f"{unparse(array)}[{at}]" if name == "_time" else f"i64({unparse(array)}.shape[0])"
        return ast.parse(text, mode="eval").body

    def _cast(self, kind: Kind, dtype: np.dtype) -> str:
        """What makes a value of the body of a cell; nothing where it is one."""
        wanted = self.float_name if kind is Kind.FLOAT else "i64"
        return "" if _CONVERSIONS.get(dtype.name) == wanted else wanted

    def _math(self, arguments: list[ast.expr]) -> ast.expr:
        function, *values = arguments
        name = function.value  # type: ignore[attr-defined]
        if (known := self._computed(name, values)) is not None:
            return known
        if name in _DIRECT:
            return call(_DIRECT[name], *values)
        result = call(self.target.math_name(name), *values)
        # math.* returns float64 for some float32 arguments, depending on the function and the target.
        return result if name in {*OWN, "isinf", "isfinite"} else call(self.float_name, result)

    def _computed(self, name: str, values: list[ast.expr]) -> ast.expr | None:
        """What one of tj.math's functions makes of literals, which is the same everywhere."""
        numbers = [_typed_literal(v, self.float_name) for v in values]
        if name not in OWN or None in numbers:
            return None
        with np.errstate(all="ignore"):
            value = float(getattr(float32 if self.float_name == "f32" else float64, name)(*numbers))
        return call(self.float_name, ast.Constant(value)) if math.isfinite(value) else None

    def _c_function(self, arguments: list[ast.expr]) -> ast.expr:
        """Arguments and result are converted by name: what a compiler does by itself depends on the compiler."""
        function, *values = arguments
        called = self.c_functions[function.value]  # type: ignore[attr-defined]
        pairs = zip(values, called.pointer.arguments, strict=True)
        result = call(called.name, *(_passed(v, dtype) for v, dtype in pairs))
        if called.pointer.kind is Kind.BOOL:
            return ast.Compare(result, [ast.NotEq()], [ast.Constant(0)])
        return call(self.float_name if called.pointer.kind is Kind.FLOAT else "i64", result)

    def _element(self, arguments: list[ast.expr]) -> ast.expr:
        name, *indices = arguments
        table = str(name.value)  # type: ignore[attr-defined]
        return call(f"_at_{table}", *[load(table)] * (table in self.tables), *indices)

    def _helper(self, helper: Function, arguments: list[ast.expr]) -> ast.expr:
        count = len(helper.windows)
        passed: list[ast.expr] = []
        for window, argument in zip(helper.windows, arguments[:count], strict=True):
            passed.append(argument)
            if window.kind is Kind.INT:
                passed.append(load(f"_{argument.id}_valid"))  # type: ignore[attr-defined]
        pixel = [load("_y"), load("_x")] if count else []
        return call(helper.name, *passed, *pixel, *arguments[count:], *map(load, helper.tables))


def _typed_literal(node: ast.expr, float_name: str) -> Any:
    """The number of ``f32(2.0)``, and None of anything else."""
    value: Any = node.args[0] if is_call(node, float_name) else None  # type: ignore[attr-defined]
    is_negative = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub)
    number: Any = getattr(value.operand if is_negative else value, "value", None)
    if type(number) not in {int, float}:
        return None
    return (np.float32 if float_name == "f32" else np.float64)(-number if is_negative else number)


def _passed(value: ast.expr, dtype: np.dtype) -> ast.expr:
    """An argument as C takes it; see `CPointer.types`."""
    converted = call(_CONVERSIONS.get(dtype.name, f"np.{dtype.name}"), value) if dtype.kind != "b" else value
    return call("np.int32", converted) if is_narrow(dtype) else converted


def math_used(form: Form) -> set[str]:
    """The functions of ``math`` that a form calls."""
    nodes = (node for function in form.functions for statement in function.body for node in ast.walk(statement))
    return {str(n.args[0].value) for n in nodes if is_call(n, "_math")}  # type: ignore[attr-defined]

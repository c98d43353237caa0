"""Calls: built-in functions, ``math``, ``tj.is_valid``, plain helper functions, and functions of C."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.arrays.arrays import sort, window
from tilejit.compiler.arrays.text import MAKERS, is_one_of
from tilejit.compiler.form.c_functions import CFunctionError, is_c_function, read_c_function
from tilejit.compiler.form.captured import IMPORTS, MISSING, is_valid
from tilejit.compiler.form.form import MATH, call, is_call, load, targets
from tilejit.compiler.form.kinds import Kind, article, kind_of_dtype
from tilejit.compiler.lowering.array_values import each_raster, lengths_of
from tilejit.compiler.lowering.cells import lower_length
from tilejit.compiler.lowering.elements import lower_get
from tilejit.compiler.lowering.reductions import is_reduction, lower_reduction
from tilejit.compiler.lowering.scalar_functions import handler_of
from tilejit.compiler.lowering.scope import Scope, Value, cast, cut
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.written import OVER_ARRAYS, WRITTEN
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tilejit.compiler.form.c_functions import CPointer
    from tilejit.compiler.form.form import Function

    Lower = Callable[[Scope, ast.expr], Value]

_ARRAYS: dict[object, str] = {
    sort: "it sorts in place: call it on a line of its own",
    window: "write: values, n = tj.window(z, 5)",
}
_KNOWN = (
    "a body may call abs, min, max, sum, any, all, sorted, int, float, bool, round, len, functions of math and of np "
    "that take numbers, tj.is_valid and plain functions"
)


def lower_call(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """Lowers a call.

    Raises:
        KernelError: The function is unknown, not callable from a body, or called with the wrong arguments.
    """
    function = scope.names.resolve(node.func)
    name = ast.unparse(node.func)
    if function is MISSING:
        return _of_no_name(scope, node, lower)
    if function is is_valid or function is len:
        refuse_array_function(scope, node.args[0] if node.args else node)
        return _is_valid(scope, node, lower) if function is is_valid else lower_length(scope, node)
    if is_reduction(function, node):
        return lower_reduction(scope, node, function, lower)
    is_written = id(function) in WRITTEN
    handler, mathematical = handler_of(function), None if is_written else math_name(function)
    if handler is None and mathematical is None:
        is_c = is_c_function(function)
        return _c_call(scope, node, function, lower) if is_c else _helper(scope, node, function)
    if node.keywords:
        scope.fail(node.keywords[0], f"{name} with a keyword argument", "give its arguments by position")
    if handler is not None:
        return handler(scope, node, lower)
    return _math(scope, node, str(mathematical), [lower(scope, a) for a in node.args])


def _check_goes_over(scope: Scope, node: ast.Call, function: object) -> None:
    """Refuses a function over all elements of an array of what is none."""
    name, over = ast.unparse(node.func), node.args[0] if node.args else node
    if id(function) in OVER_ARRAYS and lengths_of(scope).of(over) is None:
        scope.fail(node, f"{name} of something that is no array",
                   f"give it an array, a tuple or a table: {name}([a, b, c])")  # fmt: skip


def _of_no_name(scope: Scope, node: ast.Call, lower: Lower) -> Value:  # noqa: RET503 - it fails
    """What is called is a method of a captured dict, or nothing that the body sees."""
    found, name = lower_get(scope, node, lower), ast.unparse(node.func)
    if found is not None:
        return found
    if isinstance(node.func, ast.Name) and node.func.id in scope.names.locals:
        scope.fail(node.func, f"{name} is a variable here, and no function", "give the variable another name")
    if scope.names.library(node.func) is not None:
        scope.fail(node.func, f"{name} is no function of that library", "look for its name there: nm -D library.so")
    refuse_undefined(scope, node.func)
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and owner.id in scope.arrays:
        scope.fail(node.func, f"an array has no method {name}",
                   f"it has one length: {owner.id}[n] = v, n += 1; tj.sort({owner.id}) sorts it")  # fmt: skip
    bare = isinstance(node.func, ast.Name) and name in MATH
    scope.fail(node.func, f"unknown function {name}",
               f"write math.{name}, and {IMPORTS['math']} above the kernel" if bare else _KNOWN)  # fmt: skip


def refuse_undefined(scope: Scope, node: ast.expr) -> None:
    """Refuses a name of a module that was not imported.

    Raises:
        KernelError: With the line to add.
    """
    module = scope.names.undefined_module(node)
    if module is not None:
        scope.fail(node, f"the name {module} is not defined", f"write {IMPORTS[module]} above the kernel")


def _math(scope: Scope, node: ast.Call, name: str, values: list[Value]) -> Value:
    if name not in MATH:
        scope.fail(node.func, f"math.{name} is not in the language",
                   _INSTEAD.get(name, f"of math it has {', '.join(sorted(MATH))}"))  # fmt: skip
    count, kind = MATH[name]
    if len(values) != count:
        scope.fail(node, f"math.{name} takes {counted(count, 'argument')}, {len(values)} given",
                   f"write math.{name}({', '.join('xy'[:count])})")  # fmt: skip
    if name in {"floor", "ceil", "trunc"} and values[0].kind is not Kind.FLOAT:
        return Value(cast(values[0], Kind.INT), Kind.INT)
    if name == "isnan" and is_call(values[0].node, "_read"):
        scope.program.asks_validity = True
        if scope.program.all_valid:
            return Value(ast.Constant(value=False), Kind.BOOL)
    arguments = [cast(v, Kind.FLOAT) for v in values]
    if name == "trunc":
        return cut(scope, arguments[0])
    result = call("_math", ast.Constant(name), *arguments)
    return cut(scope, result) if kind is Kind.INT else Value(result, kind)


def _is_valid(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    if len(node.args) != 1 or node.keywords:
        scope.fail(node, "tj.is_valid takes one cell", "write tj.is_valid(z[dy, dx])")
    chosen = each_raster(scope, node.args[0], lower, lambda cell: ast.Call(node.func, [cell], []))
    if chosen is not None:
        return chosen
    value = lower(scope, node.args[0])
    if value.cell is None and value.kind is not Kind.FLOAT:
        scope.fail(node, f"tj.is_valid of {article(value.kind)} that was computed",
                   "ask it of a raster's cell: tj.is_valid(qa[0, 0])")  # fmt: skip
    return Value(lower_validity(scope, value), Kind.BOOL)


def lower_validity(scope: Scope, value: Value) -> ast.expr:
    """Whether a cell, or a computed float, is valid."""
    scope.program.asks_validity = True
    if value.cell is not None and value.kind is Kind.INT:
        return _valid_cell(scope, value.cell, value.inside)
    if value.cell is not None and value.inside is None and scope.program.all_valid:
        return ast.Constant(value=True)
    return ast.UnaryOp(ast.Not(), call("_math", ast.Constant("isnan"), value.node))


def _valid_cell(scope: Scope, cell: ast.Call, inside: ast.expr | None) -> ast.expr:
    """Whether an integer cell is valid; at an offset known only while running, it also has to lie within the radius."""
    if scope.program.all_valid:
        return ast.Constant(value=True) if inside is None else inside
    valid = call("_valid", *cell.args)
    return valid if inside is None else ast.BinOp(inside, ast.BitAnd(), valid)


def _c_call(scope: Scope, node: ast.Call, function: Any, lower: Lower) -> Value:
    """Each target converts the arguments and the result."""
    name = ast.unparse(node.func)
    try:
        pointer = read_c_function(function)
    except CFunctionError as error:
        scope.fail(node.func, f"{name} {error.args[0]}", error.args[1])
    if node.keywords:
        scope.fail(node.keywords[0], f"{name} with a keyword argument", "give its arguments by position")
    if len(node.args) != len(pointer.arguments):
        taken = ", ".join(map(str, pointer.arguments)) or "nothing"
        given = len(node.args)
        scope.fail(node, f"{name} takes {counted(len(pointer.arguments), 'argument')}, {given} given",
                   f"it takes {taken}")  # fmt: skip
    owner = scope.names.resolve(node.func.value) if isinstance(node.func, ast.Attribute) else None
    named = scope.program.c_function(scope, node, pointer, (function, owner))
    arguments = [_c_argument(scope, a, lower(scope, a), pointer, k) for k, a in enumerate(node.args)]
    return Value(call("_c", ast.Constant(named.name), *arguments), pointer.kind)


def _c_argument(scope: Scope, node: ast.expr, value: Value, pointer: CPointer, index: int) -> ast.expr:
    wanted = kind_of_dtype(pointer.arguments[index])
    if value.kind > wanted:
        instead = f"write int({ast.unparse(node)})" if wanted is Kind.INT else f"compare it: {ast.unparse(node)} != 0"
        scope.fail(node, f"{article(value.kind)}, and the C function takes {pointer.arguments[index]} here", instead)
    return value.node


def _helper(scope: Scope, node: ast.Call, function: object) -> Value:
    name = ast.unparse(node.func)
    plain = scope.names.helper(function)
    if is_one_of(function, (*MAKERS, *_ARRAYS, sorted, list)):
        scope.fail(node, f"{name} where one value is needed", _instead_of(function))
    _check_goes_over(scope, node, function)
    if plain is None:
        if getattr(function, "__tilejit_kernel__", False):
            scope.fail(node, f"{name} is a kernel", "call a plain function here, or compose Rasters: f(g(raster))")
        why_not = "works on arrays" if _is_numpy(function) else "cannot be called from a body"
        scope.fail(node.func, f"{name} {why_not}", _instead(name))
    lowered, arguments = scope.program.lower_helper(scope, node, plain)
    if lowered.name in scope.program.writers and node is not scope.whole:
        scope.fail(node, f"{name} writes to an array, within an expression",
                   "call it on a line of its own, or assign what it returns: y = …")  # fmt: skip
    if lowered.name in scope.program.writers:
        scope.writes |= any(isinstance(a, ast.Name) and a.id in scope.given for a in node.args)
    result: ast.expr = call(lowered.name, *arguments)
    if lowered.notes:
        result = _noting(scope, lowered, result)
    if lowered.is_tuple:
        return Value(result, Kind.FLOAT, lowered.results)
    scope.join(node, lowered.results[0], [Kind.INT])  # which a helper may give that is called with integers too
    return Value(result, lowered.results[0])


def _noting(scope: Scope, helper: Function, result: ast.expr) -> ast.expr:
    """Calls a helper before the statement, and notes what it notes; returns its results."""
    parts = [scope.temporary("part") for _ in helper.results]
    notes = [scope.temporary(note) for note in helper.notes]
    scope.prelude.append(ast.Assign([targets([*parts, *notes])], result))
    for note, name in zip(helper.notes, notes, strict=True):
        scope.remark(note, load(name))
    values: list[ast.expr] = [load(n) for n in parts]
    return ast.Tuple(values, ast.Load()) if helper.is_tuple else values[0]


_INSTEAD = {
    "complex": "write the real and the imaginary part as two variables", "pow": "write x ** y % z",
    "array": "write [a, b, c]", "sort": "write sorted(a), or tj.sort(a)", "sorted": "write sorted(a)",
    "half": "write np.float32(x)", "float16": "write np.float32(x)", "longdouble": "write float(x)",
    **dict.fromkeys(("uint64", "longlong", "ulonglong"), "write int(x): integers of a body have 64 bits and a sign"),
    **dict.fromkeys(("real", "conj", "conjugate"), "leave it out: a body has real numbers"),
    **dict.fromkeys(("imag", "angle", "isreal", "iscomplex"), "a body has real numbers; math.atan2(y, x) is an angle"),
    **dict.fromkeys(("cumsum", "diff", "trapezoid", "unwrap"), "write a loop: for k in range(1, len(a))"),
    **dict.fromkeys(("matmul", "vecdot", "matvec", "vecmat"), "write np.dot(a, b) of two arrays, or the sums out"),
    **dict.fromkeys(("size", "ndim", "shape"), "write len(a)"), "fsum": "write sum(a)",
    **dict.fromkeys(("nextafter", "spacing", "ulp"), "write abs(x) * np.finfo(np.float32).eps, which is near it"),
    "unique": "sort them, and count where neighbours differ: a = sorted(h); n += a[k] != a[k - 1]",
    "inv": "solve for what it is multiplied with: np.linalg.solve(m, b)",
    **dict.fromkeys(("bincount", "histogram"), "count in a loop: h = tj.zeros(8, dtype=int); h[k] += 1"),
    "dist": "write math.hypot(x1 - x2, y1 - y2)", "select": "write if and elif", "isnat": "ask tj.is_valid(z)",
}  # fmt: skip
"""What to write instead of functions that a body may not call."""


def refuse_array_function(scope: Scope, node: ast.expr) -> None:
    """Refuses a call of a function that makes arrays and that the language does not have.

    Raises:
        KernelError: With what to write instead.
    """
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    if _is_numpy(scope.names.resolve(node.func) if name else None) and name.rpartition(".")[2] in _INSTEAD:  # type: ignore[attr-defined]
        scope.fail(node, f"{name} works on arrays", _instead(name))


def _instead(name: str) -> str:
    return _INSTEAD.get(name.rpartition(".")[2], _KNOWN)


def _instead_of(function: object) -> str:
    return next((text for other, text in _ARRAYS.items() if other is function), "assign it first: a = …; a[k]")


def _is_numpy(function: object) -> bool:
    module = getattr(function, "__module__", None) or type(function).__module__ or ""
    return module.split(".")[0] == "numpy"

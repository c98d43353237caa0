"""What NumPy's functions of numbers, and some of Python's, are in a body.

Each is an operator, a function of ``math``, a formula in the language itself, or a number made another kind of. Both
the compiler and the python backend go by these tables, so that both mean the same.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit import math as tilejit_math
from tilejit.compiler.form.form import MATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Formula:
    """A function that is an expression of the language."""

    parameters: tuple[str, ...]
    text: str

    @property
    def tree(self) -> ast.expr:
        """Its expression."""
        return ast.parse(self.text, mode="eval").body


_BINARY: Mapping[Any, type[ast.operator]] = {
    pow: ast.Pow, np.power: ast.Pow, np.float_power: ast.Pow, np.add: ast.Add, np.subtract: ast.Sub,
    np.multiply: ast.Mult, np.divide: ast.Div, np.floor_divide: ast.FloorDiv, np.mod: ast.Mod,
    np.bitwise_and: ast.BitAnd, np.bitwise_or: ast.BitOr, np.bitwise_xor: ast.BitXor, np.left_shift: ast.LShift,
    np.right_shift: ast.RShift,
}  # fmt: skip
_UNARY: Mapping[Any, type[ast.unaryop]] = {
    np.negative: ast.USub, np.positive: ast.UAdd, np.invert: ast.Invert, np.logical_not: ast.Not,
}  # fmt: skip
_COMPARED: Mapping[Any, type[ast.cmpop]] = {
    np.less: ast.Lt, np.less_equal: ast.LtE, np.greater: ast.Gt, np.greater_equal: ast.GtE, np.equal: ast.Eq,
    np.not_equal: ast.NotEq,
}  # fmt: skip
_JOINED: Mapping[Any, type[ast.boolop]] = {np.logical_and: ast.And, np.logical_or: ast.Or}

_OTHERWISE = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
              "acosh": "arccosh", "atanh": "arctanh"}  # fmt: skip
"""Functions of ``math`` that NumPy has by another name."""
_APART = {"floor", "ceil", "trunc", "pow", "gamma"}
"""Those of which NumPy's means something else, or that it does not have."""
_OF_MATH: dict[int, str] = {
    **{id(f): n for module in (math, tilejit_math) for n, f in vars(module).items() if callable(f)},
    **{id(getattr(np, _OTHERWISE.get(n, n))): n for n in MATH if n not in _APART and hasattr(np, _OTHERWISE.get(n, n))},
    id(np.deg2rad): "radians", id(np.rad2deg): "degrees",
}  # fmt: skip

_KEYWORDS: Mapping[Any, tuple[str, ...]] = {
    round: ("number", "ndigits"), np.round: ("a", "decimals"), np.around: ("a", "decimals"),
    np.clip: ("a", "a_min", "a_max"),
}  # fmt: skip
"""Functions that take arguments by name, too."""
ROUNDED = {np.floor: "floor", np.ceil: "ceil", np.rint: "rint"}
"""What rounds a float to a whole float."""
_LARGER, _SMALLER = "b if {0} != {0} or b > a else a", "b if {0} != {0} or b < a else a"
FORMULAS: Mapping[Any, Formula] = {
    np.maximum: Formula(("a", "b"), _LARGER.format("b")),
    np.minimum: Formula(("a", "b"), _SMALLER.format("b")),
    np.fmax: Formula(("a", "b"), _LARGER.format("a")),
    np.fmin: Formula(("a", "b"), _SMALLER.format("a")),
    np.where: Formula(("test", "a", "b"), "a if test else b"),
    np.sign: Formula(("a",), "a if a != a else (a > 0) - (a < 0)"),
    np.square: Formula(("a",), "a * a"),
    np.reciprocal: Formula(("a",), "1.0 / a"),
    np.isposinf: Formula(("a",), "a == 1e999"),
    np.isneginf: Formula(("a",), "a == -1e999"),
    np.heaviside: Formula(("a", "b"), "a if a != a else 0 if a < 0 else 1 if a > 0 else b"),
    np.logical_xor: Formula(("a", "b"), "(a != 0) != (b != 0)"),
}
"""Functions that take each argument once; what they give is a float where one of the last two is."""
INTEGERS: Mapping[Any, np.dtype] = {
    t: np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32)
}
"""Types that make an integer of a number, as int() does, and wrap it at their width."""


def found_in(table: Mapping[Any, Any], function: object) -> Any:
    """Returns what a table has for a function, which may be any object, or None."""
    return next((value for key, value in table.items() if key is function), None)


def math_name(function: object) -> str | None:
    """Returns the name of a function of ``math`` that one of it, of ``tj.math`` or of NumPy means, or None.

    Example:
        >>> math_name(np.arctan2), math_name(math.floor), math_name(np.floor)
        ('atan2', 'floor', None)
    """
    return _OF_MATH.get(id(function))


def as_operators(node: ast.Call, resolve: Callable[[ast.expr], Any]) -> ast.expr:
    """Returns a call as the operators that it means (``pow(x, 2)`` is ``x ** 2``), or the call itself."""
    function, arguments = resolve(node.func), node.args
    if isinstance(node.func, ast.Attribute) and node.func.attr == "item" and not arguments:
        return node.func.value  # a number is one
    names = found_in(_KEYWORDS, function) or ()
    if node.keywords and [k.arg for k in node.keywords] == list(names[len(arguments) :][: len(node.keywords)]):
        arguments = [*arguments, *(k.value for k in node.keywords)]
        return ast.copy_location(ast.Call(node.func, arguments, []), node)
    if node.keywords or not arguments:
        return node
    if math_name(function) == "hypot" and len(arguments) > 2:
        inner = ast.copy_location(ast.Call(node.func, arguments[:-1], []), node)
        return ast.copy_location(ast.Call(node.func, [inner, arguments[-1]], []), node)
    if any(function is t for t in (float, np.float32, np.float64, int, ord)):
        return _number_of_text(node, function if function is int or function is ord else float)
    written: ast.expr | None = None
    if len(arguments) == 2:
        written = _of_two(function, node, *arguments)
    elif len(arguments) == 1 and (unary := found_in(_UNARY, function)) is not None:
        written = ast.UnaryOp(unary(), arguments[0])
    elif len(arguments) == 1 and (function is np.exp2 or function is math.exp2):
        written = ast.BinOp(ast.copy_location(ast.Constant(2.0), node), ast.Pow(), arguments[0])
    return node if written is None else ast.copy_location(written, node)


def _of_two(function: object, node: ast.Call, left: ast.expr, right: ast.expr) -> ast.expr | None:
    if (binary := found_in(_BINARY, function)) is not None:
        return ast.BinOp(left, binary(), right)
    if (compared := found_in(_COMPARED, function)) is not None:
        return ast.Compare(left, [compared()], [right])
    if (joined := found_in(_JOINED, function)) is not None:  # a truth value, also of numbers
        both = ast.copy_location(ast.BoolOp(joined(), [left, right]), node)
        return ast.UnaryOp(ast.Not(), ast.copy_location(ast.UnaryOp(ast.Not(), both), node))
    if math_name(function) == "log":
        parts = (ast.copy_location(ast.Call(node.func, [side], []), node) for side in (left, right))
        return ast.BinOp(next(parts), ast.Div(), next(parts))
    return None


def is_number_text(node: ast.AST) -> bool:
    """Whether an expression is ``float("inf")``, ``ord("a")`` or the like, as far as its syntax shows."""
    name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
    convert = float if name.startswith("float") else {"int": int, "ord": ord}.get(name)
    return convert is not None and isinstance(_number_of_text(node, convert), ast.Constant)  # type: ignore[arg-type]


def _number_of_text(node: ast.Call, convert: Callable[[str], float] = float) -> ast.expr:
    text = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
    try:
        return ast.copy_location(ast.Constant(convert(text)), node) if isinstance(text, str) else node
    except (TypeError, ValueError):
        return node

"""``tilejit calc``: an expression as it is typed, read as Python and made of operations on Rasters; nothing is run."""

from __future__ import annotations

import ast
import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tilejit.cli.inputs import near, parse_input
from tilejit.cli.runs import OUTPUTS_HELP, run_options, save_raster, saving_options
from tilejit.compiler.form.source import FunctionSource
from tilejit.engine.planning.graph import ResultBand
from tilejit.errors import KernelError, ParameterError, TilejitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.raster.raster import Raster

_LARGEST_EXPONENT = 64


def _power(a: Any, b: Any) -> Any:
    """A power; of numbers one of floats where it may be large: integers of Python's would have no end."""
    is_long = isinstance(a, int) and isinstance(b, int) and abs(b) > _LARGEST_EXPONENT
    return float(a) ** b if is_long else a**b


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: np.logical_not,
}  # fmt: skip
_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_JOINED: Mapping[type[ast.boolop], Callable[[Any, Any], Any]] = {ast.And: np.logical_and, ast.Or: np.logical_or}
_PLAIN: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "min": np.fmin, "max": np.fmax, "pow": pow, "isnull": np.isnan,
}  # fmt: skip
_OTHERWISE = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
              "acosh": "arccosh", "atanh": "arctanh", "fabs": "absolute"}  # fmt: skip
"""Functions of ``math`` that NumPy has by another name."""
_CONSTANTS = {"pi": np.pi, "e": np.e, "nan": np.nan, "inf": np.inf, "tau": 2 * np.pi}
_METHODS = {"where", "clip", "astype", "fillna", "isnull", "notnull", "round", "band", "mean", "std", "min", "max",
            "sum", "count", "percentile"}  # fmt: skip
"""Methods of Rasters that an expression may call."""
_ADVICE = "an expression has names of inputs, numbers, operators, comparisons, a if test else b, and functions of NumPy"


class Reader:
    """Makes a Raster of an expression's text, and refuses what is none with its place."""

    def __init__(self, text: str, names: Mapping[str, Raster]) -> None:
        self.names = names
        try:
            body = ast.parse(text, "expression", mode="eval").body
        except SyntaxError as error:
            place = ast.Constant(0, lineno=1, end_lineno=1, col_offset=max(0, (error.offset or 1) - 1),
                                 end_col_offset=max(1, error.offset or 1))  # fmt: skip
            self.source = _source(text)
            self.source.fail(place, f"no expression: {error.msg}", _ADVICE)
        self.source, self.body = _source(text), body

    def raster(self) -> Raster:
        """Returns what it makes."""
        from tilejit.raster.raster import Raster

        made = self._value(self.body)
        if not isinstance(made, Raster):
            self.source.fail(self.body, "no raster in it", f"it is made of {', '.join(self.names)}")
        called = (replace(b, called=self.source.lines[0]) if isinstance(b, ResultBand) else b for b in made.bands)
        return replace(made, bands=tuple(called))

    def _value(self, node: ast.expr) -> Any:
        try:
            return self._made(node)
        except KernelError:
            raise
        except (TilejitError, TypeError, ValueError, ArithmeticError) as error:
            self.source.fail(node, str(error).split("\n")[0], _ADVICE)

    def _made(self, node: ast.expr) -> Any:  # noqa: PLR0911 - a line for each kind of node
        match node:
            case ast.Constant(bool() | int() | float() as value):
                return value
            case ast.Name(name):
                return self._named(node, name)
            case ast.Attribute(ast.Name("math" | "np" | "numpy"), name) if name in _CONSTANTS:
                return _CONSTANTS[name]
            case ast.BinOp(left, kind, right) if type(kind) in _BINARY:
                return _BINARY[type(kind)](self._value(left), self._value(right))
            case ast.UnaryOp(kind, operand) if type(kind) in _UNARY:
                return _UNARY[type(kind)](self._value(operand))
            case ast.Compare(left, kinds, others) if all(type(kind) in _COMPARED for kind in kinds):
                return self._compared(left, kinds, others)
            case ast.BoolOp(kind, values):
                return self._folded(_JOINED[type(kind)], values)
            case ast.IfExp(test, a, b):
                from tilejit.raster.arithmetic import where

                return where(self._value(test), self._value(a), self._value(b))
            case ast.Call(function, arguments, keywords) if not keywords:
                return self._called(function, arguments)
        return self.source.fail(node, f"{ast.unparse(node)!r} in an expression", _ADVICE)

    def _named(self, node: ast.expr, name: str) -> Any:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            self.source.fail(node, f"no input {name!r}{near(name, self.names)}",
                             f"inputs are {known}: give {name}=FILE behind the expression")  # fmt: skip
        return self.names[name]

    def _compared(self, left: ast.expr, kinds: Sequence[ast.cmpop], others: Sequence[ast.expr]) -> Any:
        values = [self._value(node) for node in (left, *others)]
        tests = [_COMPARED[type(kind)](a, b) for kind, a, b in zip(kinds, values, values[1:], strict=False)]
        made = tests[0]
        for test in tests[1:]:
            made = np.logical_and(made, test)
        return made

    def _folded(self, function: Callable[[Any, Any], Any], nodes: Sequence[ast.expr]) -> Any:
        made = self._value(nodes[0])
        for node in nodes[1:]:
            made = function(made, self._value(node))
        return made

    def _called(self, function: ast.expr, arguments: Sequence[ast.expr]) -> Any:
        match function:
            case ast.Attribute(ast.Name("math" | "np" | "numpy"), name):
                found = _function(name)
            case ast.Attribute(owner, name) if name in _METHODS:
                found = getattr(self._value(owner), name)
                if name == "astype" and len(arguments) == 1:
                    return found(self._dtype(arguments[0]))
            case ast.Name("min" | "max" as name):
                return self._folded(_PLAIN[name], arguments)
            case ast.Name(name):
                found = _PLAIN.get(name) or _function(name)
            case _:
                found = None
        if found is None:
            self.source.fail(function, f"{ast.unparse(function)} is no function of expressions", _ADVICE)
        return found(*(self._value(argument) for argument in arguments))

    def _dtype(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(str() as name) | ast.Attribute(ast.Name("np" | "numpy"), name) | ast.Name(name):
                return name
        return self.source.fail(node, f"{ast.unparse(node)} is no dtype", "write astype('int16')")


def _source(text: str) -> FunctionSource:
    """The text, as what errors point into."""
    tree = ast.FunctionDef("calc", ast.arguments([], [], None, [], [], None, []), [], [], lineno=1, col_offset=0)
    return FunctionSource(_source, tree, "expression", tuple(text.split("\n")), 1)


def _function(name: str) -> Any:
    """A function of NumPy by its name, or by that of ``math``."""
    found = getattr(np, _OTHERWISE.get(name, name), None)
    is_one = isinstance(found, np.ufunc) or name in {"where", "clip", "round", "fix"}
    return found if is_one else None


def read_expression(text: str, words: Sequence[str], scaled: bool | None = None) -> Raster:
    """Opens the inputs of an expression, given as ``name=file.tif[3]``, and makes its Raster.

    Raises:
        KernelError: The text is no expression of Rasters; with its place.
        ParameterError: An input has no name, or is given twice.
    """
    from tilejit.raster.making import open_raster

    names: dict[str, Raster] = {}
    for one in map(parse_input, words):
        if one.name is None:
            raise ParameterError(f"{one.path}: an input of an expression has a name: give nir={one.path}")
        if one.name in names:
            raise ParameterError(f"input {one.name} is given twice")
        names[one.name] = open_raster(one.path, band=one.band, scaled=scaled)
    return Reader(text, names).raster()


@click.command("calc", help="""Compute EXPRESSION of the INPUT rasters into a file.

EXPRESSION is arithmetic on names, each of which an INPUT gives a file: name=file.tif, or 'name=file.tif[3]' for a band.
Rasters of several bands go band by band. It is read as Python and compiled as a kernel; no other Python is run.

\b
tilejit calc "(n - r) / (n + r)" 'n=scene.tif[4]' 'r=scene.tif[3]' -o ndvi.tif
tilejit calc "where(dem > 0, dem, 0)" dem=dem.tif -o land.tif
tilejit calc "(dem - dem.mean()) / dem.std()" dem=dem.tif -o scaled.tif
""")  # fmt: skip
@click.argument("expression", metavar="EXPRESSION")
@click.argument("inputs", metavar="NAME=INPUT...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", required=True, help=f"The file to write: {OUTPUTS_HELP}.")
@run_options
@saving_options
def calc(expression: str, inputs: tuple[str, ...], scaled: bool | None, output: str, quiet: bool, **words: Any) -> None:
    """Computes an expression."""
    save_raster(output, lambda: read_expression(expression, inputs, scaled), words, quiet=quiet)

"""Expressions of generated modules in LLVM's assembly language."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tilejit.compiler.jit.assembly import Assembly
from tilejit.compiler.jit.plain_calls import OPERATIONS, called_of_numpy
from tilejit.compiler.jit.values import (
    LLVM,
    TYPES,
    Array,
    Pointer,
    UnknownTextError,
    Value,
    constant,
    size_of,
    typed,
    unified,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.jit.values import Any_, Result

_PURE = ast.Name, ast.Constant, ast.Load, ast.UnaryOp, ast.USub


class Around(Protocol):
    """The module that a function stands in."""

    declared: set[str]
    """Functions outside of it that it calls."""
    functions: dict[str, ast.FunctionDef]
    made: dict[str, Callable[..., Any]]
    """What gives arrays their places, and sorts them."""

    def flags(self, node: ast.FunctionDef) -> str:
        """Those of a function's float arithmetic."""

    def constant(self, name: str) -> Any_:
        """A number or an array of the module."""

    def named(self, node: ast.expr) -> Any:
        """What an expression such as ``np.sqrt`` names."""

    def function(self, name: str, arguments: Sequence[Any_]) -> tuple[str, Result]:
        """The symbol of a function for arguments of some types, and what it returns."""


class Expressions:
    """The expressions of one function."""

    def __init__(self, module: Around, node: ast.FunctionDef, arguments: Sequence[Any_]) -> None:
        self.module, self.node, self.to = module, node, Assembly(module.declared, module.flags(node))
        self.known: dict[str, Any_] = dict(zip((a.arg for a in node.args.args), arguments, strict=True))
        """Variables that have one value, and arrays."""
        self.slots: dict[str, Value] = {}
        """Places of variables that change."""
        stored = (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        self.counts = Counter(stored)
        """How often each variable is assigned to."""

    def number(self, node: ast.expr) -> Value:
        """An expression that is a number."""
        return number_of(self.value(node))

    def value(self, node: ast.expr) -> Any_:
        """The value of an expression."""
        write = self._WRITERS.get(type(node))
        if write is None:
            raise UnknownTextError(type(node).__name__)
        return write(self, node)

    def _constant(self, node: ast.Constant) -> Value:
        return constant(node.value)

    def _name(self, node: ast.Name) -> Any_:
        if node.id in self.slots:
            slot = self.slots[node.id]
            return Value(slot.type, self.to.new(f"load {LLVM[slot.type]}, ptr {slot.text}"))
        if node.id in self.known:
            return self.known[node.id]
        if node.id in self.counts:
            raise UnknownTextError(f"{node.id} before it has a value")
        return self.module.constant(node.id)

    def _tuple(self, node: ast.Tuple) -> tuple[Any_, ...]:
        return tuple(map(self.value, node.elts))

    def _signed(self, node: ast.UnaryOp) -> Value:
        value = self.number(node.operand)
        if isinstance(node.op, ast.Not):
            return self.to.not_(value)
        if isinstance(node.op, ast.USub):
            literal = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if isinstance(literal, (int, float)) and not isinstance(literal, bool):
                return constant(-literal)  # of 2 ** 63, too
            return self.to.negative(value)
        if isinstance(node.op, ast.UAdd):
            return self.to.whole(value)
        if isinstance(node.op, ast.Invert) and value.type == "i64":
            return self.to.whole_operation("xor", value, typed("i64", -1))
        raise UnknownTextError("an operator")

    def _operation(self, node: ast.BinOp) -> Value:
        left = self.number(node.left)
        if isinstance(node.op, ast.Pow):
            exponent = self.number(node.right).literal
            if exponent is None:
                raise UnknownTextError("a power that is not in the text")
            return self.to.power(left, exponent)
        return self.to.operation(type(node.op).__name__, left, self.number(node.right))

    def _comparison(self, node: ast.Compare) -> Value:
        sides = [self.number(n) for n in (node.left, *node.comparators)]
        tests = [
            self.to.compared(type(op).__name__, a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False)
        ]
        return functools.reduce(functools.partial(self.to.whole_operation, "and"), tests)

    def _both(self, node: ast.BoolOp) -> Value:
        first, *rest = node.values
        value = self.number(first)
        for other in rest:
            pair = ast.BoolOp(node.op, [first, other])
            value = self.choice(
                self.to.truth(value), *((other, value) if isinstance(pair.op, ast.And) else (value, other))
            )
            if value.type != "b1":
                raise UnknownTextError("and, or of numbers")
        return value

    def _either(self, node: ast.IfExp) -> Value:
        return self.choice(self.to.truth(self.number(node.test)), node.body, node.orelse)

    def choice(self, test: Value, a: ast.expr | Value, b: ast.expr | Value) -> Value:
        """One of two expressions, of which the other is not computed."""
        if all(isinstance(s, Value) or all(isinstance(n, _PURE) for n in ast.walk(s)) for s in (a, b)):
            values = [s if isinstance(s, Value) else self.number(s) for s in (a, b)]
            type_ = unified(values[0].type, values[1].type)
            return self.to.chosen(test, *(self.to.cast(v, type_) for v in values))
        labels, end = [self.to.name("then"), self.to.name("else")], self.to.name("end")
        self.to.branch(test, *labels)
        sides: list[tuple[list[str], Value, str]] = []
        for label, side in zip(labels, (a, b), strict=True):
            with self.to.apart() as lines:
                self.to.start(label)
                value = side if isinstance(side, Value) else self.number(side)
                sides.append((lines, value, self.to.block))
        type_, phi = unified(sides[0][1].type, sides[1][1].type), []
        for lines, value, block in sides:
            self.to.lines += lines
            self.to.block = block
            phi.append(f"[{self.to.cast(value, type_).text}, %{block}]")
            self.to.do(f"br label %{end}")
        self.to.start(end)
        return Value(type_, self.to.new(f"phi {LLVM[type_]} {', '.join(phi)}"))

    def _attribute(self, node: ast.Attribute) -> Any_:
        number = self.module.named(node)
        if isinstance(number, float):  # of ``math`` or NumPy
            return constant(number)
        array = self.value(node.value)
        if not isinstance(array, Array):
            raise UnknownTextError(f".{node.attr}")
        if node.attr == "shape":
            return tuple(Value("i64", text) for text in array.shape)
        if node.attr == "size":
            return functools.reduce(
                functools.partial(self.to.operation, "Mult"), (Value("i64", e) for e in array.shape)
            )
        if node.attr == "itemsize":
            return typed("i64", size_of(array.element))
        if node.attr == "strides":
            return tuple(Value("i64", text) for text in self.to.strides(array))
        raise UnknownTextError(f".{node.attr}")

    def indices(self, node: ast.expr) -> list[Value]:
        """The indices of an element."""
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        values = [self.number(p) for p in parts]
        if any(v.type in {"f32", "f64", "b1"} for v in values):
            raise UnknownTextError("an index that is no integer")
        return values

    def _subscript(self, node: ast.Subscript) -> Any_:
        array = self.value(node.value)
        if isinstance(array, (Array, Pointer)):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if isinstance(array, Array) and (len(parts) < len(array.shape) or any(map(_is_slice, parts))):
                return self._part(array, parts)
            return self.to.read(array, self.indices(node.slice))
        index = self.number(node.slice).literal
        if isinstance(array, Value) or index is None:
            raise UnknownTextError("an element of no array")
        element: Any_ = array[index]
        return element

    def _part(self, array: Array, parts: Sequence[ast.expr]) -> Array:
        """Rows of an array, or parts of them: their bounds are within it."""
        parts = [*parts, *[ast.Slice()] * (len(array.shape) - len(parts))]
        starts, kept = [], []
        for axis, (part, extent) in enumerate(zip(parts, array.shape, strict=True)):
            if not isinstance(part, ast.Slice):
                starts += self.indices(part)
                continue
            low, high = typed("i64", 0), Value("i64", extent)
            if part.step:
                raise UnknownTextError("every other element")
            low = self.to.cast(self.indices(part.lower)[0], "i64") if part.lower else low
            high = self.to.cast(self.indices(part.upper)[0], "i64") if part.upper else high
            length = self.to.operation("Sub", high, low).text if part.lower else high.text
            starts.append(low)
            kept.append((axis, length))
        firsts = [axis for axis, _ in kept]
        is_whole = all(isinstance(p, ast.Slice) and not (p.lower or p.upper) for p in parts[firsts[0] + 1 :])
        strides = None if is_whole and array.strides is None else tuple(self.to.strides(array)[a] for a in firsts)
        return Array(array.element, self.to.cell(array, starts), tuple(length for _, length in kept), strides)

    def _call(self, node: ast.Call) -> Any_:
        if node.keywords:
            raise UnknownTextError("an argument by name")
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in self.module.functions:
            return self.called(name, [self.value(a) for a in node.args])
        if name in self.module.made:
            made: Any_ = self.module.made[name](self.to, *map(self.value, node.args))
            return made
        if name in OPERATIONS and name not in self.known:
            found: Any_ = OPERATIONS[name](self.to, *map(self.value, node.args))
            return found
        if isinstance(node.func, ast.Attribute) and node.func.attr == "view":
            return self._view(self.value(node.func.value), self._type_named(node.args[0]))
        arguments = [self.number(a) for a in node.args]
        type_ = self._type_named(node.func)
        if type_ is not None and len(arguments) == 1:
            return self.to.cast(arguments[0], type_)
        return called_of_numpy(self.to, self.module.named(node.func), arguments)

    def _type_named(self, node: ast.expr) -> str | None:
        """The type that ``np.int32`` names, or ``cells.dtype``, or ``cells.dtype.type``."""
        named = self.module.named(node)
        if isinstance(named, type) and issubclass(named, np.generic):
            return TYPES[np.dtype(named)]
        if isinstance(node, ast.Attribute) and node.attr == "type":
            node = node.value
        if isinstance(node, ast.Attribute) and node.attr == "dtype":
            array = self.value(node.value)
            return array.element if isinstance(array, Array) else None
        return None

    def _view(self, value: Any_, type_: str | None) -> Any_:
        """The bytes of an array or a number as another type."""
        given = value.element if isinstance(value, Array) else number_of(value).type
        if type_ is None or size_of(given) != size_of(type_):
            raise UnknownTextError("a view of other bytes")
        if isinstance(value, Array):
            return value._replace(element=type_)
        number = number_of(value)
        if LLVM[given] == LLVM[type_]:
            return Value(type_, number.text)
        return Value(type_, self.to.new(f"bitcast {LLVM[given]} {number.text} to {LLVM[type_]}"))

    def called(self, name: str, arguments: list[Any_]) -> Any_:
        """Calls a function of the module."""
        symbol, result = self.module.function(name, arguments)
        passed = ", ".join(f"{kind} {text}" for a in arguments for kind, text in parts_of(a))
        call = f"call {result_of(result)} {symbol}({passed})"
        if result is None:
            self.to.do(call)
            return ()
        text = self.to.new(call)
        if isinstance(result, str):
            return Value(result, text)
        kind = result_of(result)
        return tuple(Value(t, self.to.new(f"extractvalue {kind} {text}, {k}")) for k, t in enumerate(result))

    _WRITERS: ClassVar[dict[type[ast.expr], Callable[[Any, Any], Any_]]] = {
        ast.Attribute: _attribute,
        ast.BinOp: _operation,
        ast.BoolOp: _both,
        ast.Call: _call,
        ast.Compare: _comparison,
        ast.Constant: _constant,
        ast.IfExp: _either,
        ast.Name: _name,
        ast.Subscript: _subscript,
        ast.Tuple: _tuple,
        ast.UnaryOp: _signed,
    }


def _is_slice(node: ast.expr) -> bool:
    return isinstance(node, ast.Slice)


def result_of(result: Result) -> str:
    """What LLVM calls what a function returns."""
    if result is None or isinstance(result, str):
        return "void" if result is None else LLVM[result]
    return f"{{{', '.join(LLVM[t] for t in result)}}}"


def parts_of(value: Any_) -> list[tuple[str, str]]:
    """What is passed of an argument, each part with its type."""
    if isinstance(value, Value):
        return [(LLVM[value.type], value.text)]
    if isinstance(value, Pointer):
        return [("ptr", value.text)]
    if not isinstance(value, Array):
        raise UnknownTextError("a tuple that is passed")
    return [("ptr", value.text), *(("i64", text) for text in (*value.shape, *(value.strides or ())))]


def number_of(value: Any_) -> Value:
    """A value that is a number."""
    if not isinstance(value, Value):
        raise UnknownTextError("an array for a number")
    return value

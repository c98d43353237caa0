"""What a body's operators and functions mean for one scalar: the language's arithmetic, written out in Python.

Floats are of the compute dtype, literals too; integers are 64-bit and wrap; nothing raises: dividing by zero follows
IEEE for floats and gives 0 for integers. Where Python says otherwise (``1 / 3`` is a float64, ``7 // 0`` raises) an
operator's function here says what the language does.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import inspect
import operator
import threading
from types import FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.c_math import c_math
from tilejit.backends.local_arrays import Arrays, LocalArray, LocalDict, by_element
from tilejit.backends.numpy_scalars import NumpyFunctions
from tilejit.backends.operators import OPERATORS, Rewrite
from tilejit.backends.tables import Elements, table_of, whole_of
from tilejit.backends.whole_arrays import Functions
from tilejit.compiler.arrays.calls import BY_TABLE
from tilejit.compiler.form.c_functions import is_c_function, is_library, read_c_function
from tilejit.compiler.form.captured import TABLES, is_valid, plain_number
from tilejit.compiler.form.form import MATH, MULTIPLIED_OUT, OWN, place_of
from tilejit.compiler.form.kinds import Kind, kind_of_dtype
from tilejit.compiler.form.source import bare
from tilejit.compiler.syntax.folding import folded
from tilejit.compiler.syntax.names import Names
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.rewriting import core_source
from tilejit.compiler.syntax.written import OF_ROWS, OVER_ARRAYS, WRITTEN
from tilejit.math import float32, float64

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.backends.tables import Outside
    from tilejit.compiler.form.form import Place
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.compiler.syntax.numpy_names import Formula

_LEAST, MOST = -(2**63), 2**63 - 1
_NUMBERS = {Kind.BOOL: bool, Kind.INT: int, Kind.FLOAT: None}
"""What numbers from and for C are in Python; floats from C are of the compute dtype."""


class Notes(threading.local):
    """What the body notes of the pixel that it is at; in each thread another."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.outside: Outside | None = None
        """The first index of it that a table does not have."""

    def clear(self) -> None:
        """Begins with the next pixel."""
        self.found.clear()
        self.outside = None

    def note_outside(self, outside: Outside) -> None:
        """Notes an index that a table does not have."""
        self.found.add("outside")
        self.outside = self.outside or outside


class Scalars:
    """Functions rewritten for one compute dtype; ``notes`` takes "undefined" when an integer is made of NaN."""

    def __init__(self, compute: np.dtype, validity: Callable[[Any], bool], notes: Notes,
                 floats: frozenset[Place] = frozenset()) -> None:  # fmt: skip
        self.compute: Any = compute.type
        self.floats = floats
        self.validity, self.notes = validity, notes
        self._library: Any = float32 if compute == np.float32 else float64
        self._functions: dict[Callable[..., Any], FunctionType] = {}
        self._math = {name: self._math_function(name) for name in MATH}
        self._numpy = NumpyFunctions(self._float, self._int, functools.cache(self._formula))
        kinds = functools.partial(self._numpy.kind_of, {self._float: Kind.FLOAT, self._int: Kind.INT})
        self._arrays = Arrays(self._float, kinds, validity, lambda: notes.found.add("missing"))
        self._whole = Functions(self._arrays, self._operator, self._function)
        self._builtins = {
            "min": functools.partial(self._extreme, operator.lt), "int": self._int, "float": self._float,
            "abs": self._mapped(self._abs), "max": functools.partial(self._extreme, operator.gt), "round": self._round,
            "divmod": lambda a, b: (self._operator("floordiv")(a, b), self._operator("mod")(a, b)),
            "sum": self._sum, "list": self._arrays.listed, "sorted": self._arrays.sorted,
        }  # fmt: skip

    def function(self, source: FunctionSource) -> FunctionType:
        """Returns a function whose arithmetic is the language's."""
        function: Any = source.function
        if function in self._functions:
            return self._functions[function]
        names = Names(source)
        tree = copy.deepcopy(source.tree)
        tree.body = folded(tree.body, names)
        tree = Rewrite(lambda node: place_of(function, node) in self.floats).visit(bare(tree))
        module = ast.fix_missing_locations(ast.Module([tree], []))
        namespace = self.namespace()
        exec(compile(module, source.filename, "exec"), namespace)  # noqa: S102 - the user's own text
        result: FunctionType = namespace[source.tree.name]
        result.__defaults__ = self._values(function.__defaults__)
        result.__kwdefaults__ = {k: self._value(v) for k, v in (function.__kwdefaults__ or {}).items()}
        self._functions[function] = result
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - names.locals
        namespace |= {n: self._value(names.free[n]) for n in used & names.free.keys()}
        return result

    def namespace(self) -> dict[str, Any]:
        """What a rewritten text sees: operators and built-in functions."""
        names: dict[str, Any] = {f".{name}": self._operator(name) for name in OPERATORS.values()}
        names |= {".literal": self.compute, ".truth": _truth, ".pow": self._power, ".neg": self._mapped(self._neg)}
        names[".dict"] = lambda entries: LocalDict(entries, self._arrays.missing)
        names |= {
            ".float": self._joined,
            ".list": self._arrays.listed,
            ".times": self._arrays.times,
            ".held": self._arrays.held,
        }
        return {**names, "__builtins__": {**vars(builtins), **self._builtins}}

    def _values(self, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if values is None else tuple(map(self._value, values))

    def _value(self, value: Any) -> Any:  # noqa: PLR0911 - one for each kind of thing
        """What a captured object is in a body."""
        if (made := self._arrays.of(value)) is not None:
            return made
        number = plain_number(value)
        if number is not None:
            return self.compute(number) if isinstance(number, float) else number
        if isinstance(value, (*TABLES, frozenset)):
            return self._collection(value)
        if (numpy := self._numpy.find(value)) is not None:
            return self._mapped(numpy)
        if isinstance(value, (ModuleType, type)) and getattr(builtins, value.__name__, None) is not value:
            return _Patched(self, value)
        if is_library(value):
            return _Patched(self, value)
        return self._c_function(value) if is_c_function(value) else self._function(value)

    def _collection(self, value: Any) -> Any:
        """What a captured tuple, list, dict, array or frozenset is in a body."""
        table = table_of(value, self.compute, self.notes.note_outside)
        if isinstance(table, Elements):
            table.made = self._arrays.of_table
        if table is not None or not isinstance(value, (tuple, frozenset)):
            return value if table is None else table
        return (tuple if isinstance(value, tuple) else frozenset)(map(self._value, value))

    def _c_function(self, value: Any) -> Callable[..., Any]:
        """A C function whose numbers are the language's."""
        pointer = read_c_function(value)
        called, number = pointer.for_python(), _NUMBERS[pointer.kind] or self.compute
        converts = [_NUMBERS[kind_of_dtype(d)] or float for d in pointer.arguments]
        return lambda *values: number(called(*(c(v) for c, v in zip(converts, values, strict=True))))

    def _function(self, value: Any) -> Any:
        """What a captured function is in a body."""
        if id(value) in OVER_ARRAYS:
            return self._whole.over(self.function(core_source(WRITTEN[id(value)])))
        is_written = id(value) in WRITTEN and id(value) not in OF_ROWS and not any(value is f for f in BY_TABLE)
        value = WRITTEN.get(id(value), getattr(value, "__tilejit_body__", value))
        if is_written:
            return self._mapped(self.function(core_source(value)))
        name = getattr(value, "__name__", "")
        if value is is_valid:
            return self.validity
        if (mathematical := math_name(value)) in self._math:
            return self._mapped(self._math[mathematical])
        if name in self._builtins and value is getattr(builtins, name):
            return self._builtins[name]
        plain = getattr(value, "py_func", value)
        return self.function(core_source(plain)) if inspect.isfunction(plain) else value

    def _math_function(self, name: str) -> Callable[..., Any]:
        if name in OWN:
            return lambda *values: getattr(self._library, name)(*map(self._float, values))
        if MATH[name][1] is Kind.INT:
            return lambda value: self._int(value if isinstance(value, int) else getattr(np, name)(value))
        if MATH[name][1] is Kind.BOOL:
            return lambda value: bool(getattr(np, name)(self._float(value)))
        function = c_math(name, self.compute)
        return lambda *values: self.compute(function(*map(self._float, values)))

    def _operator(self, name: str) -> Callable[[Any, Any], Any]:
        function = getattr(self, f"_{name}")

        def operate(a: Any, b: Any) -> Any:
            if isinstance(a, _WHOLE) or isinstance(b, _WHOLE):
                return self._whole.of_whole(name, whole_of(a), whole_of(b))
            a, b = _plain(a), _plain(b)
            if isinstance(a, np.floating) or isinstance(b, np.floating):
                a, b = self._float(a), self._float(b)
            return function(a, b)

        return operate

    def _mapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of numbers, which of arrays goes through their elements."""

        def mapped(*values: Any, **named: Any) -> Any:
            if any(isinstance(v, (LocalArray, Elements)) for v in values):
                return by_element(functools.partial(function, **named), *map(whole_of, values))
            return function(*values, **named)

        mapped.__wrapped__ = function  # type: ignore[attr-defined]
        return mapped

    def _power(self, a: Any, b: Any, *, literal: bool) -> Any:
        return self._mapped(functools.partial(self._pow, literal=literal))(a, b)

    def _formula(self, formula: Formula) -> Callable[..., Any]:
        arguments = ast.parse(f"lambda {', '.join(formula.parameters)}: 0", mode="eval")
        arguments.body.body = Rewrite().visit(formula.tree)  # type: ignore[attr-defined]
        code = compile(ast.fix_missing_locations(arguments), "<formula>", "eval")
        result: Callable[..., Any] = eval(code, self.namespace())  # noqa: S307 - our own text
        return result

    def _float(self, value: Any, dtype: Any = None) -> Any:
        """A float of the compute dtype; of an integer the nearest, which Python's own way over a float64 may miss."""
        return (dtype or self.compute)(np.int64(value) if isinstance(value, int) else value)

    def _joined(self, value: Any) -> Any:
        """A number that is a float in other cases."""
        return self._float(value) if isinstance(value, int) else value

    def _neg(self, value: Any) -> Any:
        return _wrapped(-_plain(value))

    def _abs(self, value: Any) -> Any:
        return _wrapped(abs(_plain(value)))

    def _add(self, a: Any, b: Any) -> Any:
        return _wrapped(a + b)

    def _sub(self, a: Any, b: Any) -> Any:
        return _wrapped(a - b)

    def _mul(self, a: Any, b: Any) -> Any:
        return _wrapped(a * b)

    def _truediv(self, a: Any, b: Any) -> Any:
        return self._float(a) / self._float(b)

    def _floordiv(self, a: Any, b: Any) -> Any:
        if isinstance(a, int) and isinstance(b, int):
            return a // b if b and _wrapped(a // b) == a // b else 0  # what does not fit is 0, as Numba has it
        return self.compute(a) // self.compute(b)

    def _mod(self, a: Any, b: Any) -> Any:
        if isinstance(a, int) and isinstance(b, int):
            return a % b if b else 0
        return self.compute(a) % self.compute(b)

    def _pow(self, a: Any, b: Any, *, literal: bool) -> Any:
        """A literal whole exponent is multiplied out, by squares; every other power is the C library's."""
        a, b = _plain(a), _plain(b)
        if not literal or abs(b) > MULTIPLIED_OUT or (b < 0 and isinstance(a, int)):
            return self._library.pow(self._float(a), self._float(b))
        result: Any = 1 if isinstance(a, int) else self.compute(1)
        exponent = abs(b)
        while exponent:
            result = _wrapped(result * a) if exponent & 1 else result
            a, exponent = _wrapped(a * a), exponent >> 1
        return self.compute(1) / result if b < 0 else result

    def _lshift(self, a: int, b: int) -> int:
        return int(_wrapped(int(a) << (b & 63)))

    def _rshift(self, a: int, b: int) -> int:
        return int(a) >> (b & 63)

    def _and_(self, a: int, b: int) -> int:
        return a & b

    def _or_(self, a: int, b: int) -> int:
        return a | b

    def _xor(self, a: int, b: int) -> int:
        return a ^ b

    def _extreme(self, better: Callable[[Any, Any], bool], *values: Any) -> Any:
        """Python's own min and max, of which the result is a float where any argument is."""
        values = tuple(map(_plain, values[0] if len(values) == 1 else values))
        if not values:
            self._arrays.missing()
            return self.compute(0)
        if any(isinstance(v, np.floating) for v in values):
            values = tuple(map(self._float, values))
        result = values[0]
        for value in values[1:]:
            result = value if better(value, result) else result
        return +result

    def _sum(self, values: Any, start: Any = 0) -> Any:
        """Adds up from the left; Python's own compensates for what floats lose."""
        return functools.reduce(self._operator("add"), values, start)

    def _int(self, value: Any) -> int:
        """Cut towards zero and held within 64 bits; of NaN there is none."""
        if value != value:  # noqa: PLR0124
            self.notes.found.add("undefined")
            return 0
        if isinstance(value, int):
            return int(value)
        return int(value) if _LEAST <= value < -_LEAST else _LEAST if value < 0 else MOST

    def _round(self, value: Any, digits: int | None = None) -> Any:
        if digits is not None:
            return self._numpy.round(value, digits)
        return value if isinstance(value, int) else self._int(np.rint(value))


_WHOLE = (LocalArray, tuple, Elements)


def _truth(value: Any) -> Any:
    """NumPy's truth values add up to True, and not to 2."""
    return value if isinstance(value, LocalArray) else bool(value)


def _plain(value: Any) -> Any:
    """An integer of a class of its own as an int, which alone NumPy takes for weaker than a float32."""
    return value if type(value) in {int, bool} or isinstance(value, np.floating) else int(value)


def _wrapped(value: Any) -> Any:
    """Integers wrap at 64 bits, as they do in compiled code."""
    if isinstance(value, int) and not _LEAST <= value < -_LEAST:
        return (value - _LEAST) % 2**64 + _LEAST
    return value


class _Patched(SimpleNamespace):
    """A module or class whose attributes are patched as they are looked up."""

    def __init__(self, scalars: Scalars, owner: Any) -> None:
        super().__init__()
        self.__dict__["_lookup"] = lambda name: scalars._value(getattr(owner, name))  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_lookup"](name)

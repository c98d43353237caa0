"""Methods and functions of whole arrays, lists and tuples: see `tilejit.compiler.arrays.sequences`."""

from __future__ import annotations

import ast
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.growing import Growing
from tilejit.compiler.arrays.text import MAKERS, ZEROS, at_place, is_one_of
from tilejit.compiler.arrays.wholes import UnlikeError, Whole, reshaped, transposed
from tilejit.compiler.arrays.written import argsort
from tilejit.compiler.form.captured import MISSING, plain_number
from tilejit.compiler.form.form import copied, load
from tilejit.compiler.syntax.folding import literal_range
from tilejit.compiler.syntax.numpy_names import FORMULAS, INTEGERS, found_in, math_name
from tilejit.compiler.syntax.written import OF_ROWS, OVER_ARRAYS, WRITTEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.arrays.wholes import Part

REDUCERS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "std": np.std, "var": np.var, "prod": np.prod,
             "argmax": np.argmax, "argmin": np.argmin, "any": np.any, "all": np.all, "dot": np.dot}  # fmt: skip
"""Methods that give a number, or one for each row."""
_COPIES = (np.array, np.asarray, np.ascontiguousarray, np.copy, list, tuple)
_SCALAR = (abs, int, float, bool, round, np.round, np.around, np.clip, np.float32, np.float64, np.bool_, np.absolute,
           np.trunc, np.fix, np.floor, np.ceil, np.rint, *INTEGERS, *FORMULAS)  # fmt: skip
_LIKE = {np.zeros_like: 0, np.ones_like: 1, np.empty_like: 0}
BY_TABLE = (np.interp, np.digitize, np.searchsorted, np.polyval)
REDUCED = (sum, min, max, any, all)


class WholeCalls(Growing):
    """What calls and attributes give."""

    by_element: Callable[..., Whole | None]

    def of_attribute(self, node: ast.Attribute) -> Whole | None:
        """``h.T``, ``h.flat``."""
        whole = self.whole(node.value) if node.attr in {"T", "flat"} else None
        if whole is None or whole.word != "array":
            return None
        return transposed(whole) if node.attr == "T" else reshaped(whole, [-1])

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """How large an array is."""
        whole = self.whole(node.value) if node.attr in {"shape", "size", "ndim", "T", "flat"} else None
        if whole is None or whole.word != "array":
            self.generic_visit(node)
            return node
        shape: list[ast.expr] = [ast.Constant(s) for s in whole.shape]
        found: dict[str, ast.expr] = {"size": ast.Constant(len(whole.flat)), "ndim": ast.Constant(len(shape)),
                                      "shape": ast.Tuple(shape, ast.Load())}  # fmt: skip
        inner = self.of_attribute(node)
        return at_place(found[node.attr] if inner is None else inner.node, node)  # type: ignore[no-any-return]

    # -- calls that give wholes -------------------------------------------------------------------------------------

    def of_call(self, node: ast.Call) -> Whole | None:
        """What a call gives, where that is a whole."""
        owner = self._owner(node)
        if owner is not None:
            return self._of_method(node, owner, node.func.attr)  # type: ignore[attr-defined]
        function = self.names.resolve(node.func)
        if function is MISSING:
            return None
        literal = literal_range(node)
        if literal is not None and function is range:
            return Whole("list", tuple(map(ast.Constant, literal))) if len(literal) <= _MOST else None
        if not node.args:
            return None
        maker = self._maker_of(function)
        found = None if maker is None else maker(node)
        if found is None and self._is_of_numbers(function):
            found = self._each(node, function)
        return found

    def _owner(self, node: ast.Call) -> Whole | None:
        """The array of which a method is called."""
        return self.whole(node.func.value) if isinstance(node.func, ast.Attribute) else None

    def _maker_of(self, function: object) -> Callable[[ast.Call], Whole | None] | None:
        makers: list[tuple[tuple[Any, ...], Callable[[ast.Call], Whole | None]]] = [
            (_COPIES, self._copy), ((sorted, np.sort), self._sorted), ((reversed, np.flip), self._reversed),
            (MAKERS, self._made), (tuple(_LIKE), self._like), ((np.eye, np.identity), self._eye),
            ((np.arange,), self._arange),
            ((np.linspace,), self._linspace), ((np.concatenate, np.hstack), self._joined_up),
            ((np.vstack,), self._stacked),
            ((np.roll,), self._rolled), ((np.diff,), self._diff), ((np.cumsum,), self._cumsum),
            ((np.outer,), self._outer), ((np.cross,), self._cross), ((np.repeat,), self._repeated),
            ((np.argsort,), self._argsort), ((np.transpose,), self._transposed),
            ((np.ravel,), self._ravel), ((np.ndenumerate,), self._numbered),
        ]  # fmt: skip
        return next((make for functions, make in makers if is_one_of(function, functions)), None)

    def _is_of_numbers(self, function: object) -> bool:
        """Whether a function takes numbers, and of arrays goes through their elements."""
        is_written = id(function) in WRITTEN and id(function) not in {*OVER_ARRAYS, *OF_ROWS}
        return is_one_of(function, _SCALAR) or math_name(function) is not None or is_written or (
            found_in(FORMULAS, function) is not None)  # fmt: skip

    def _each(self, node: ast.Call, function: object) -> Whole | None:
        """A function of numbers, called for each element of arrays."""
        keywords = [k.value for k in node.keywords]
        given = [*node.args, *keywords]
        sides = [self.whole(a) for a in given]
        if is_one_of(function, BY_TABLE) or not any(s is not None and s.word == "array" for s in sides):
            return None
        parts: list[Part] = [self.visit(copied(a)) if s is None else s for a, s in zip(given, sides, strict=True)]
        names, count = [k.arg for k in node.keywords], len(node.args)

        def made(*values: ast.expr) -> ast.expr:
            pairs = zip(names, values[count:], strict=True)
            return ast.Call(copied(node.func), list(values[:count]), [ast.keyword(n, v) for n, v in pairs])

        return self.by_element(node, made, *parts)

    def _of_method(self, node: ast.Call, owner: Whole, name: str) -> Whole | None:
        arguments = node.args
        if name == "copy":
            return owner
        if owner.word != "array":
            return None
        if name in {"ravel", "flatten", "reshape"}:
            return self._reshape(node, owner, name)
        if name == "astype" and arguments:
            return self._typed(owner, arguments[0])
        if name == "cumsum":
            return self._summed_up(owner)
        if name == "transpose":
            return transposed(owner)
        if name in REDUCERS:
            return self._along(node, owner, REDUCERS[name])
        if name in {"clip", "round"}:
            call = ast.Call(self.named_function(getattr(np, name)), [node.func.value, *arguments], [])  # type: ignore[attr-defined]
            return self.whole(at_place(call, node))
        return None

    def _reshape(self, node: ast.Call, owner: Whole, name: str) -> Whole:
        given = node.args[0].elts if node.args and isinstance(node.args[0], ast.Tuple) else node.args
        shape = [self.number(a) for a in given] if name == "reshape" else [-1]
        try:
            return reshaped(owner, [s for s in shape if s is not None])
        except UnlikeError:
            self.fail(
                node, f"{len(owner.flat)} elements in that shape", "a shape has one or two sides that hold them all"
            )

    def _typed(self, owner: Whole, dtype: ast.expr) -> Whole:
        found = self.names.resolve(dtype)
        function = dtype if isinstance(found, type) else self.named_function(float)
        return Whole("array", tuple(self._typed(p, dtype) if isinstance(p, Whole) else
                                    ast.Call(copied(function), [copied(p)], []) for p in owner))  # fmt: skip

    def _along(self, node: ast.Call, owner: Whole, function: object) -> Whole | None:
        """A number for each row or column, where an axis is given."""
        axis = next((self.number(k.value) for k in node.keywords if k.arg == "axis"), None)
        if axis is None or len(owner.shape) < 2:
            return None
        rows = transposed(owner) if axis in {0, -2} else owner
        return Whole("array", tuple(ast.Call(self.named_function(function), [p.node], []) for p in rows
                                    if isinstance(p, Whole)))  # fmt: skip

    def _copy(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        if whole is None:
            return None
        function = self.names.resolve(node.func)
        word = "list" if function is list else "tuple" if function is tuple else "array"
        dtype = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "dtype")]
        found = _as(whole, word)
        return self._typed(found, dtype[0]) if dtype and word == "array" else found

    def _made(self, node: ast.Call) -> Whole | None:
        """``np.zeros((3, 4))`` and the like."""
        sides = node.args[0].elts if isinstance(node.args[0], (ast.Tuple, ast.List)) else [node.args[0]]
        shape = [self.number(s) for s in sides]
        if None in shape or not 1 <= len(shape) <= 2 or any(s < 1 for s in shape if s is not None):
            return None
        function, total = self.names.resolve(node.func), math.prod(s for s in shape if s is not None)
        named = {k.arg: k.value for k in node.keywords}
        given = [*node.args[1:]]
        if function is np.full:
            value = self.visit(copied(given.pop(0) if given else named["fill_value"]))
        else:
            value = ast.Constant(float(not is_one_of(function, ZEROS)))
        dtype = given[0] if given else named.get("dtype")
        whole = reshaped(Whole("array", (value,) * total), [s for s in shape if s is not None])
        return whole if dtype is None else self._typed(whole, dtype)

    def _like(self, node: ast.Call) -> Whole | None:
        whole, function = self.whole(node.args[0]), self.names.resolve(node.func)
        if whole is None:
            return None
        value = float(next(v for f, v in _LIKE.items() if f is function))
        return reshaped(Whole("array", (ast.Constant(value),) * len(whole.flat)), whole.shape)

    def _eye(self, node: ast.Call) -> Whole | None:
        size = self.number(node.args[0])
        if size is None:
            return None
        rows = (tuple(ast.Constant(float(i == j)) for j in range(size)) for i in range(size))
        return Whole("array", tuple(Whole("array", row) for row in rows))

    def _numbers(self, nodes: list[ast.expr]) -> list[Any] | None:
        found = [plain_number(getattr(self.visit(copied(n)), "value", None)) for n in nodes]
        return None if None in found else found

    def _arange(self, node: ast.Call) -> Whole | None:
        numbers = self._numbers(node.args)
        return None if numbers is None else Whole("array", tuple(map(ast.Constant, np.arange(*numbers).tolist())))

    def _linspace(self, node: ast.Call) -> Whole | None:
        numbers = self._numbers(node.args)
        return None if numbers is None else Whole("array", tuple(map(ast.Constant, np.linspace(*numbers).tolist())))

    def _sorted(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        if whole is None or len(whole.shape) != 1:
            return None
        held = self.hold_whole(ast.Call(self.named_function(sorted), [whole.node], []), whole, node)
        is_back = any(k.arg == "reverse" and getattr(k.value, "value", False) for k in node.keywords)
        return Whole(
            "array" if self.names.resolve(node.func) is np.sort else "list", held.parts[:: -1 if is_back else 1]
        )

    def _argsort(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        if whole is None:
            return None
        places = Whole("array", tuple(ast.Constant(k) for k in range(len(whole))))
        held, order = self.hold_whole(whole.node, whole, node), self.hold_whole(places.node, places, node)
        arguments: list[ast.expr] = [load(w.parts[0].value.id) for w in (held, order)]  # type: ignore[union-attr]
        self.before.append(at_place(ast.Expr(ast.Call(self.named_function(argsort), arguments, [])), node))
        return order

    def _reversed(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        return None if whole is None else Whole(whole.word, whole.parts[::-1])

    def _all(self, node: ast.expr) -> list[Whole] | None:
        """The wholes that a tuple of them has."""
        outer = self.whole(node)
        parts = [p for p in outer or () if isinstance(p, Whole)]
        return parts if outer is not None and len(parts) == len(outer) else None

    def _joined_up(self, node: ast.Call) -> Whole | None:
        parts = self._all(node.args[0])
        return None if parts is None else Whole("array", tuple(p for w in parts for p in w))

    def _stacked(self, node: ast.Call) -> Whole | None:
        parts = self._all(node.args[0])
        return None if parts is None else _as(Whole("array", tuple(parts)), "array")

    def _rolled(self, node: ast.Call) -> Whole | None:
        whole, by = self.whole(node.args[0]), self.number(node.args[1])
        if whole is None or by is None:
            return None
        return Whole("array", tuple(whole.parts[(k - by) % len(whole)] for k in range(len(whole))))

    def _diff(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        if whole is None or len(whole.shape) != 1 or len(node.args) > 1:
            return None
        pairs = zip(whole.flat[1:], whole.flat, strict=False)
        return Whole("array", tuple(ast.BinOp(copied(b), ast.Sub(), copied(a)) for b, a in pairs))

    def _cumsum(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        return None if whole is None else self._summed_up(whole)

    def _summed_up(self, whole: Whole) -> Whole:
        sums = [whole.flat[0]]
        for element in whole.flat[1:]:
            sums.append(self.hold(ast.BinOp(copied(sums[-1]), ast.Add(), copied(element))))
        return Whole("array", tuple(sums))

    def _outer(self, node: ast.Call) -> Whole | None:
        left, right = self.whole(node.args[0]), self.whole(node.args[1])
        if left is None or right is None:
            return None
        return Whole("array", tuple(Whole("array", tuple(_times(a, b) for b in right.flat)) for a in left.flat))

    def _cross(self, node: ast.Call) -> Whole | None:
        left, right = self.whole(node.args[0]), self.whole(node.args[1])
        if left is None or right is None or {len(left), len(right)} != {3}:
            return None
        a, b = left.flat, right.flat
        turns = ((1, 2), (2, 0), (0, 1))
        return Whole("array", tuple(ast.BinOp(_times(a[i], b[j]), ast.Sub(), _times(a[j], b[i])) for i, j in turns))

    def _repeated(self, node: ast.Call) -> Whole | None:
        whole, count = self.whole(node.args[0]), self.number(node.args[1])
        return None if whole is None or count is None else Whole("array", tuple(p for p in whole for _ in range(count)))

    def _transposed(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        return None if whole is None else transposed(whole)

    def _ravel(self, node: ast.Call) -> Whole | None:
        whole = self.whole(node.args[0])
        return None if whole is None else reshaped(whole, [-1])

    def _numbered(self, node: ast.Call) -> Whole | None:
        """``np.ndenumerate(h)``: each element behind its indices."""
        whole = self.whole(node.args[0])
        if whole is None:
            return None
        places = itertools.product(*map(range, whole.shape))
        pairs = ((Whole("tuple", tuple(map(ast.Constant, p))), e) for p, e in zip(places, whole.flat, strict=True))
        return Whole("list", tuple(Whole("tuple", pair) for pair in pairs))


_MOST = 640


def _as(whole: Whole, word: str) -> Whole:
    return Whole(word, tuple(_as(p, word) if isinstance(p, Whole) and word == "array" else p for p in whole))


def _times(a: ast.expr, b: ast.expr) -> ast.expr:
    return ast.BinOp(copied(a), ast.Mult(), copied(b))

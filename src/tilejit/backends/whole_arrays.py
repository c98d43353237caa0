"""Methods and functions of whole arrays, interpreted: what `tilejit.compiler.arrays` writes out by elements."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.local_arrays import LocalArray, LocalTuple, by_element
from tilejit.compiler.arrays.calls import REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tilejit.backends.local_arrays import Arrays

_LIKE = {np.zeros_like: 0, np.ones_like: 1, np.empty_like: 0}


class Functions:
    """The functions that make arrays of arrays; ``meaning`` says what one of NumPy's is in a body."""

    def __init__(self, arrays: Arrays, operate: Callable[[str], Callable[[Any, Any], Any]],
                 meaning: Callable[[Any], Callable[..., Any]]) -> None:  # fmt: skip
        self.arrays, self.operate, self.meaning = arrays, operate, meaning
        arrays.whole = self
        arrays.functions += [
            (np.array, self.array), (np.asarray, self.array), (np.ascontiguousarray, self.array), (np.copy, self.array),
            (np.sort, lambda a: self.array(arrays.sorted(a))), (np.argsort, self.argsort), (np.eye, self.eye),
            (np.identity, self.eye),
            (np.arange, lambda *v: self.literals(np.arange(*v))), (np.flip, lambda a: self.array(a)[::-1]),
            (np.linspace, lambda *v: self.literals(np.linspace(*v))), (np.transpose, lambda a: a.T),
            (np.concatenate, self.joined), (np.hstack, self.joined), (np.vstack, self.array),
            (np.ravel, lambda a: a.flat),
            (np.roll, lambda a, by: self.array([a[(k - by) % len(a)] for k in range(len(a))])), (np.diff, self.diff),
            (np.cumsum, self.cumsum), (np.outer, self.outer), (np.cross, self.cross),
            (np.repeat, lambda a, n: self.array([v for v in a for _ in range(n)])), (np.ndenumerate, self.numbered),
            *((function, self._like(value)) for function, value in _LIKE.items()),
        ]  # fmt: skip

    def array(self, values: Any, dtype: Any = None) -> LocalArray:
        """``np.array(…)``."""
        rows = [self.array(v) if isinstance(v, (LocalArray, tuple)) else v for v in values]
        made = self.arrays.listed(*rows) if len(rows) != 1 else self.arrays.listed([*rows])
        made.word = "array"
        return made if dtype is None else self.typed(made, dtype)

    def literals(self, values: Any) -> LocalArray:
        """An array of numbers that the text tells."""
        return self.array([self.arrays.number(v) if isinstance(v, float) else v for v in values.tolist()])

    def typed(self, a: LocalArray, dtype: Any) -> LocalArray:
        """``a.astype(dtype)``."""
        return by_element(dtype, a)  # type: ignore[no-any-return]

    def _like(self, value: int) -> Callable[[Any], LocalArray]:
        def made(a: Any) -> LocalArray:
            return self.arrays.full(a.shape if isinstance(a, LocalArray) else len(a), self.arrays.number(value))

        return made

    def eye(self, size: int) -> LocalArray:
        """Ones on the diagonal."""
        one = self.arrays.number
        return self.array([self.array([one(i == j) for j in range(size)]) for i in range(size)])

    def joined(self, parts: Iterable[Any]) -> LocalArray:
        """One behind the other."""
        return self.array([v for part in parts for v in part])

    def argsort(self, a: LocalArray) -> LocalArray:
        """The places of elements in their order."""
        return self.array(sorted(range(len(a)), key=lambda k: (a[k] != a[k], a[k])))

    def diff(self, a: LocalArray) -> LocalArray:
        """Differences of neighbours."""
        return self.array([self.operate("sub")(b, c) for c, b in itertools.pairwise(a)])

    def cumsum(self, a: LocalArray) -> LocalArray:
        """Sums up to each element."""
        return self.array(list(itertools.accumulate(a.flat, self.operate("add"))))

    def outer(self, a: LocalArray, b: LocalArray) -> LocalArray:
        """All products."""
        return self.array([self.array([self.operate("mul")(v, w) for w in b]) for v in a])

    def cross(self, a: LocalArray, b: LocalArray) -> LocalArray:
        """The product of two vectors in space."""
        times, less = self.operate("mul"), self.operate("sub")
        return self.array([less(times(a[i], b[j]), times(a[j], b[i])) for i, j in ((1, 2), (2, 0), (0, 1))])

    def numbered(self, a: LocalArray) -> list[Any]:
        """Each element behind its indices."""
        places = itertools.product(*map(range, a.shape))
        return [(LocalTuple.of(p, a.missing), v) for p, v in zip(places, a.flat, strict=True)]

    def product(self, a: LocalArray, b: LocalArray) -> Any:
        """``a @ b``."""
        if a.ndim == 2:
            return self.array([self.product(row, b) for row in a])
        if b.ndim == 2:
            return self.array([self.product(a, column) for column in b.T])
        total, *rest = [self.operate("mul")(v, w) for v, w in zip(a, b, strict=True)]
        for term in rest:
            total = self.operate("add")(total, term)
        return total

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function over all elements, or over those of each row or column."""

        def reduced(a: Any, *rest: Any, axis: int | None = None, **named: Any) -> Any:
            if not isinstance(a, LocalArray) or a.ndim == 1:
                return function(a, *rest, **named)
            if axis is None:
                return function(a.flat, *rest, **named)
            return self.array([function(row, *rest, **named) for row in (a.T if axis in {0, -2} else a)])

        return reduced

    def method(self, a: LocalArray, name: str) -> Any:
        """A method of an array."""
        if name in REDUCERS:
            return lambda *rest, **named: self.meaning(REDUCERS[name])(a, *rest, **named)
        return {
            "astype": lambda dtype: self.typed(a, dtype), "cumsum": lambda: self.cumsum(a), "ravel": a.flat.copy,
            "flatten": a.flat.copy, "item": lambda k=0: a.flat[k], "tolist": lambda: self.arrays.listed(a),
            "reshape": lambda *shape: self.reshape(a, *shape), "transpose": lambda: a.T,
            "clip": lambda *bounds: self.meaning(np.clip)(a, *bounds),
            "round": lambda *n: self.meaning(np.round)(a, *n),
        }[name]  # fmt: skip

    def reshape(self, a: LocalArray, *shape: Any) -> LocalArray:
        """The same elements in another shape."""
        sides = shape[0] if isinstance(shape[0], tuple) else shape
        if len(sides) == 1:
            return a.flat.copy()
        columns = sides[1] if sides[1] != -1 else len(a.flat) // sides[0]
        return self.array([a.flat[k : k + columns] for k in range(0, len(a.flat), columns)])

    def of_whole(self, name: str, a: Any, b: Any) -> Any:
        """An operator of whole arrays, lists or tuples."""
        if "array" in {getattr(a, "word", ""), getattr(b, "word", "")}:
            return by_element(self.operate(name), a, b)
        if name == "mul":
            values, count = (a, b) if isinstance(a, (LocalArray, tuple)) else (b, a)
            held: list[Any] = list(values) * count
        else:
            held = [*a, *b]
        is_tuple = isinstance(a, tuple) or isinstance(b, tuple)
        return LocalTuple.of(held, self.arrays.missing) if is_tuple else self.arrays.listed(held)

"""The local kernel that an expression becomes: its text, with common parts in variables, and what it is declared as."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import count
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.captured import is_valid
from tilejit.compiler.form.kinds import compute_dtype
from tilejit.compiler.form.source import function_of, name_of
from tilejit.kernel.decorators import declare
from tilejit.kernel.expressions.functions import CHOOSING, FILLNA, INTEGERS, ISNULL, RENAMED, WHERE
from tilejit.kernel.expressions.nodes import BOOL, FLOAT64, UNBOUNDED, Awaited, Leaf, Missing, Number, Operation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from tilejit.compiler.form.kinds import LazyScalar
    from tilejit.kernel.expressions.nodes import Bounds, Node
    from tilejit.kernel.kernel import Kernel

_LONGEST = 60
"""Characters of a text that is written within another one; a longer one is given a name."""
_EXACT = {np.dtype(np.float32): 2.0**24, FLOAT64: 2.0**53}
"""Up to where floats hold whole numbers."""
_NAMES = {"np", "math", "is_valid", "abs", "int", "float"}
_CALL = re.compile(r"(?:np\.|math\.)?[a-z]\w*\(")
_LIMIT = 9.2e18
"""Beyond it a number of 64 bits may have wrapped."""


@dataclass(frozen=True, slots=True)
class Composed:
    """An expression as a kernel, and what that is called with."""

    kernel: Kernel
    """The kernel."""
    bands: tuple[Any, ...]
    """The bands of its leaves, one for each raster parameter."""
    scalars: dict[str, LazyScalar]
    """Its keyword-only parameters."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A node, as it stands in the text."""

    text: str
    missing: tuple[str, ...] = ()
    """Conditions, of which each means that there is no data, beside NaN."""
    may_be_nan: bool = False


class Body:
    """Writes the body of an expression; equal parts have one number, and are written once."""

    def __init__(self, root: Operation, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.operands: list[tuple[int, ...]] = []
        self.lines: list[str] = []
        self.parts: list[_Part] = []
        self.helpers: dict[str, Any] = {}
        self._names = count(1)
        self._number(root)
        self.uses = Counter(operand for operands in self.operands for operand in operands)
        leaves = [node for node in self.nodes if isinstance(node, Leaf)]
        letters = ascii_lowercase if len(leaves) <= len(ascii_lowercase) else [f"r{k}" for k in range(len(leaves))]
        self.leaves = dict(zip(letters, leaves, strict=False))
        self.scalars = {f"v{k}": n for k, n in enumerate((n for n in self.nodes if isinstance(n, Awaited)), 1)}
        dtypes = tuple(leaf.dtype for leaf in leaves)
        made = [node for node in self.nodes if isinstance(node, Operation)]
        self.is_double = any(node.dtype == FLOAT64 for node in made) and compute_dtype(dtypes) != FLOAT64
        self.compute = FLOAT64 if self.is_double else compute_dtype(dtypes)
        self.is_choosing = any(node.function in CHOOSING for node in made)
        self.bounds = list(self._bounds())
        self.whole = self._whole()
        self.has_integers = bool(self.whole) or any(n.dtype == BOOL and n.function in CHOOSING for n in made)

    def _number(self, root: Operation) -> None:
        """Numbers the nodes, operands first; one that equals another has its number."""
        numbers: dict[Hashable, int] = {}
        done: dict[int, int] = {}
        waiting: list[Node] = [root]
        while waiting:
            node = waiting[-1]
            operands = node.operands if isinstance(node, Operation) else ()
            left = [operand for operand in operands if id(operand) not in done]
            if left:
                waiting += reversed(left)
                continue
            waiting.pop()
            known = tuple(done[id(operand)] for operand in operands)
            key = (node.function.name, node.dtype, known) if isinstance(node, Operation) else node.key
            if key not in numbers:
                numbers[key] = len(self.nodes)
                self.nodes.append(node)
                self.operands.append(known)
            done[id(node)] = numbers[key]

    def _bounds(self) -> Iterator[Bounds]:
        """Within which bounds the whole numbers of each node are."""
        found: list[Bounds] = []
        for node, operands in zip(self.nodes, self.operands, strict=True):
            found.append(self._bounds_of(node, [found[k] for k in operands]))
            yield found[-1]

    @staticmethod
    def _bounds_of(node: Node, operands: Sequence[Bounds]) -> Bounds:
        if isinstance(node, Number):
            return float(node.value), float(node.value)
        if isinstance(node, Missing) or getattr(node, "dtype", None) == BOOL:
            return 0.0, 1.0
        if isinstance(node, Leaf) and node.dtype.kind != "f":
            return float(np.iinfo(node.dtype).min), float(np.iinfo(node.dtype).max)
        if isinstance(node, Operation) and node.dtype.kind != "f":
            return node.function.bounds(*operands)
        return UNBOUNDED

    def _whole(self) -> set[int]:
        """The nodes that have to be integers in the body: floats would not hold them, or do not do what they do."""
        found: set[int] = set()
        waiting = [k for k, node in enumerate(self.nodes) if _is_integer(node) and self._is_beyond_floats(k)]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting += [k for k in self.operands[number] if _is_integer(self.nodes[k])]
        return found

    def _is_beyond_floats(self, number: int) -> bool:
        node, (low, high) = self.nodes[number], self.bounds[number]
        if isinstance(node, Operation) and node.function.helper is not None:
            return False  # a kernel is given floats, and what it makes of them is its own
        is_whole = isinstance(node, Operation) and node.function.is_whole
        return is_whole or max(-low, high) > _EXACT[self.compute]

    def written(self, root: Operation) -> str:
        """Returns the text of the function."""
        for number in range(len(self.nodes)):
            self.parts.append(self._named(number, self._part(number)))
        result = self.parts[-1]
        if missing := _either(self._missing(result, of_nan=False)):
            is_integer = root.dtype == BOOL or len(self.nodes) - 1 in self.whole or root.function.is_integer
            self.lines += [f"if {missing}:", f"    return {'int(math.nan)' if is_integer else 'math.nan'}"]
        self.lines.append(f"return {_bare(result.text)}")
        given = ", ".join([*self.leaves, *(["*", *self.scalars] if self.scalars else [])])
        return "\n".join([f"def {self.name}({given}):", *(f"    {line}" for line in self.lines)])

    def _named(self, number: int, part: _Part) -> _Part:
        """A part, as a variable where it is used twice, is long, or is looked at for NaN."""
        is_used = self.uses[number] > 1 or len(part.text) > _LONGEST
        if not isinstance(self.nodes[number], Operation) or number == len(self.nodes) - 1 or not is_used:
            return part
        return _Part(self._variable(part.text), part.missing, part.may_be_nan)

    def _variable(self, text: str) -> str:
        if text.isidentifier():
            return text
        name = f"t{next(self._names)}"
        self.lines.append(f"{name} = {_bare(text)}")
        return name

    def _part(self, number: int) -> _Part:
        node = self.nodes[number]
        if isinstance(node, Number):
            return _Part(_literal(node.value), may_be_nan=node.value != node.value)
        if isinstance(node, Missing):
            return _Part("0", ("True",)) if self.has_integers else _Part("math.nan", may_be_nan=True)
        if isinstance(node, Awaited):
            return _Part(next(name for name, one in self.scalars.items() if one is node), may_be_nan=True)
        if isinstance(node, Leaf):
            name = next(name for name, leaf in self.leaves.items() if leaf is node)
            if node.dtype == BOOL or number in self.whole:
                missing = (f"not is_valid({name})",) if self.is_choosing else ()
                return _Part(f"({name} != 0)" if node.dtype == BOOL else name, missing)
            return _Part(name, may_be_nan=self.is_choosing)  # where nodata propagates, it holds data
        return self._operation(node, number, [self.parts[k] for k in self.operands[number]])

    def _operation(self, node: Operation, number: int, parts: list[_Part]) -> _Part:
        function = node.function
        if function is ISNULL:
            return _Part(f"({_either(self._missing(parts[0])) or 'False'})")
        if function is FILLNA:
            return self._filled(*parts)
        if function is WHERE:
            return self._chosen(*parts)
        missing = _together(part.missing for part in parts)
        if function is RENAMED or (function is INTEGERS and number == len(self.nodes) - 1):
            return parts[0]  # what is stored is rounded anyway
        if function.hides or number in self.whole:
            found = [self._looked_at(part) for part in parts]
            parts, missing = [part for part, _ in found], _together([missing, *(more for _, more in found)])
        if function is INTEGERS:
            return _Part(self._rounding(parts[0].text, guarded=bool(missing)), missing)
        name, texts = "", [part.text for part in parts]
        if function.helper is not None:
            name = self._helper(function.helper)
            texts = [self._float(k, text) for k, text in zip(self.operands[number], texts, strict=True)]
        text = _wrapped(function.text.format(*texts, name=name))
        if number in self.whole and not function.is_whole and not self._fits(number):
            floats = function.text.format(*(f"float({part.text})" for part in parts))
            missing = (*missing, f"abs({floats}) >= {_LIMIT!r}")
        carries = not function.hides and any(part.may_be_nan for part in parts)
        return _Part(text, missing, may_be_nan=node.dtype.kind == "f" or carries)

    def _rounding(self, text: str, *, guarded: bool) -> str:
        """An integer of a float: halves away from zero, as outputs are rounded."""
        name, half = self._variable(text), float(np.nextafter(self.compute.type(0.5), self.compute.type(0)))
        whole = f"np.trunc({name} + ({half!r} if {name} >= 0.0 else {-half!r}))"
        return f"int({whole} if {name} == {name} else 0.0)" if guarded else f"int({whole})"

    def _float(self, number: int, text: str) -> str:
        """A value as kernels take a cell."""
        node = self.nodes[number]
        is_other = number in self.whole or getattr(node, "dtype", None) == BOOL
        return f"float({text})" if is_other else text

    def _helper(self, function: Any) -> str:
        """The name of a kernel's body in the text."""
        stem, taken = name_of(function), {self.name, *_NAMES, *self.leaves, *self.scalars}
        stem = f"{stem}_" if stem in taken or (stem[0] == "t" and stem[1:].isdigit()) else stem
        names = (stem, *(f"{stem}_{k}" for k in range(2, len(self.helpers) + 3)))
        name = next(name for name in names if self.helpers.get(name, function) is function)
        self.helpers[name] = function
        return name

    def _fits(self, number: int) -> bool:
        low, high = self.bounds[number]
        return low >= -_LIMIT and high <= _LIMIT

    def _looked_at(self, part: _Part) -> tuple[_Part, tuple[str, ...]]:
        """A part whose NaN the result would not show, and the condition that it is."""
        if not part.may_be_nan:
            return part, ()
        name = self._variable(part.text)
        return _Part(name), (f"not is_valid({name})" if name in self.leaves else f"{name} != {name}",)

    def _missing(self, part: _Part, *, of_nan: bool = True) -> tuple[str, ...]:
        if not (part.may_be_nan and of_nan):
            return part.missing
        return (*part.missing, *self._looked_at(part)[1])

    def _filled(self, part: _Part, value: _Part) -> _Part:
        part = _Part(self._variable(part.text), part.missing, part.may_be_nan)
        missing = _either(self._missing(part))
        if not missing:
            return part
        test = self._variable(missing)
        instead = _either(value.missing)
        return _Part(f"({value.text} if {test} else {part.text})", (f"({test} and {instead})",) if instead else (),
                     value.may_be_nan)  # fmt: skip

    def _chosen(self, condition: _Part, a: _Part, b: _Part) -> _Part:
        test, missing = condition.text, condition.missing
        if a.missing or b.missing:
            test = self._variable(test)
            sides = _either(a.missing) or "False", _either(b.missing) or "False"
            missing = (*missing, self._variable(f"({sides[0]}) if {test} else ({sides[1]})"))
        text = f"({a.text} if {test} else {b.text})"
        return _Part(text, missing, a.may_be_nan or b.may_be_nan)


def _is_integer(node: Node) -> bool:
    return isinstance(node, (Leaf, Operation)) and node.dtype.kind in "iu"


def _wrapped(text: str) -> str:
    """A text that stands within another one as it is."""
    return text if _CALL.match(text) and _closes(text) else f"({text})"


def _bare(text: str) -> str:
    """A text that stands alone: without the brackets around it."""
    return text[1:-1] if text.startswith("(") and _closes(text) else text


def _closes(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and character == ")":
            return place == len(text) - 1
    return False


def _literal(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "math.nan" if value != value else f"({'-' * (value < 0)}math.inf)"  # noqa: PLR0124
    return f"({value!r})" if value < 0 or str(value)[0] == "-" else repr(value)


def _either(conditions: Sequence[str]) -> str:
    """One condition of several."""
    return " or ".join(conditions)


def _together(conditions: Any) -> tuple[str, ...]:
    """All conditions, each once."""
    return tuple(dict.fromkeys(one for some in conditions for one in some))


def composed(root: Operation, like: Kernel | None = None) -> Composed:
    """Makes the local kernel of an expression, with the name of a kernel that is its root where that is given."""
    name, module = ("expression", "tilejit.expressions") if like is None else (like.name, like.module)
    body = Body(root, name)
    text = body.written(root)
    annotations = {name: leaf.dtype for name, leaf in body.leaves.items() if body.nodes.index(leaf) in body.whole}
    dtype = np.dtype(np.uint8) if root.dtype == BOOL else root.dtype
    helpers = tuple(body.helpers.items())
    kernel = _kernel(
        text, (name, module), tuple(annotations.items()), dtype, helpers, is_choosing=body.is_choosing,
        is_double=body.is_double,
    )  # fmt: skip
    scalars = {name: node.value for name, node in body.scalars.items()}
    return Composed(kernel, tuple(leaf.band for leaf in body.leaves.values()), scalars)


@functools.lru_cache(maxsize=1024)
def _kernel(
    text: str, name: tuple[str, str], annotations: tuple[tuple[str, np.dtype], ...], dtype: np.dtype,
    helpers: tuple[tuple[str, Any], ...], *, is_choosing: bool, is_double: bool,
) -> Kernel:  # fmt: skip
    """The kernel of a text; one that was made before is the same one, and is not compiled again."""
    function = function_of(tuple(text.split("\n")), 1, "<expression>", name, 0)
    function.__globals__.update(math=math, np=np, is_valid=is_valid, **dict(helpers))
    function.__annotations__ = {name: given.type for name, given in annotations} | {"return": dtype.type}
    return declare(function, kind="local", nodata="kernel" if is_choosing else "propagate", is_double=is_double)

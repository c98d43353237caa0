"""Numbers that are made of whole arrays, lists and tuples: see `tilejit.compiler.arrays.sequences`."""

from __future__ import annotations

import ast
import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.arrays import window
from tilejit.compiler.arrays.calls import REDUCED, REDUCERS, WholeCalls
from tilejit.compiler.arrays.text import at_place, is_one_of
from tilejit.compiler.arrays.wholes import Whole, transposed
from tilejit.compiler.arrays.written import count_of, index_of
from tilejit.compiler.form.captured import MISSING
from tilejit.compiler.form.form import copied, load
from tilejit.compiler.syntax.folding import literal_range
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.rewriting import core_source
from tilejit.compiler.syntax.written import OF_ROWS, OVER_ARRAYS, WRITTEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.arrays.wholes import Structure


_EMPTY = {sum: 0, np.sum: 0.0, np.count_nonzero: 0, np.prod: 1.0, math.prod: 1, any: False, np.any: False, all: True,
          np.all: True}  # fmt: skip
"""What functions are of nothing."""


class WholeNumbers(WholeCalls):
    """Calls that give a number, products, and elements that others choose."""

    got: Callable[[ast.Call], ast.expr | None]
    has_rows: Callable[[ast.expr], bool]
    constants: dict[str, ast.expr]
    known: dict[str, tuple[str, Structure]]

    def visit_Call(self, node: ast.Call) -> Any:
        """A call."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        function = self.names.resolve(node.func)
        node.args = [a for given in node.args for a in self._spread(given)]
        if (entry := self.got(node)) is not None:
            return entry
        if function is MISSING and name and (found := self._of_owner(node, name)) is not None:
            return at_place(found, node)
        counted = self._counted_slice(node.args[0]) if node.args else None
        if counted is not None and (first := self.reduced(node, *counted, function)) is not None:
            return at_place(first, node)
        grown = self.growing_of(node.args[0]) if node.args and function is not MISSING else None
        if grown is not None:
            return at_place(self._of_grown(node, grown, function), node)
        if function is len and len(node.args) == 1 and (size := self._length(node.args[0])) is not None:
            return at_place(size, node)
        if function is len and len(node.args) == 1 and (whole := self.whole(node.args[0])) is not None:
            return ast.copy_location(ast.Constant(len(whole)), node)
        if id(function) in OVER_ARRAYS or is_one_of(function, REDUCED):
            return self._over(node, function)
        whole = self.of_call(node) if function is not enumerate and function is not zip else None
        if whole is not None and not self._is_plain(node, function):
            return at_place(whole.node, node)
        if (id(function) not in WRITTEN or id(function) in OF_ROWS) and inspect.isfunction(self.names.helper(function)):
            node.args = list(map(self.given_array, node.args))
        self.generic_visit(node)
        return node

    def _counted_slice(self, node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
        """``h[:n]``: an array, and how many of its elements."""
        if (
            not isinstance(node, ast.Subscript)
            or not isinstance(node.value, ast.Name)
            or not self.known.get(node.value.id)
        ):
            return None
        cut = node.slice
        if not isinstance(cut, ast.Slice) or cut.upper is None or cut.step is not None:
            return None
        is_first = cut.lower is None or self.number(cut.lower) == 0
        if not is_first or self.number(cut.upper) is not None:
            return None
        return load(node.value.id), self.hold(self.visit(copied(cut.upper)))

    def _length(self, node: ast.expr) -> ast.expr | None:
        """The length of a text or of a running range."""
        text = self.constants.get(node.id) if isinstance(node, ast.Name) else node
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            return ast.Constant(len(text.value))
        bounds = self._bounds(node)
        if bounds is None:
            return None
        first, last, step = bounds
        between = ast.BinOp(ast.BinOp(last, ast.Sub(), first), ast.Add(), ast.Constant(step - (1 if step > 0 else -1)))
        return ast.Call(
            self.named_function(max), [ast.BinOp(between, ast.FloorDiv(), ast.Constant(step)), ast.Constant(0)], []
        )

    def _bounds(self, node: ast.expr) -> tuple[ast.expr, ast.expr, int] | None:
        """The ends of a range, and its literal step."""
        if (
            not isinstance(node, ast.Call)
            or self.names.resolve(node.func) is not range
            or literal_range(node) is not None
        ):
            return None
        given = [self.visit(copied(a)) for a in node.args]
        first, last = (ast.Constant(0), given[0]) if len(given) == 1 else given[:2]
        step = self.number(node.args[2]) if len(given) == 3 else 1
        return (first, last, step) if step else None

    def within_range(self, node: ast.Compare) -> ast.expr | None:
        """``k in range(a, b)`` as ``a <= k < b``."""
        bounds = self._bounds(node.comparators[0])
        if bounds is None or bounds[2] != 1:
            return None
        test = ast.Compare(bounds[0], [ast.LtE(), ast.Lt()], [self.visit(copied(node.left)), bounds[1]])
        return test if isinstance(node.ops[0], ast.In) else ast.UnaryOp(ast.Not(), test)

    def truth(self, node: ast.expr) -> ast.expr:
        """A list or an array whose truth is asked: whether it has elements."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node.operand = self.truth(node.operand)
            return node
        grown = self.growing_of(node) if isinstance(node, ast.Name) else None
        if grown is not None:
            return at_place(ast.Compare(load(self.count(grown)), [ast.Gt()], [ast.Constant(0)]), node)  # type: ignore[no-any-return]
        whole = self.whole(node) if isinstance(node, ast.Name) else None
        return node if whole is None else ast.copy_location(ast.Constant(bool(whole.parts)), node)

    def visit_If(self, node: Any) -> Any:
        """A test."""
        node.test = self.visit(self.truth(node.test))
        with self.places.inside():
            node.body = self.block(node.body)
        with self.places.inside():
            node.orelse = self.block(node.orelse)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.IfExp:
        """A choice."""
        node.test = self.visit(self.truth(node.test))
        self.choices += 1
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        self.choices -= 1
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        """``and``, ``or``."""
        first, *rest = map(self.truth, node.values)
        node.values = [self.visit(first)]
        self.choices += 1
        node.values += map(self.visit, rest)
        self.choices -= 1
        return node

    def _is_plain(self, node: ast.Call, function: object) -> bool:
        """Whether the language beneath has it as it is."""
        is_copy = is_one_of(function, (list, sorted, reversed)) and not node.keywords
        return function is range or (is_copy and isinstance(node.args[0], ast.Name))

    def _spread(self, node: ast.expr) -> list[ast.expr]:
        """The arguments that ``*t`` gives, or that are arrays."""
        if isinstance(node, ast.Starred):
            whole = self.of_tuple(node.value)
            if whole is None:
                self.fail(node, "a starred expression", "write the values out")
            return [at_place(copied(p.node if isinstance(p, Whole) else p), node) for p in whole]
        return [node]

    def given_array(self, node: ast.expr) -> ast.expr:
        """An argument of a helper: an array gets a name, by which it stays one."""
        whole = None if isinstance(node, ast.Name) else self.whole(node)
        if whole is None or whole.word != "array" or not whole.is_even:
            return node
        held = self.hold_whole(whole.node, whole, node).flat[0]
        assert isinstance(held, ast.Subscript)  # noqa: S101 - as it was made
        return at_place(held.value, node)  # type: ignore[no-any-return]

    def _of_owner(self, node: ast.Call, name: str) -> ast.expr | None:
        """A method of an array, a list or a dict that gives a number."""
        owner = node.func.value  # type: ignore[attr-defined]
        grown = self.growing_of(owner)
        whole = None if grown is not None else self.whole(owner)
        if grown is not None and name == "pop":
            return self.popped(grown, node)
        if name in {"index", "count"} and len(node.args) == 1 and (grown is not None or whole is not None):
            held = load(grown) if grown is not None else whole.node  # type: ignore[union-attr]
            size = load(self.count(grown)) if grown is not None else ast.Constant(len(whole))  # type: ignore[arg-type]
            function = index_of if name == "index" else count_of
            found: ast.expr = ast.Call(self.named_function(function), [held, self.visit(node.args[0]), size], [])
            return self._there(found, whole) if name == "index" and whole is not None else found
        if grown is not None and name in REDUCERS:
            call = ast.copy_location(ast.Call(load("_"), [owner, *node.args], []), node)
            return self.reduced(call, load(grown), load(self.count(grown)), REDUCERS[name])
        if name == "item" and whole is not None and len(node.args) <= 1:
            place = self.number(node.args[0]) if node.args else 0
            return None if place is None else copied(whole.flat[place])
        if name in REDUCERS and (whole is None or whole.word == "array") and self._is_array(owner, whole):
            call = ast.Call(self.named_function(REDUCERS[name]), [owner, *node.args], node.keywords)
            return self.visit(at_place(call, node))  # type: ignore[no-any-return]
        return None

    def _there(self, place: ast.expr, whole: Whole) -> ast.expr:
        """A place that is there: that of no element is an error of the run."""
        places = ast.Tuple([ast.Constant(k) for k in range(len(whole))], ast.Load())
        return ast.Subscript(places, place, ast.Load())

    def _is_array(self, owner: ast.expr, whole: Whole | None) -> bool:
        is_local = isinstance(owner, ast.Name) and owner.id in self.names.locals
        return whole is not None or is_local

    def _of_grown(self, node: ast.Call, name: str, function: object) -> ast.expr:
        if function is len or function is np.size:
            return load(self.count(name))
        if is_one_of(function, (enumerate, zip)):
            self.fail(node, f"{ast.unparse(node)} beside others", "loop over its numbers: for k in range(len(a))")
        found = self.reduced(node, load(name), load(self.count(name)), function)
        if found is None:
            shown = ast.unparse(node.func) if "@" not in ast.unparse(node.func) else "this function"
            self.fail(node, f"{shown} of a list that grows", "go over it in a loop: for v in a")
        return found

    def _over(self, node: ast.Call, function: Any) -> Any:
        """A function over all elements."""
        over, rest = node.args[0] if node.args else None, node.args[1:]
        if isinstance(over, ast.GeneratorExp) and any(self.has_rows(part.iter) for part in over.generators):
            over = ast.copy_location(ast.ListComp(over.elt, over.generators), over)
        whole = None if over is None or isinstance(over, ast.GeneratorExp) else self.whole(over)
        if whole is None or over is None or (len(node.args) > 1 and is_one_of(function, (min, max))):
            self.generic_visit(node)
            return node
        if not whole.parts and (empty := _EMPTY.get(function)) is not None:
            start = [ast.BinOp(self.visit(a), ast.Add(), ast.Constant(empty)) for a in rest if function is sum]
            return at_place([ast.Constant(empty), *start][-1], node)
        axis = next((k for k in node.keywords if k.arg == "axis"), None)
        if axis is not None or len(whole.shape) > 1:
            node.keywords = [k for k in node.keywords if k is not axis]
            number = None if axis is None else self.number(axis.value)
            if number is not None and len(whole.shape) > 1:
                rows = transposed(whole) if number in {0, -2} else whole
                return at_place(self._by_row(node, rows).node, node)
            node.args = [ast.List([copied(e) for e in whole.flat], ast.Load()), *rest]
        elif not isinstance(over, (ast.Name, ast.Tuple, ast.List)) or self._is_written(over):
            node.args = [whole.node, *rest]
        elif isinstance(over, ast.Name) and over.id in self.constants:
            node.args = [copied(self.constants[over.id]), *rest]
        node.args = [node.args[0], *(self._second(a) for a in rest)]
        if isinstance(node.args[0], (ast.Tuple, ast.List)) and isinstance(over, (ast.Tuple, ast.List)) and axis is None:
            node.args[0] = self.visit(node.args[0])
        return at_place(node, node.func)

    def _second(self, node: ast.expr) -> ast.expr:
        whole = None if isinstance(node, ast.Name) else self.whole(node)
        return self.visit(node) if whole is None else whole.node

    def _is_written(self, node: ast.expr) -> bool:
        return isinstance(node, (ast.Tuple, ast.List)) and any(isinstance(e, ast.Starred) for e in node.elts)

    def _by_row(self, node: ast.Call, rows: Whole) -> Whole:
        return Whole("array", tuple(ast.Call(copied(node.func), [p.node], []) for p in rows if isinstance(p, Whole)))

    # -- products ---------------------------------------------------------------------------------------------------

    def product(self, node: ast.expr, left: ast.expr, right: ast.expr) -> Whole | None:
        """A product of a matrix; that of two vectors is a number, and no whole."""
        a, b = self.whole(left), self.whole(right)
        if a is None or b is None:
            self.fail(node, "a matrix product of what is no array", "give two arrays: np.array([a, b])")
        columns = transposed(b) if len(b.shape) == 2 else None
        if len(a.shape) == 2 and columns is None:
            return Whole("array", tuple(self._dot(node, row, b) for row in a if isinstance(row, Whole)))
        if columns is None:
            return None
        if len(a.shape) == 1:
            return Whole("array", tuple(self._dot(node, a, c) for c in columns if isinstance(c, Whole)))
        sides = [c for c in columns if isinstance(c, Whole)]
        return Whole("array", tuple(Whole("array", tuple(self._dot(node, row, c) for c in sides))
                                    for row in a if isinstance(row, Whole)))  # fmt: skip

    def product_of_two(self, node: ast.BinOp) -> ast.expr | None:
        """``a @ b`` of two vectors."""
        a, b = (self.whole(s) if isinstance(node.op, ast.MatMult) else None for s in (node.left, node.right))
        is_vector = a is not None and b is not None and len(a.shape) == len(b.shape) == 1
        return self._dot(node, a, b) if is_vector else None  # type: ignore[arg-type]

    def _dot(self, node: ast.expr, a: Whole, b: Whole) -> ast.expr:
        if len(a) != len(b):
            self.fail(node, f"a product of {len(a)} and {len(b)} elements", "give them one length")
        terms: list[ast.expr] = [
            ast.BinOp(copied(v), ast.Mult(), copied(w)) for v, w in zip(a.flat, b.flat, strict=True)
        ]
        return functools.reduce(lambda total, term: ast.BinOp(total, ast.Add(), term), terms)

    # -- what others give -------------------------------------------------------------------------------------------

    def picked(self, node: ast.Subscript, whole: Whole, places: Whole) -> Whole | None:
        """``h[order]``: the elements at some places; those where a mask holds are a list that grows."""
        if whole.word != "array" or self.are_tests(node.slice, places):
            return None
        owner = ast.Tuple(whole.flat, ast.Load()) if not isinstance(node.value, ast.Name) else node.value
        return Whole("array", tuple(ast.Subscript(copied(owner), copied(p), ast.Load()) for p in places.flat))

    def of_tuple(self, node: ast.expr) -> Whole | None:
        """What an expression is, also the tuple that a helper returns, taken apart before the statement."""
        whole = self.whole(node)
        returned = self.returned(node) if whole is None else None
        if returned is None:
            return whole
        names = [self.fresh("held") for _ in range(returned)]
        targets = ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())
        call = copied(node)
        self.generic_visit(call)
        self.before.append(at_place(ast.Assign([targets], call), node))
        return Whole("tuple", tuple(map(load, names)))

    def returned(self, node: ast.expr) -> int | None:
        """How many values the helper returns that is called."""
        function = self.names.resolve(node.func) if isinstance(node, ast.Call) else None
        if is_one_of(function, (divmod, math.modf, np.modf)):
            return 2
        helper = self.names.helper(function)
        if helper is None or math_name(helper) is not None or id(function) in OVER_ARRAYS or function is window:
            return None
        returned = [n.value for n in ast.walk(core_source(helper).tree) if isinstance(n, ast.Return)]
        first = returned[0] if returned else None
        if not isinstance(first, ast.Tuple) or any(isinstance(e, (ast.Starred, ast.Tuple)) for e in first.elts):
            return None
        return len(first.elts)

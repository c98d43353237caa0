"""Lists that grow in a body's text: an array that is long enough, and a variable that counts.

``a.append(v)`` becomes ``a[n] = v; n += 1``. How long one may become the text tells: what is appended in a loop is
counted as often as the loop goes round.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays import arrays
from tilejit.compiler.arrays.holding import Holding
from tilejit.compiler.arrays.places import Places
from tilejit.compiler.arrays.text import MAKERS, at_place, is_one_of
from tilejit.compiler.arrays.wholes import Whole
from tilejit.compiler.arrays.written import COUNTED, FIRST, index_of, moved_back, moved_up, slot, turned
from tilejit.compiler.form.form import assign, copied, load, stored
from tilejit.compiler.syntax.folding import literal_range

if TYPE_CHECKING:
    from tilejit.compiler.syntax.names import Names

UNSEEN = (
    "how long this list becomes cannot be seen from the text",
    "append in loops over literal ranges or tables; or count: h = tj.zeros(64); h[n] = v; n += 1",
)
_GROWING = {"append", "extend", "insert", "pop", "remove", "clear"}
_COPIES = (np.array, np.asarray, list, tuple)


class Growing(Holding):
    """What lists that grow become."""

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.places = Places({})
        self.wanted = {n for s in names.source.tree.body for n in _grown(s)}

    def count(self, name: str) -> str:
        """The variable that counts a list's elements."""
        return f"@count_{name.removeprefix('@')}"

    # -- making -----------------------------------------------------------------------------------------------------

    def grown(self, target: ast.Name, value: ast.expr) -> list[ast.stmt] | None:
        """The statements of an assignment of a list that grows, or of how many elements only the run tells."""
        if isinstance(value, ast.ListComp) and self.whole(value) is None:
            return self._comprehension(target.id, value)
        source = self.growing_of(value)
        if source is not None:
            return self._copied(target.id, source)
        if target.id not in self.wanted:
            return None
        whole = Whole("list", ()) if isinstance(value, ast.List) and not value.elts else self.whole(value)
        if whole is None or len(whole.shape) != 1 or whole.word != "list":
            return None
        held = [e if isinstance(e, ast.Constant) else self.hold(e) for e in whole.flat]
        return [*self._begun(target.id), *(s for e in held for s in self._appended(target.id, e, target))]

    def _begun(self, name: str) -> list[ast.stmt]:
        self.names.growing[name] = self.count(name)
        room = ast.BinOp(ast.List([ast.Constant(value=False)], ast.Load()), ast.Mult(), self.places.begun(name))
        return [assign(name, room), assign(self.count(name), ast.Constant(0))]

    def _room(self, name: str, more: int, node: ast.AST) -> None:
        """Adds to a list's places what is appended here."""
        rounds = self.places.rounds(name)
        if rounds is None:
            self.fail(node, *UNSEEN)
        self.places.add(name, more * rounds)

    def _appended(self, name: str, value: ast.expr, node: ast.AST) -> list[ast.stmt]:
        self._room(name, 1, node)
        place = ast.Subscript(load(name), load(self.count(name)), ast.Store())
        return [ast.Assign([place], value), *self._counted(name, 1)]

    def _counted(self, name: str, step: int) -> list[ast.stmt]:
        op = ast.Add() if step > 0 else ast.Sub()
        return [assign(self.count(name), ast.BinOp(load(self.count(name)), op, ast.Constant(abs(step))))]

    def _copied(self, name: str, source: str) -> list[ast.stmt]:
        """Another list of the same elements."""
        if name == source:
            return []
        begun = []
        if self.places.within.get(source) != name:
            begun = self._begun(name)[:1]
            self.places.at_least(name, self.places.most(source))
        self.places.within[name] = self.places.within.get(source, source)
        index = self.fresh("each")
        element = ast.Subscript(load(source), load(index), ast.Load())
        place = ast.Subscript(load(name), load(index), ast.Store())
        bounds = ast.Call(load("range"), [load(self.count(source))], [])
        filled = ast.For(ast.Name(index, ast.Store()), bounds, [ast.Assign([place], element)], [])
        return [*begun, assign(self.count(name), load(self.count(source))), filled]

    def _comprehension(self, name: str, node: ast.ListComp) -> list[ast.stmt]:
        """``[v for v in h if v > 0]`` as the loop that one would write."""
        made = self.fresh("list") if name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} else name
        node = copied(node)
        inner: list[ast.stmt] = [ast.Expr(ast.Call(ast.Attribute(load(made), "append", ast.Load()), [node.elt], []))]
        for part in reversed(node.generators):
            for test in reversed(part.ifs):
                inner = [ast.If(test, inner, [])]
            inner = [ast.For(part.target, part.iter, inner, [])]
        names = {n: self.fresh("of") for part in node.generators for n in stored(part.target)}
        for each in (n for s in inner for n in ast.walk(s) if isinstance(n, ast.Name)):
            each.id = names.get(each.id, each.id)
        begun = self._begun(made)
        over = self.growing_of(node.generators[0].iter) if len(node.generators) == 1 else None
        if over is not None:
            self.places.within[made] = self.places.within.get(over, over)
        block = self.block([at_place(s, node) for s in inner])
        return [*begun, *block, *(self._copied(name, made) if made != name else [])]

    def block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        """Statements, rewritten."""
        module = ast.Module(block, [])
        self.generic_visit(module)
        return module.body

    def growing_of(self, node: ast.expr) -> str | None:
        """The list that grows which an expression is; one without a name is made before the statement."""
        if isinstance(node, ast.Name):
            return node.id if node.id in self.places.held else None
        if isinstance(node, ast.Call) and len(node.args) == 1 and is_one_of(self.names.resolve(node.func), _COPIES):
            return self.growing_of(node.args[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy":
            return self.growing_of(node.func.value)
        if isinstance(node, ast.Call) and node.args and is_one_of(self.names.resolve(node.func), (sorted, np.sort)):
            return self._sorted_copy(node)
        if isinstance(node, ast.ListComp) and self.whole(node) is None:
            name = self.fresh("list")
            made = self._comprehension(name, node)
            self.before += [at_place(s, node) for s in made]
            return name
        if isinstance(node, ast.Subscript):
            return self._masked(node)
        return None

    def _sorted_copy(self, node: ast.Call) -> str | None:
        source = self.growing_of(node.args[0])
        if source is None or node.keywords:
            return None
        name = self.fresh("list")
        self.before += [at_place(s, node) for s in [*self._copied(name, source), *self._sort(name)]]
        return name

    def _sort(self, name: str) -> list[ast.stmt]:
        return [ast.Expr(ast.Call(self.named_function(arrays.sort), [load(name), load(self.count(name))], []))]

    def _masked(self, node: ast.Subscript) -> str | None:
        """``h[h > 0]``."""
        whole = self.whole(node.value) if not isinstance(node.slice, (ast.Slice, ast.Tuple, ast.Constant)) else None
        tests = None if whole is None else self.whole(node.slice)
        if whole is None or tests is None or whole.word != "array" or not self.are_tests(node.slice, tests):
            return None
        if len(whole.flat) != len(tests.flat):
            self.fail(node, f"a mask of {len(tests.flat)} for {len(whole.flat)} elements", "give both one length")
        name = self.fresh("list")
        held = [*self._begun(name)]
        for element, test in zip(whole.flat, tests.flat, strict=True):
            held.append(ast.If(copied(test), self._appended(name, copied(element), node), []))
        self.before += [at_place(s, node) for s in held]
        return name

    def are_tests(self, node: ast.expr, whole: Whole) -> bool:
        """Whether a whole is of truth values."""
        if isinstance(node, ast.Name):
            return node.id in self.names.masks
        return all(isinstance(e, (ast.Compare, ast.BoolOp)) or _is_not(e) or self._is_truth_call(e) for e in whole.flat)

    def _is_truth_call(self, node: ast.expr) -> bool:
        function = self.names.resolve(node.func) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            return all(self.are_tests(s, Whole("array", (s,))) for s in (node.left, node.right))
        return is_one_of(function, (np.isnan, np.isfinite, np.isinf, math.isnan, math.isfinite, math.isinf))

    # -- changing ---------------------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> Any:
        """``a.append(v)`` and the other calls that change a list."""
        call = node.value
        owner = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
        if not isinstance(owner, ast.Name) or not isinstance(call, ast.Call):
            self.generic_visit(node)
            return node
        word = call.func.attr  # type: ignore[attr-defined]
        is_grown = owner.id in self.places.held
        made = self._changed(call, owner.id, word) if is_grown else self._changed_plain(call, owner, word)
        if made is None:
            self.generic_visit(node)
            return node
        return [at_place(s, node) for s in made]

    def _changed(self, call: ast.Call, name: str, word: str) -> list[ast.stmt] | None:
        if word == "append" and len(call.args) == 1:
            return self._appended(name, self.visit(call.args[0]), call)
        if word == "extend":
            return self.extended(name, call.args[0], call)
        if word == "insert":
            place = ast.Call(self.named_function(slot), [self.visit(call.args[0]), load(self.count(name))], [])
            index = self.hold(place)
            self._room(name, 1, call)
            moved = ast.Call(self.named_function(moved_up), [load(name), index, load(self.count(name))], [])
            value = self.hold(self.visit(call.args[1]))
            put = ast.Assign([ast.Subscript(load(name), copied(index), ast.Store())], value)
            return [*self._counted(name, 1), ast.Expr(moved), put]
        if word == "pop":
            self.popped(name, call)
            return []
        if word == "remove":
            index = ast.Call(
                self.named_function(index_of), [load(name), self.visit(call.args[0]), load(self.count(name))], []
            )
            return self._removed(name, self.hold(index))
        if word == "clear":
            return [assign(self.count(name), ast.Constant(0))]
        if word == "reverse":
            return [ast.Expr(ast.Call(self.named_function(turned), [load(name), load(self.count(name))], []))]
        return self._sort(name) if word == "sort" and not call.keywords else None

    def _changed_plain(self, call: ast.Call, owner: ast.Name, word: str) -> list[ast.stmt] | None:
        """A list or an array of one length, sorted, turned or filled in place."""
        whole = self.whole(owner)
        if whole is None or len(whole.shape) != 1:
            return None
        size = ast.Constant(len(whole))
        sort = ast.Expr(ast.Call(self.named_function(arrays.sort), [load(owner.id)], []))
        turn = ast.Expr(ast.Call(self.named_function(turned), [load(owner.id), size], []))
        if word == "sort":
            return [sort, *([turn] if call.keywords else [])]
        if word == "fill" and len(call.args) == 1:
            value = self.hold(self.visit(call.args[0]))
            return [ast.Assign([ast.Subscript(load(owner.id), ast.Constant(k), ast.Store())], copied(value))
                    for k in range(len(whole))]  # fmt: skip
        if word != "reverse":
            return None
        return [turn] if len(whole) > 1 else [ast.Pass()]

    def extended(self, name: str, node: ast.expr, place: ast.AST) -> list[ast.stmt]:
        """``a.extend(b)``, ``a += b``."""
        whole = self.whole(node)
        if whole is None:
            self.fail(
                place, "a list extended by what is none", "give a list or a tuple of which the text tells the length"
            )
        return [s for e in whole.flat for s in self._appended(name, copied(e), place)]

    def popped(self, name: str, call: ast.Call) -> ast.expr:
        """``a.pop()``, whose element is taken before the statement."""
        if self.choices:
            self.fail(call, f"{ast.unparse(call)} behind a test of one expression", "write it under an if")
        last = ast.BinOp(load(self.count(name)), ast.Sub(), ast.Constant(1))
        index = self.hold(self.visit(call.args[0])) if call.args else self.hold(last)
        value = self.hold(ast.Subscript(load(name), index, ast.Load()))
        self.before += [at_place(s, call) for s in self._removed(name, index)]
        return value

    def _removed(self, name: str, index: ast.expr) -> list[ast.stmt]:
        moved = ast.Call(self.named_function(moved_back), [load(name), copied(index), load(self.count(name))], [])
        return [ast.Expr(moved), *self._counted(name, -1)]

    def visit_Delete(self, node: ast.Delete) -> Any:
        """``del a[0]``; of a variable it says nothing."""
        made: list[ast.stmt] = []
        for target in node.targets:
            owner = target.value if isinstance(target, ast.Subscript) else None
            if isinstance(owner, ast.Name) and owner.id in self.places.held:
                made += self._removed(owner.id, self.hold(self.visit(copied(target.slice))))  # type: ignore[attr-defined]
            elif not isinstance(target, ast.Name):
                self.fail(target, "del of what is no element of a list that grows", "make it a list: a = [x, y]")
        return [at_place(s, node) for s in made]

    # -- going over -------------------------------------------------------------------------------------------------

    def over_grown(self, node: ast.For) -> ast.For | None:
        """``for v in a`` and ``for k, v in enumerate(a)`` of a list that grows."""
        is_counted = isinstance(node.iter, ast.Call) and self.names.resolve(node.iter.func) is enumerate
        over = node.iter.args[0] if is_counted else node.iter  # type: ignore[attr-defined]
        if isinstance(over, ast.Call) and (
            literal_range(over) is not None or is_one_of(self.names.resolve(over.func), MAKERS)
        ):
            return None
        name = self.growing_of(over)
        if name is None:
            return None
        index = self.fresh("each")
        element: ast.expr = ast.Subscript(load(name), load(index), ast.Load())
        if is_counted:
            element = ast.Tuple([load(index), element], ast.Load())
        first = at_place(ast.Assign([node.target], element), node.iter)
        bounds = ast.Call(load("range"), [load(self.count(name))], [])
        head = at_place(ast.For(ast.Name(index, ast.Store()), bounds, [first, *node.body], node.orelse), node)
        assert isinstance(head, ast.For)  # noqa: S101 - as it was made
        head.most = self.places.most(name)  # type: ignore[attr-defined]
        return head

    def reduced(self, node: ast.Call, array: ast.expr, count: ast.expr, function: Any) -> ast.expr | None:
        """A function over the first elements of an array."""
        own = next((made for known, made in COUNTED if known is function), None)
        if own is None:
            return None
        rest = [self.visit(a) for a in node.args[1:]]
        if own in FIRST:
            rest = [at_place(ast.Subscript(copied(array), ast.Constant(0), ast.Load()), node)]
        return ast.Call(self.named_function(own), [array, count, *rest], [])


def _grown(statement: ast.stmt) -> set[str]:
    """The lists that a statement makes longer or shorter."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.attr in _GROWING and isinstance(node.value, ast.Name):
            found.add(node.value.id)
        if isinstance(node, ast.Assign):
            found |= _empty(node.targets[0], node.value)
        if isinstance(node, ast.Delete):
            found |= {
                t.value.id for t in node.targets if isinstance(t, ast.Subscript) and isinstance(t.value, ast.Name)
            }
        if isinstance(node, ast.AugAssign) and isinstance(node.value, ast.List) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def _empty(target: ast.expr, value: ast.expr) -> set[str]:
    """The variables that are given a list without elements."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return {name for pair in zip(target.elts, value.elts, strict=False) for name in _empty(*pair)}
    return set(stored(target)) if isinstance(value, ast.List) and not value.elts else set()


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)

"""Whole arrays, lists and tuples in a body's text, before it is typed: written out by their elements.

What the language has beneath are arrays of one dimension, tuples and numbers. Slices, rows, arithmetic of arrays,
tuples in tuples, methods and the like are said in these here: ``(a * b).sum()`` becomes ``np.sum([a[0] * b[0], …])``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from tilejit.compiler.arrays.arrays import window
from tilejit.compiler.arrays.elements import is_repeated
from tilejit.compiler.arrays.growing import UNSEEN
from tilejit.compiler.arrays.holding import makes_arrays
from tilejit.compiler.arrays.loops import WholeLoops
from tilejit.compiler.arrays.places import Places
from tilejit.compiler.arrays.text import MAKERS, at_place, is_one_of
from tilejit.compiler.arrays.views import changed_after, owner_of
from tilejit.compiler.arrays.wholes import Whole, filled, is_written, named, written
from tilejit.compiler.form.form import copied, load, stored, targets
from tilejit.compiler.syntax.folding import folded
from tilejit.compiler.syntax.loops import over_indices
from tilejit.compiler.syntax.names import Names, bind
from tilejit.compiler.syntax.rewriting import core_source
from tilejit.compiler.syntax.written import OF_ROWS
from tilejit.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.arrays.elements import Shapes
    from tilejit.compiler.arrays.wholes import Part, Structure
    from tilejit.compiler.form.form import LocalArray

_READINGS = 6
"""How often a text is read, until the lists that grow in it are found to be long enough."""
_TWO = "use two names"


def structure_of(array: LocalArray) -> Structure:
    """How an array that a caller gives is made up."""
    row = (None,) * (array.columns or array.size)
    return (row,) * (array.size // array.columns) if array.columns else row


def written_out(tree: ast.FunctionDef, names: Names, given: Shapes, *, is_helper: bool = False) -> ast.FunctionDef:
    """Rewrites a folded tree in place where it has whole arrays, lists, tuples or dicts."""
    places = Places({})
    for _ in range(_READINGS):
        rewritten = Sequences(names, given)
        rewritten.places, rewritten.is_helper = places, is_helper
        body = rewritten.block(copied(tree.body))
        longer = places.unsettled
        if longer is None:
            break
        places = Places(places.found)
    else:
        names.source.fail(next(n for n in ast.walk(tree) if getattr(n, "id", longer) == longer), *UNSEEN)
    places.end()
    tree.body = folded(body, names)
    return tree


_OWN = "tilejit.compiler", "numpy"
_MOST_RETURNED = 64
_READ: set[int] = set()
"""Helpers that are being read: one that calls itself is refused where it is typed."""


class Sequences(WholeLoops):
    """Rewrites the statements of one function."""

    def __init__(self, names: Names, given: Shapes) -> None:
        super().__init__(names, given)
        self.given = set(given)
        self.is_helper = False
        """Whether an array that is returned goes back to a caller, element by element."""
        self.returns: list[tuple[str, Structure] | None] = []
        """What is returned: an array of some structure, or something else."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        """A result, which in a helper may be an array that it made."""
        value = node.value
        if value is not None and (made := self.by_layer(name := self.fresh("list"), value)):
            self.before += [at_place(s, node) for s in made]
            node.value = at_place(load(name), node)
            return node
        is_given = isinstance(value, ast.Name) and value.id in self.given
        is_array = self.is_helper and value is not None and not is_given and not isinstance(value, ast.Tuple)
        whole = self.whole(value) if is_array else None  # type: ignore[arg-type]
        if whole is None or whole.word == "tuple" or not whole.is_even or len(whole.flat) > _MOST_RETURNED:
            self.returns.append(None)
            self.generic_visit(node)
            return node
        self.returns.append((whole.word, whole.structure))
        node.value = at_place(ast.Tuple([copied(e) for e in whole.flat], ast.Load()), node)
        return node

    def of_helper(self, node: ast.Call) -> Whole | None:
        """The array that a helper returns, whose elements are taken before the statement."""
        function = self.names.resolve(node.func)
        helper = self.names.helper(function)
        is_own = id(function) not in OF_ROWS and getattr(helper, "__module__", "").startswith(_OWN)
        if helper is None or is_own or not makes_arrays(core_source(helper).tree) or id(helper) in _READ:
            return None
        found = self._returned_array(node, helper)
        if found is None:
            return None
        whole = named("_", *found)
        held = [self.fresh("held") for _ in whole.flat]
        call = copied(node)
        call.args = list(map(self.given_array, call.args))
        self.generic_visit(call)
        self.before.append(at_place(ast.Assign([targets(held)], call), node))
        return filled(whole, iter(held))

    def _returned_array(self, node: ast.Call, helper: Callable[..., object]) -> tuple[str, Structure] | None:
        """What a helper returns for the arguments of a call, where that is an array."""
        source = core_source(helper)
        bound = bind(self.names.source, node, source)
        wholes = {name: self.whole(argument) for name, argument in bound.items()}
        tables = {
            name: found for name, argument in bound.items() if (found := self.names.captured(argument)) is not None
        }
        literals = {name: a.value for name, a in bound.items() if isinstance(a, ast.Constant) and type(a.value) is int}
        names = Names(source, tables)
        tree = copied(source.tree)
        tree.body = folded(tree.body, names, {n: v for n, v in literals.items() if n not in stored(tree)})
        over_indices(tree, names)
        reading = Sequences(
            names, {n: (w.word, w.structure) for n, w in wholes.items() if w is not None and n not in tables}
        )
        reading.is_helper = True
        _READ.add(id(helper))
        try:
            reading.block(tree.body)
        except KernelError:  # which is raised anew where the helper is typed
            return None
        finally:
            _READ.discard(id(helper))
        return reading.returns[0] if len(set(reading.returns)) == 1 else None

    def visit(self, node: ast.AST) -> Any:
        """A node; what must stand before a statement stands there."""
        if not isinstance(node, ast.stmt):
            result = node if is_written(node) else super().visit(node)
            return written(result) if isinstance(result, ast.expr) else result
        outer, self.before = self.before, []
        result = super().visit(node)
        before, self.before = self.before, outer
        if before and isinstance(node, ast.While):
            self.fail(node.test, "what a loop tests needs an array of its own", "make it on a line before")
        if not before:
            return result
        return [*before, *(result if isinstance(result, list) else [] if result is None else [result])]

    def visit_Assign(self, node: ast.Assign) -> Any:
        """What makes a whole, or takes one apart."""
        target = node.targets[0]
        if len(node.targets) > 1:
            self.generic_visit(node)
            return node
        if isinstance(target, (ast.Tuple, ast.List)):
            return self._apart(node, target)
        if isinstance(target, ast.Subscript):
            return self._put(node, target)
        if not isinstance(target, ast.Name):
            self.generic_visit(node)
            return node
        if self._is_constant(target, node.value):
            self.constants[target.id] = node.value
            return None
        if isinstance(node.value, ast.Dict):
            return self.begun(target, node.value)
        grown = self.by_layer(target.id, node.value) or self.grown(target, node.value)
        if grown is not None:
            return [at_place(s, node) for s in grown]
        is_alias = isinstance(node.value, ast.Name) and self.known.get(node.value.id, ("tuple",))[0] != "tuple"
        whole = None if is_alias else self.whole(node.value)
        if whole is None:
            count = self.returned(node.value)
            self.known.pop(target.id, None)
            self.known |= {} if count is None else {target.id: ("tuple", (None,) * count)}
            self.generic_visit(node)
            return node
        return self._held(node, target, whole)

    def _is_constant(self, target: ast.Name, value: ast.expr) -> bool:
        """Whether a variable is given a text, None or an array, once and for all."""
        if self.counts.count(target.id) != 1:
            return False
        if isinstance(value, ast.Name):
            held = self.known.get(value.id, ("tuple",))
            return held[0] != "tuple" and self.counts.count(value.id) == 1
        is_slice = isinstance(value, ast.Call) and self.names.resolve(value.func) is slice
        return is_slice or (isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, str)))

    def _held(self, node: ast.Assign, target: ast.Name, whole: Whole) -> Any:
        if not whole.parts:
            self.generic_visit(node)
            return node
        self._check_alone(node.value, target.id, whole)
        old = self.known.get(target.id)
        if old is not None and old[1] != whole.structure:
            sizes = f"{len(whole.flat)} elements here and {len(named('_', *old).flat)} elsewhere"
            self.fail(node.value, f"{target.id} has {sizes}", _TWO)
        if whole.word != "tuple" and not whole.is_even:
            self.fail(node.value, "a list of lists of unlike lengths", "make a variable of each")
        self.known[target.id] = whole.word, whole.structure
        if len(whole.shape) == 2 and whole.word != "tuple":
            self.names.columns[target.id] = whole.shape[1]
        self.names.words[target.id] = whole.word
        if self._is_core(node.value, whole):
            if isinstance(node.value, ast.Call):
                node.value.args = [self.visit(a) for a in node.value.args]
            else:
                self.generic_visit(node)
            return node
        kind = ast.Tuple if whole.word == "tuple" else ast.List
        node.value = at_place(kind([copied(e) for e in whole.flat], ast.Load()), node.value)
        return node

    def _check_alone(self, value: ast.expr, name: str, whole: Whole) -> None:
        """Refuses a name for a part of an array of which either is changed then: in NumPy both would be."""
        owner = owner_of(value)
        word = self.known[owner][0] if owner in self.known else "tuple"
        is_row = isinstance(value, ast.Subscript) and not isinstance(value.slice, ast.Slice)
        if whole.word == "tuple" or word == "tuple" or (word == "list" and not is_row):
            return
        changed = changed_after(self.names.source.tree, {str(owner), name}, value, is_repeated=self.places.is_repeated)
        if changed is not None:
            self.fail(value, f"{name} is a part of {owner}, and one of them is changed in line {changed.lineno}",
                      f"copy it: {name} = {ast.unparse(value)}.copy()")  # fmt: skip

    def _is_core(self, value: ast.expr, whole: Whole) -> bool:
        """Whether the language beneath makes it as it is written."""
        if len(whole.shape) != 1 or len(whole.structure) != len(whole.flat):
            return False
        if isinstance(value, ast.Call):
            function = self.names.resolve(value.func)
            return is_one_of(function, MAKERS) and not isinstance(value.args[0], (ast.Tuple, ast.List))
        return (isinstance(value, ast.BinOp) and is_repeated(value)) or isinstance(value, ast.ListComp)

    def _apart(self, node: ast.Assign, target: ast.Tuple | ast.List) -> Any:
        """``a, *b = t``, ``(a, b), c = …``."""
        if isinstance(node.value, ast.Tuple) and any(map(self._is_grown, target.elts, node.value.elts)):
            return self._one_by_one(node, target, node.value)
        is_plain = not any(isinstance(t, (ast.Starred, ast.Tuple, ast.List)) for t in target.elts)
        if is_plain and isinstance(node.value, ast.Call) and self.names.resolve(node.value.func) is window:
            size, first = self.lengths().of_window(node.value), target.elts[0]
            if size is not None and isinstance(first, ast.Name):
                self.known[first.id] = "array", (None,) * size
        whole = None if is_plain and isinstance(node.value, ast.Call) else self.whole(node.value)
        if whole is None or (is_plain and all(isinstance(p, ast.expr) for p in whole)):
            self.generic_visit(node)
            return node
        pairs = self._paired(node, target, whole)
        names = {n.id for t, _ in pairs for n in ast.walk(t) if isinstance(n, ast.Name)}
        read = {n.id for _, p in pairs for e in (p.flat if isinstance(p, Whole) else [p]) for n in ast.walk(e)
                if isinstance(n, ast.Name)}  # fmt: skip
        if names & read and any(isinstance(p, Whole) for _, p in pairs):
            self.fail(node, f"{min(names & read)} is read where it is assigned", _TWO)
        single = [(t, p) for t, p in pairs if not isinstance(p, Whole)]
        many = [(at_place(ast.Assign([t], p.node), node), t, p) for t, p in pairs if isinstance(p, Whole)]
        made: list[ast.stmt] = []
        if single:
            targets, values = (
                ast.Tuple([t for t, _ in single], ast.Store()),
                ast.Tuple([p for _, p in single], ast.Load()),
            )
            made.append(at_place(ast.Assign([targets], values), node))
        return [*made, *(self._held(s, t, p) for s, t, p in many if isinstance(t, ast.Name))]

    def _is_grown(self, target: ast.expr, value: ast.expr) -> bool:
        """Whether a variable becomes a list that grows."""
        is_list = isinstance(target, ast.Name) and isinstance(value, (ast.List, ast.ListComp))
        return is_list and (target.id in self.wanted or self.whole(value) is None)  # type: ignore[attr-defined]

    def _one_by_one(self, node: ast.Assign, target: ast.Tuple | ast.List, value: ast.Tuple) -> list[ast.stmt]:
        """``a, b = [], []`` as two statements."""
        changed = set(stored(target)) & {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
        if changed or len(target.elts) != len(value.elts):
            self.fail(node, "lists that grow, assigned beside others", "assign each on a line of its own")
        pairs = zip(target.elts, value.elts, strict=True)
        return self.block([ast.copy_location(ast.Assign([t], v), node) for t, v in pairs])

    def _paired(self, node: ast.Assign, target: ast.Tuple | ast.List, whole: Whole) -> list[tuple[ast.expr, Part]]:
        """Each variable with what it gets."""
        parts, count = list(whole.parts), len(target.elts)
        stars = [k for k, t in enumerate(target.elts) if isinstance(t, ast.Starred)]
        if len(parts) < count - len(stars) or (not stars and len(parts) != count):
            self.fail(node, f"{len(parts)} values for {count} variables", "give each value one variable")
        if stars:
            end = len(parts) - (count - stars[0] - 1)
            parts = [*parts[: stars[0]], Whole("list", tuple(parts[stars[0] : end])), *parts[end:]]
        pairs: list[tuple[ast.expr, Part]] = []
        for each, part in zip(target.elts, parts, strict=True):
            inner = each.value if isinstance(each, ast.Starred) else each
            taken = self.of_tuple(part) if isinstance(inner, ast.Tuple) and isinstance(part, ast.expr) else part
            if isinstance(inner, (ast.Tuple, ast.List)) and isinstance(taken, Whole):
                pairs += self._paired(node, inner, taken)
            else:
                pairs.append((inner, part))
        return pairs

    def _put(self, node: ast.Assign, target: ast.Subscript) -> Any:
        """``h[1:3] = …``, ``h[i][j] = …``, ``h[0] = row``."""
        if (entry := self.entry(target)) is not None:
            node.targets, node.value = [entry], self.visit(node.value)
            return node
        read = copied(target)
        read.ctx = ast.Load()
        places = self.at(read)
        if not isinstance(places, Whole):
            self.generic_visit(node)
            return node
        value = self.whole(node.value) or self.visit(node.value)
        pairs: list[tuple[ast.expr, ast.expr]] = []

        def pair(a: ast.expr, b: ast.expr) -> ast.expr:
            pairs.append((a, b))
            return a

        self.by_element(target, pair, Whole("array", places.parts), value)
        if not all(isinstance(a, ast.Subscript) and isinstance(a.value, ast.Name) for a, _ in pairs):
            self.fail(
                target, "a row of which only the run shows the place is assigned", "go over its columns: m[i, j] = v"
            )
        names = [self.hold(b) for _, b in pairs]
        made = [ast.Assign([ast.Subscript(a.value, a.slice, ast.Store())], n)  # type: ignore[attr-defined]
                for (a, _), n in zip(pairs, names, strict=True)]  # fmt: skip
        return [at_place(s, node) for s in made]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """``h += 1`` of an array, ``h[i][j] += 1``, ``a += [x]``."""
        grown = self.growing_of(node.target) if isinstance(node.target, ast.Name) else None
        if grown is not None:
            return [at_place(s, node) for s in self.extended(grown, node.value, node)]
        read = copied(node.target)
        read.ctx = ast.Load()
        if isinstance(node.target, ast.Attribute) or self.whole(read) is None:
            self.generic_visit(node)
            return node
        value = ast.BinOp(read, node.op, node.value)
        return self.visit(ast.copy_location(ast.Assign([node.target], at_place(value, node)), node))

"""Between which numbers the counter of a while loop lies: what its test says of it, and what it is given.

``while node < 50`` with nothing but ``node = 0`` before it and ``2 * node + 1`` or ``2 * node + 2`` in it: from 0 to 49
within, from 0 to 100 everywhere. Tables that are indexed by it need no check, which a walk down a tree would wait for.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import Renamer, assign, call, copied, load, stored
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.lowering.indexing import singly, span_of
from tilejit.compiler.lowering.scope import as_selects
from tilejit.compiler.syntax.names import parameter_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tilejit.compiler.lowering.indexing import Span
    from tilejit.compiler.lowering.scope import Scope

MOST_ROUNDS = 8
"""Rounds that are written out: a loop that may have more has many fewer for most pixels, or stays one for LLVM."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is known of a loop's counter."""

    name: str
    within: Span
    """Between which numbers it lies in the loop, up to the statement that changes it, which is the last."""
    everywhere: Span
    rounds: int = 0
    """How many rounds there are at most; 0 where that is not known, or many."""


def guard_of(scope: Scope, loop: ast.While) -> Guard | None:
    """Returns what is known of a loop's counter, or None where it has no such.

    All that it is ever given must be literals, beside what this loop gives it, and that not below the least of them.
    """
    test = loop.test
    if not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Name) or len(test.ops) > 1:
        return None
    name, tree = test.left.id, scope.source.tree
    inside, everywhere = list(_given(name, *loop.body)), list(_given(name, tree))
    literals, inner = ([int(v.value) for v in values if _is_whole(v)] for values in (everywhere, inside))  # type: ignore[attr-defined]
    are_all = stored(tree).count(name) == len(everywhere) == len(inside) + len(literals) - len(inner)
    is_counter = scope.kinds.get(name) is Kind.INT and name not in parameter_names(scope.source)
    if not (isinstance(test.ops[0], (ast.Lt, ast.LtE)) and is_counter and are_all and literals and inside):
        return None
    known = scope.known_spans
    rest = {n: span for n, span in known.items() if n not in stored(loop)}
    most, least = span_of(test.comparators[0], rest)[1] - isinstance(test.ops[0], ast.Lt), min(literals)

    def given(low: float) -> Span:
        """What it may be after a round that it begins with a number from ``low`` on."""
        spans = [span_of(value, {**rest, name: (low, most)}) for value in inside]
        return min(s[0] for s in spans), max(s[1] for s in spans)

    end = given(least)
    if math.isinf(most) or math.isinf(end[1]) or end[0] < least or not _comes_last(loop.body, name):
        return None
    rounds = _rounds(given, least, most) if isinstance(loop.body[-1], (ast.Assign, ast.AugAssign)) else 0
    return Guard(name, (least, most), (least, max(*literals, end[1])), rounds)


def _rounds(given: Callable[[float], Span], low: float, most: float) -> int:
    """How many rounds it takes at most until a counter is above ``most``."""
    for k in range(MOST_ROUNDS + 1):
        if low > most:
            return k
        low = given(low)[0]
    return 0


def written_out(scope: Scope, guard: Guard, test: ast.expr, body: list[ast.stmt]) -> list[ast.stmt] | None:
    """Returns the rounds of a loop as assignments without a jump, or None where its lowered statements are no such.

    Where a pixel's loop has ended, its rounds are computed and thrown away, with a counter that is held within. Pixels
    are computed beside each other then: a walk down a tree of 50 nodes takes a fifth of the time.
    """
    statements: list[ast.stmt] = []
    held = scope.held_names
    for _ in range(guard.rounds):
        counter, name = scope.temporary("counter"), scope.name(guard.name)
        renamer = Renamer({name: counter})
        block: list[ast.stmt] = [
            ast.Assign(s.targets, renamer.visit(copied(s.value))) if isinstance(s, ast.Assign) else s for s in body
        ]
        lines = as_selects(copied(test), block, [], held, scope.temporary("test"))
        if lines is None:
            return None
        within = call("_minimum", load(name), ast.Constant(int(guard.within[1])))
        statements += [assign(counter, within), *lines]
    return statements or None


def _given(name: str, *nodes: ast.AST) -> Iterator[ast.expr]:
    """What is assigned to a variable; nothing of what it is given in another way."""
    for node in (n for top in nodes for n in ast.walk(top)):
        if isinstance(node, ast.Assign):
            pairs = singly([(target, node.value) for target in node.targets])
            yield from (v for t, v in pairs if isinstance(t, ast.Name) and t.id == name and isinstance(v, ast.expr))
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            yield ast.BinOp(ast.Name(name, ast.Load()), node.op, node.value)


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _comes_last(block: list[ast.stmt], name: str) -> bool:
    """Whether a variable is assigned to by nothing but the last statement of a block, or of its branches."""
    *before, last = block
    if name in stored(*before):
        return False
    if isinstance(last, ast.If):
        return name not in stored(last.test) and all(_comes_last(b, name) for b in (last.body, last.orelse) if b)
    return isinstance(last, (ast.Assign, ast.AugAssign)) or name not in stored(last)

"""Loops and generators over whole arrays, lists, tuples and dicts: see `tilejit.compiler.arrays.sequences`."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from tilejit.compiler.arrays.elements import WholeElements
from tilejit.compiler.arrays.text import Put, at_place, bound, is_one_of
from tilejit.compiler.arrays.wholes import Whole
from tilejit.compiler.form.form import assign, copied, load
from tilejit.compiler.syntax.folding import literal_range

_COPIES = (list, np.array, np.asarray)


class WholeLoops(WholeElements):
    """What loops go over."""

    def visit_For(self, node: ast.For) -> Any:
        """A loop over a whole."""
        grown = self.over_grown(node)
        calls = node.iter if isinstance(node.iter, ast.Call) and self._is_passed(node.iter) else None
        if grown is not None:
            node = grown
        else:
            node.iter = self.iterated(node.iter)
        node.iter = self.visit(node.iter)
        rounds = literal_range(node.iter)
        over = None if rounds is not None else self.whole(node.iter)
        most = getattr(node, "most", None if rounds is None and over is None else len(rounds or over or ()))
        if most is None and calls is not None:
            most = self.lengths().of(calls)
        return self._blocks(node, most)

    def _blocks(self, node: ast.For | ast.While, rounds: int | None) -> Any:
        with self.places.inside(rounds):
            node.body = self.block(node.body)
        with self.places.inside():
            node.orelse = self.block(node.orelse)
        return node

    def by_layer(self, name: str, node: ast.expr) -> list[ast.stmt] | None:
        """``[t[k] for k in range(len(t))]`` as the loop that one would write; None of any other expression."""
        if isinstance(node, ast.Call) and len(node.args) == 1 and is_one_of(self.names.resolve(node.func), _COPIES):
            return self.by_layer(name, node.args[0])
        part = node.generators[0] if isinstance(node, ast.ListComp) and len(node.generators) == 1 else None
        over = None if part is None or part.ifs or not isinstance(part.target, ast.Name) else part.iter
        is_range = isinstance(over, ast.Call) and len(over.args) == 1 and self.names.resolve(over.func) is range
        if not is_range or self.lengths().number(over.args[0]) is None or literal_range(over) is not None:  # type: ignore[arg-type, union-attr]
            return None
        if name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
            self.fail(node, f"{name} is made of itself, date by date", "use two names")
        self.names.growing[name] = ""
        self.known.pop(name, None)
        index = load(self.fresh("date"))
        value = Put({part.target.id: index}).visit(copied(node.elt))  # type: ignore[union-attr, attr-defined]
        put = ast.Assign([ast.Subscript(load(name), index, ast.Store())], value)
        loop = at_place(ast.For(ast.Name(index.id, ast.Store()), over, [put], []), node)  # type: ignore[arg-type]
        size = over.args[0]  # type: ignore[union-attr]
        room = ast.BinOp(ast.List([ast.Constant(value=False)], ast.Load()), ast.Mult(), copied(size))
        return [assign(name, room), *self.block([loop])]

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.GeneratorExp:
        """A generator, of which what goes over a list that grows goes over its numbers."""
        for part in node.generators:
            is_counted = isinstance(part.iter, ast.Call) and self.names.resolve(part.iter.func) is enumerate
            grown = self.growing_of(part.iter.args[0] if is_counted else part.iter)  # type: ignore[attr-defined]
            if grown is None:
                continue
            index = load(self.fresh("each"))
            element: ast.expr = ast.Subscript(load(grown), index, ast.Load())
            values = bound(part.target, ast.Tuple([index, element], ast.Load()) if is_counted else element)
            if values is None:
                self.fail(part.target, f"an element of {ast.unparse(part.iter)} for {ast.unparse(part.target)}",
                          "loop over one variable")  # fmt: skip
            node = Put(values).visit(node)
            part.target = at_place(ast.Name(index.id, ast.Store()), part.iter)
            part.iter = at_place(ast.Call(load("range"), [load(self.count(grown))], []), part.iter)
        self.generic_visit(node)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """A loop inside an expression."""
        node.iter = self.iterated(node.iter)
        self.generic_visit(node)
        return node

    def iterated(self, node: ast.expr) -> ast.expr:
        """What a loop goes over."""
        if isinstance(node, ast.Call) and self._is_passed(node):
            node.args = list(map(self._gone_over, node.args))
        elif literal_range(node) is None and not self._is_simple(node):
            whole = self.whole(node)
            return node if whole is None else at_place(self._going_over(whole), node)
        return node

    def visit_While(self, node: ast.While) -> Any:
        """A loop of which only the run shows how often it goes round."""
        node.test = self.visit(self.truth(node.test))
        return self._blocks(node, None)

    def _is_simple(self, node: ast.expr) -> bool:
        """Whether a loop goes over it as it stands."""
        if isinstance(node, ast.Name):
            return node.id not in self.names.columns and node.id not in self.dicts and node.id not in self.constants
        is_written = isinstance(node, (ast.Tuple, ast.List)) and not any(isinstance(e, ast.Starred) for e in node.elts)
        return is_written and not any(isinstance(e, (ast.Tuple, ast.List)) for e in node.elts)  # type: ignore[attr-defined]

    def _is_passed(self, node: ast.Call) -> bool:
        return is_one_of(self.names.resolve(node.func), (enumerate, zip, reversed))

    def _gone_over(self, node: ast.expr) -> ast.expr:
        """What a loop goes over beside others."""
        if isinstance(node, ast.Call) and self._is_passed(node):
            node.args = list(map(self._gone_over, node.args))
            return node
        if isinstance(node, (ast.Name, ast.Tuple, ast.List)) or literal_range(node) is not None:
            return node
        whole = self.whole(node)
        return node if whole is None else at_place(self._going_over(whole), node)

    def _going_over(self, whole: Whole) -> ast.expr:
        """What a loop goes over: rows by their columns, side by side."""
        rows = [p.parts for p in whole if isinstance(p, Whole)]
        if not rows or len(rows) < len(whole) or len({len(r) for r in rows}) > 1:
            return ast.Tuple([p.node if isinstance(p, Whole) else p for p in whole], ast.Load())
        columns = [self._going_over(Whole("tuple", column)) for column in zip(*rows, strict=True)]
        return ast.Call(self.named_function(zip), columns, [])

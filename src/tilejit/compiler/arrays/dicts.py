"""Dicts that a body makes: the numbers are an array, and a key is the place that it is compared to."""

from __future__ import annotations

import ast
import functools
from typing import Any

from tilejit.compiler.arrays.numbers import WholeNumbers
from tilejit.compiler.arrays.text import at_place
from tilejit.compiler.arrays.wholes import Whole
from tilejit.compiler.form.form import assign, copied, load

_KEYS = (int, str, bool)


class LocalDicts(WholeNumbers):
    """What dicts become."""

    dicts: dict[str, list[Any]]
    """Variables that are dicts, and their keys."""

    def begun(self, target: ast.Name, node: ast.Dict) -> list[ast.stmt]:
        """The statements that make a dict."""
        keys = [getattr(self.visit(copied(k)) if k is not None else None, "value", None) for k in node.keys]
        if not keys or any(type(k) not in _KEYS for k in keys) or len(set(keys)) < len(keys):
            self.fail(node, "a dict whose keys are no literal integers or texts",
                      "write them out: {1: a, 2: b}; look other numbers up in an array")  # fmt: skip
        if self.dicts.setdefault(target.id, keys) != keys:
            self.fail(node, f"{target.id} has other keys here than before", "use two names")
        values = ast.List([self.visit(v) for v in node.values], ast.Load())
        return [at_place(assign(f"@dict_{target.id}", values), node)]

    def _dict_of(self, node: ast.expr) -> str | None:
        return node.id if isinstance(node, ast.Name) and node.id in self.dicts else None

    def of_dict(self, node: ast.expr) -> Whole | None:
        """``d.items()`` and the like; a dict by itself is its keys."""
        is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args
        name = self._dict_of(node.func.value if is_method else node)  # type: ignore[attr-defined]
        if name is None:
            return None
        keys, word = self.dicts[name], node.func.attr if is_method else "keys"  # type: ignore[attr-defined]
        values = [ast.Subscript(load(f"@dict_{name}"), ast.Constant(k), ast.Load()) for k in range(len(keys))]
        pairs = [Whole("tuple", (ast.Constant(k), v)) for k, v in zip(keys, values, strict=True)]
        return {"keys": Whole("tuple", tuple(map(ast.Constant, keys))), "values": Whole("tuple", tuple(values)),
                "items": Whole("tuple", tuple(pairs))}.get(word)  # fmt: skip

    def entry(self, node: ast.Subscript) -> ast.expr | None:
        """``d[k]``: a key that is not there is an error."""
        name = self._dict_of(node.value)
        if name is None:
            return None
        keys, key = self.dicts[name], self.visit(copied(node.slice))
        if isinstance(key, ast.Constant):
            if key.value not in keys:
                self.fail(node, f"{name} has no key {key.value!r}", "its keys are " + ", ".join(map(repr, keys)))
            place: ast.expr = ast.Constant(keys.index(key.value))
        else:
            place = self._chosen_of(key, [ast.Constant(k) for k in range(len(keys))], ast.Constant(len(keys)), keys)
        return at_place(ast.Subscript(load(f"@dict_{name}"), place, node.ctx), node)  # type: ignore[no-any-return]

    def got(self, node: ast.Call) -> ast.expr | None:
        """``d.get(k, other)``."""
        name = self._dict_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if name is None or node.func.attr != "get":  # type: ignore[attr-defined]
            return None
        if len(node.args) != 2:
            self.fail(node, f"{name}.get without what it gives otherwise", f"write {name}.get(k, 0)")
        values: list[ast.expr] = [
            ast.Subscript(load(f"@dict_{name}"), ast.Constant(k), ast.Load()) for k in range(len(self.dicts[name]))
        ]
        found = self._chosen_of(self.visit(node.args[0]), values, self.visit(node.args[1]), self.dicts[name])
        return at_place(found, node)  # type: ignore[no-any-return]

    def _chosen_of(self, key: ast.expr, values: list[ast.expr], other: ast.expr, keys: list[Any]) -> ast.expr:
        if any(isinstance(k, str) for k in keys):
            self.fail(key, "a text that only the run knows, as a key", "write the key out: d['red']")
        held = key if isinstance(key, ast.Name) else self.hold(key)
        pairs = list(zip(keys, values, strict=True))[::-1]
        return functools.reduce(lambda rest, pair: ast.IfExp(
            ast.Compare(copied(held), [ast.Eq()], [ast.Constant(pair[0])]), pair[1], rest), pairs, other)  # fmt: skip

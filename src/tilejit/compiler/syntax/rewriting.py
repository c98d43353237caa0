"""Syntax that is written in other syntax before anything else reads a body: the core of the language stays small.

``match`` becomes if and else, an assignment expression a statement, a loop's else what follows the loop where nothing
breaks it; ``assert`` is left out. Functions inside a body become helpers, in `tilejit.compiler.syntax.lifting`. Places
are the user's own, so that errors point to what was written.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tilejit.compiler.form.form import copied, stored
from tilejit.compiler.form.source import FunctionSource, read_source
from tilejit.compiler.syntax.lifting import lifted
from tilejit.compiler.syntax.mapping import without_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Fail = Callable[[ast.AST, str, str], Any]

_Node = TypeVar("_Node", bound=ast.AST)


@functools.lru_cache(maxsize=4096)
def core_source(function: Callable[..., object]) -> FunctionSource:
    """Returns the text of a body or a helper, in the core of the language.

    Raises:
        KernelError: It has no text, is no plain function, or says what the language does not have.
    """
    source = read_source(function)
    if not _is_rewritten(source):
        return replace(source, nested=source.nested or ())
    if _MAPS.search("\n".join(source.lines)):
        source = replace(source, tree=without_mapping(source))
    tree, nested = lifted(source)
    core = replace(source, tree=tree, nested=nested)
    tree.body = _Core(core).block(tree.body)
    return core


_MAPS = re.compile(r"\b(?:map|filter|reduce)\b")
_WORDS = re.compile(r"\b(?:assert|lambda|match)\b|:=|\bdef\b.*\bdef\b|\b(?:for|while)\b.*\belse\b", re.DOTALL)
_NODES = (ast.Assert, ast.Lambda, ast.Match, ast.NamedExpr, ast.FunctionDef)


def _is_rewritten(source: FunctionSource) -> bool:
    """Whether a text has anything of all this, which few have: its words tell sooner than its tree."""
    if _MAPS.search("\n".join(source.lines)):
        return True
    if _WORDS.search("\n".join(source.lines)) is None:
        return False
    nodes = (n for statement in source.tree.body for n in ast.walk(statement))
    return any(isinstance(n, _NODES) or (isinstance(n, (ast.For, ast.While)) and n.orelse) for n in nodes)


def _placed(node: _Node, at: ast.AST) -> _Node:
    """A node, with all in it that has no place, at the place of another."""
    for part in ast.walk(node):
        if isinstance(part, (ast.expr, ast.stmt)) and not hasattr(part, "lineno"):
            ast.copy_location(part, at)
    return node


def _breaks(block: list[ast.stmt]) -> bool:
    """Whether a statement of a loop may break it."""
    for statement in block:
        if isinstance(statement, ast.Break):
            return True
        inner = [statement.orelse] if isinstance(statement, (ast.For, ast.While)) else list(_blocks(statement))
        if any(map(_breaks, inner)):
            return True
    return False


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a statement."""
    yield from (getattr(statement, name) for name in ("body", "orelse") if hasattr(statement, name))
    yield from (case.body for case in getattr(statement, "cases", ()))


class _Core:
    """Rewrites one function."""

    def __init__(self, source: FunctionSource) -> None:
        self.source = source
        self.names = {n.id for n in ast.walk(source.tree) if isinstance(n, ast.Name)}

    def block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        result = [core for statement in block for core in self.statement(statement)]
        return result or [ast.copy_location(ast.Pass(), s) for s in block[:1]]

    def statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.Assert):
            return []
        before = _Assignments(self.source.fail, statement).taken_out()
        if isinstance(statement, ast.Match):
            return before + self.match(statement)
        after: list[ast.stmt] = []
        if isinstance(statement, (ast.For, ast.While)) and not _breaks(statement.body):
            after, statement.orelse = self.block(statement.orelse), []
        if before and isinstance(statement, ast.While):
            statement, before = self.tested_inside(statement, before), []
        for name in ("body", "orelse"):
            if getattr(statement, name, None):
                setattr(statement, name, self.block(getattr(statement, name)))
        return [*before, statement, *after]

    def tested_inside(self, loop: ast.While, before: list[ast.stmt]) -> ast.While:
        """``while (x := f(y)) > 0`` assigns in every round."""
        if loop.orelse:
            self.source.fail(loop.test, "an assignment in the test of a loop with an else", "assign in the loop's body")
        leave = ast.If(ast.UnaryOp(ast.Not(), loop.test), [ast.Break()], [])
        body = [*before, _placed(leave, loop.test), *loop.body]
        return ast.copy_location(ast.While(ast.copy_location(ast.Constant(value=True), loop.test), body, []), loop)

    def match(self, statement: ast.Match) -> list[ast.stmt]:
        """If and else; what is matched is computed once."""
        parts = statement.subject.elts if isinstance(statement.subject, ast.Tuple) else [statement.subject]
        before: list[ast.stmt] = []
        subjects: list[ast.expr] = []
        changed = {*stored(*statement.cases), *(getattr(n, "name", None) for n in ast.walk(statement))}
        for part in parts:
            is_kept = isinstance(part, ast.Name) and part.id not in changed
            if is_kept or isinstance(part, (ast.Constant, ast.Attribute)):
                subjects.append(part)
                continue
            name = self.free_name("matched")
            before.append(_placed(ast.Assign([ast.Name(name, ast.Store())], part), part))
            subjects.append(ast.copy_location(ast.Name(name, ast.Load()), part))
        is_tuple = isinstance(statement.subject, ast.Tuple)
        return before + self.cases(statement.cases, subjects, is_tuple=is_tuple)

    def free_name(self, stem: str) -> str:
        name = next(n for k in range(1, 10**6) if (n := f"{stem}_{k}") not in self.names)
        self.names.add(name)
        return name

    def cases(self, cases: list[ast.match_case], subjects: list[ast.expr], *, is_tuple: bool) -> list[ast.stmt]:
        if not cases:
            return []
        case, rest = cases[0], self.cases(cases[1:], subjects, is_tuple=is_tuple)
        tests, captures = self.pattern(case.pattern, subjects, is_tuple=is_tuple)
        block = self.block(case.body)
        if case.guard is not None and captures:
            if tests:
                self.source.fail(case.guard, "a guard beside a name that is given by as", "test it in the case's block")
            return [*captures, _placed(ast.If(case.guard, block, rest), case.pattern)]
        tests, block = tests + ([case.guard] if case.guard is not None else []), [*captures, *block]
        if not tests:
            return block
        test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)
        return [_placed(ast.If(test, block, rest), case.pattern)]

    def pattern(
        self, pattern: ast.pattern, subjects: list[ast.expr], *, is_tuple: bool
    ) -> tuple[list[ast.expr], list[ast.stmt]]:
        """What must hold, and what is then assigned."""
        if isinstance(pattern, ast.MatchAs) and pattern.pattern is None and pattern.name is None:
            return [], []
        if is_tuple:
            inner = pattern.patterns if isinstance(pattern, ast.MatchSequence) else []
            if len(inner) != len(subjects):
                self.source.fail(
                    pattern, f"a pattern that is no tuple of {len(subjects)}", "give each value a pattern, or _"
                )
            pairs = [self.pattern(p, [s], is_tuple=False) for p, s in zip(inner, subjects, strict=True)]
            return [t for tests, _ in pairs for t in tests], [s for _, captures in pairs for s in captures]
        (subject,) = map(copied, subjects)
        if isinstance(pattern, ast.MatchAs):
            tests, captures = self.pattern(pattern.pattern, subjects, is_tuple=False) if pattern.pattern else ([], [])
            target = ast.Name(str(pattern.name), ast.Store())
            return tests, [*captures, _placed(ast.Assign([target], subject), pattern)]
        return [self.test(pattern, subject)], []

    def test(self, pattern: ast.pattern, subject: ast.expr) -> ast.expr:
        """Whether one value is what a pattern says."""
        if isinstance(pattern, ast.MatchOr):
            tests = [self.test(p, copied(subject)) for p in pattern.patterns]
            return _placed(ast.BoolOp(ast.Or(), tests), pattern)
        if isinstance(pattern, ast.MatchValue):
            return _placed(ast.Compare(subject, [ast.Eq()], [pattern.value]), pattern)
        if isinstance(pattern, ast.MatchSingleton):
            value = ast.copy_location(ast.Constant(pattern.value), pattern)
            return _placed(ast.Compare(subject, [ast.Is()], [value]), pattern)
        return self.source.fail(
            pattern, "a pattern that is no number", "match takes numbers, names with a dot, | and _"
        )


def _place(node: ast.Name) -> tuple[int, int]:
    return node.lineno, node.col_offset


class _Assignments(ast.NodeTransformer):
    """Takes the assignment expressions out of a statement's head, where they are computed whatever else is."""

    def __init__(self, fail: Fail, statement: ast.stmt) -> None:
        self.fail, self.statement = fail, statement
        self.taken: list[ast.stmt] = []

    def taken_out(self) -> list[ast.stmt]:
        """The assignments, which stand before the statement."""
        for name, value in ast.iter_fields(self.statement):
            if isinstance(value, ast.expr) and name not in {"annotation", "target"}:
                setattr(self.statement, name, self.visit(value))
        return self.taken

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        name, heads = node.target.id, [v for v in vars(self.statement).values() if isinstance(v, ast.expr)]
        named = [n for head in heads for n in ast.walk(head) if isinstance(n, ast.Name) and n.id == name]
        if min(map(_place, named)) < _place(node.target):
            self.refuse(node)  # what stands before it has the value of before
        value = self.visit(node.value)
        self.taken.append(ast.copy_location(ast.Assign([node.target], value), node))
        return ast.copy_location(ast.Name(name, ast.Load()), node.target)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.refuse_in(*node.values[1:])
        node.values[0] = self.visit(node.values[0])
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.refuse_in(*node.comparators[1:])
        node.left, node.comparators[0] = self.visit(node.left), self.visit(node.comparators[0])
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.refuse_in(node.body, node.orelse)
        node.test = self.visit(node.test)
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp) -> ast.expr:
        self.refuse_in(node)
        return node

    visit_ListComp = visit_GeneratorExp  # noqa: N815 - as ast calls it

    def refuse_in(self, *nodes: ast.expr) -> None:
        for node in nodes:
            for part in ast.walk(node):
                if isinstance(part, ast.NamedExpr):
                    self.refuse(part)

    def refuse(self, node: ast.NamedExpr) -> None:
        self.fail(node, "an assignment inside an expression", "assign on a line of its own")

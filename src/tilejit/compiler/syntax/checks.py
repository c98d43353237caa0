"""What can be refused from a body's syntax alone, when the kernel is declared."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NoReturn

from tilejit.compiler.syntax.folding import is_for_debugging
from tilejit.compiler.syntax.numpy_names import is_number_text
from tilejit.sizes import counted

if TYPE_CHECKING:
    from tilejit.compiler.form.source import FunctionSource

_STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.For, ast.While, ast.Break, ast.Continue,
               ast.Return, ast.Pass, ast.Delete)  # fmt: skip
_EXPRESSIONS = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call,
                ast.Subscript, ast.Tuple, ast.Attribute, ast.List, ast.ListComp, ast.GeneratorExp,
                ast.Slice, ast.Starred, ast.Dict)  # fmt: skip
_CONTAINS = (ast.In, ast.NotIn)

_LOOP = "write a for loop that adds up in a variable"
_SCALARS = "a body has scalars only: use one variable for each value"
_TOP = "write it at the top of the body, or outside, as a plain function with def"
_NAN = "return math.nan for a pixel that has no result"
_NOTHING_RAISED = "arithmetic raises nothing in a kernel (1.0 / 0.0 is inf, 0.0 / 0.0 is nan): test with if"
_ARITHMETIC = "a body is assignments, if, for over range, while and return"
_REFUSED: dict[str, tuple[str, str]] = {
    "SetComp": ("a set comprehension", _LOOP),
    "DictComp": ("a dict comprehension", _LOOP),
    "Set": ("a set", _SCALARS),
    "Dict": ("a dict where one value is needed", "assign it first: d = {1: a, 2: b}; d[k]"),
    "Lambda": ("a lambda as a value", "give it a name at the top of the body, and call it: g = lambda v: …, then g(z)"),
    "FunctionDef": ("a function that is made in a branch or a loop", _TOP),
    "ClassDef": ("a class inside a body", "a body has scalars only"),
    "Import": ("an import inside a body", "import at the top of the file"),
    "ImportFrom": ("an import inside a body", "import at the top of the file"),
    "Try": ("try in a body", _NOTHING_RAISED),
    "TryStar": ("try in a body", _NOTHING_RAISED),
    "With": ("with in a body", _ARITHMETIC),
    "Raise": ("raise in a body", _NAN),
    "Global": ("a global variable that is written to", "a body keeps no state: return what it computes"),
    "Nonlocal": ("a nonlocal variable that is written to", "a body keeps no state: return what it computes"),
    "Delete": ("del in a body", "leave it out: a body's variables end with the pixel"),
    "NamedExpr": ("an assignment inside an expression", "assign on a line of its own"),
    "JoinedStr": ("an f-string", "a body has numbers, True and False only"),
    "Starred": ("a starred expression", "write the values out"),
    "Yield": ("yield in a body", "return the result"),
    "YieldFrom": ("yield in a body", "return the result"),
    "Await": ("await in a body", _ARITHMETIC),
    "AsyncFunctionDef": ("an async function inside a body", _TOP),
    "AsyncFor": ("async for", _ARITHMETIC),
    "AsyncWith": ("async with", _ARITHMETIC),
    "Slice": ("a slice", "read one cell at a time: z[dy, dx]"),
    "TypeAlias": ("a type alias", "leave it out"),
}  # fmt: skip
"""Syntax that the language does not have: what it is called, and what to write instead."""


def check_syntax(source: FunctionSource) -> None:
    """Refuses statements and expressions that the language does not have, and paths that return nothing.

    Raises:
        KernelError: With file, line, caret and what to write instead.
    """
    _check_block(source, source.tree.body)
    if not _ends(source.tree.body):
        source.fail(_open_end(source.tree.body, source.tree), "a path through the body returns nothing",
                    "end every path with return; math.nan stands for no result")  # fmt: skip
    _check_returns(source)


def changes_only(source: FunctionSource) -> bool:
    """Whether a helper returns nothing: it is called for what it changes of arrays."""
    nodes = list(ast.walk(source.tree))
    elements = [n for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    called = any(isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) for n in nodes)
    return not any(isinstance(n, ast.Return) for n in nodes) and bool(elements or called)


def _check_block(source: FunctionSource, block: list[ast.stmt]) -> None:
    for statement in block:
        if isinstance(statement, ast.Expr):
            _check_bare_expression(source, statement)
        elif not isinstance(statement, _STATEMENTS):
            refuse(source, statement)
        else:
            _check_parts(source, statement)


def _check_parts(source: FunctionSource, statement: ast.stmt) -> None:
    for name in ("body", "orelse"):
        _check_block(source, getattr(statement, name, []))
    for name, value in ast.iter_fields(statement):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.expr) and name != "annotation" and not _names_flag(statement, part):
                _check_expression(source, part)


def _names_flag(statement: ast.stmt, value: ast.expr) -> bool:
    """Whether a statement gives a variable a text or None."""
    return isinstance(statement, ast.Assign) and statement.value is value and _is_flag(value)


def _check_expression(source: FunctionSource, node: ast.AST) -> None:
    """Refuses the outermost thing that the language does not have."""
    if isinstance(node, (ast.expr, ast.Slice)) and not isinstance(node, _EXPRESSIONS):
        refuse(source, node)
    if isinstance(node, ast.Constant) and not isinstance(node.value, (bool, int, float)):
        what = {str: "a string", bytes: "a string", complex: "a complex number"}.get(type(node.value), repr(node.value))
        instead = "a body has numbers, True and False only; math.nan is no result"
        if isinstance(node.value, complex):
            instead = "write its real and its imaginary part as two variables"
        source.fail(node, f"{what} in a body", instead)
    if is_number_text(node):
        return
    known = _compared_flags(node)
    children = list(ast.iter_child_nodes(node))
    for child in children:
        if isinstance(child, ast.Set) and isinstance(node, ast.Compare) and isinstance(node.ops[0], _CONTAINS):
            children += child.elts
        elif child not in known:
            _check_expression(source, child.value if isinstance(child, ast.keyword) else child)


def _compared_flags(node: ast.AST) -> list[ast.expr]:
    """Texts and None that a captured flag may be compared with, that are a key, or that say "no bound" in a call."""
    if isinstance(node, ast.Dict):
        return [k for k in node.keys if k is not None and _is_flag(k)]
    if isinstance(node, ast.Subscript):
        return [node.slice] if _is_flag(node.slice) else []
    if isinstance(node, ast.Call):
        return [a for a in node.args if isinstance(a, ast.Constant) and a.value is None]
    if not isinstance(node, ast.Compare):
        return []
    looked_through = [right for op, right in zip(node.ops, node.comparators, strict=True) if isinstance(op, _CONTAINS)]
    sides = [side for side in (node.left, *node.comparators) if side not in looked_through and _is_flag(side)]
    return sides + [t for t in looked_through if isinstance(t, ast.Tuple) and all(map(_is_flag, t.elts))]


def _is_flag(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, type(None)))


def _check_bare_expression(source: FunctionSource, statement: ast.Expr) -> None:
    value = statement.value
    is_text = isinstance(value, ast.Constant)
    if is_text or is_for_debugging(value):
        return  # left out when constants are folded
    if isinstance(value, ast.Call):  # which may be made for what it changes: known when it is typed
        _check_expression(source, value)
        return
    if isinstance(value, (ast.Yield, ast.YieldFrom, ast.Await)):
        refuse(source, value)
    source.fail(statement, "an expression whose value is not used", "assign it to a variable, or leave it out")


def refuse(source: FunctionSource, node: ast.AST) -> NoReturn:
    """Refuses what the language does not have.

    Raises:
        KernelError: Always.
    """
    name = type(node).__name__
    what, instead = _REFUSED.get(name, (f"{name.lower()} in a body", _ARITHMETIC))
    source.fail(node, what, instead)


def _check_returns(source: FunctionSource) -> None:
    lengths: dict[int, ast.Return] = {}
    returns = [node for node in ast.walk(source.tree) if isinstance(node, ast.Return)]
    if not returns:
        source.fail(None, "the body never returns", "leave its endless loop with break, and return the result")
    for node in sorted(returns, key=lambda r: (r.lineno, r.col_offset)):
        if node.value is None:
            source.fail(node, "a return without a value", _NAN)
        if isinstance(node.value, ast.Call):
            continue  # a helper may return a tuple: known when it is typed
        length = len(node.value.elts) if isinstance(node.value, ast.Tuple) else 1
        if length == 0:
            source.fail(node, "a return of an empty tuple", "return one value for each output")
        lengths.setdefault(length, node)
    if len(lengths) > 1:
        first, second = list(lengths)[:2]
        line = lengths[first].lineno
        source.fail(lengths[second],
                    f"returns {counted(second, 'value')} here and {counted(first, 'value')} in line {line}",
                    "return the same number of values on every path")  # fmt: skip


def _ends(block: list[ast.stmt]) -> bool:
    """Whether every path through a block returns."""
    for statement in block:
        if isinstance(statement, ast.Return) or _is_endless(statement):
            return True
        if isinstance(statement, ast.If) and _ends(statement.body) and _ends(statement.orelse):
            return True
    return False


def _is_endless(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.While) or not isinstance(statement.test, ast.Constant):
        return False
    return bool(statement.test.value) and not any(_breaks(inner) for inner in statement.body)


def _breaks(statement: ast.stmt) -> bool:
    """Whether a statement may break the loop around it."""
    if isinstance(statement, ast.If):
        return any(map(_breaks, (*statement.body, *statement.orelse)))
    if isinstance(statement, (ast.For, ast.While)):
        return any(map(_breaks, statement.orelse))
    return isinstance(statement, ast.Break)


def _open_end(block: list[ast.stmt], outer: ast.AST) -> ast.AST:
    """The statement after which nothing is returned."""
    if not block:
        return outer
    last = block[-1]
    if isinstance(last, ast.If):
        return _open_end(last.orelse, last.test) if _ends(last.body) else _open_end(last.body, last)
    if isinstance(last, ast.For):  # of a loop its head alone is underlined
        return last.iter
    return last.test if isinstance(last, ast.While) else last

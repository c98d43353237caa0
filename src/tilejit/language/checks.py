"""What can be refused from a body's syntax alone, when the kernel is declared."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilejit.language.source import FunctionSource

_STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.For, ast.While, ast.Break, ast.Continue,
               ast.Return, ast.Pass)  # fmt: skip
_EXPRESSIONS = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call,
                ast.Subscript, ast.Tuple, ast.Attribute)  # fmt: skip
_INSTEAD: dict[type[ast.AST], str] = {
    ast.ListComp: "write a for loop that adds up in a variable",
    ast.GeneratorExp: "write a for loop that adds up in a variable",
    ast.SetComp: "write a for loop",
    ast.DictComp: "write a for loop",
    ast.List: "use one variable a value; a body has scalars only",
    ast.Dict: "use if and elif, or keyword-only parameters",
    ast.Set: "use if and elif; a body has scalars only",
    ast.Lambda: "write a plain helper function with def, outside the body",
    ast.FunctionDef: "write the helper function outside the body",
    ast.ClassDef: "write it outside the body; a body has scalars only",
    ast.Import: "import at the top of the file",
    ast.ImportFrom: "import at the top of the file",
    ast.Try: "arithmetic raises nothing in a kernel: 1.0 / 0.0 is inf and 0.0 / 0.0 is nan; test with if",
    ast.With: "a body is arithmetic alone",
    ast.Raise: "return math.nan for a pixel that has no result",
    ast.Assert: "return math.nan for a pixel that has no result",
    ast.Global: "a body keeps no state; return what it computes",
    ast.Nonlocal: "a body keeps no state; return what it computes",
    ast.Delete: "leave it out; a body's variables end with the pixel",
    ast.NamedExpr: "assign on a line of its own",
    ast.JoinedStr: "a body has no strings",
    ast.Starred: "write the values out",
    ast.Match: "use if and elif",
    ast.Yield: "return the result",
    ast.YieldFrom: "return the result",
    ast.Await: "a body is arithmetic alone",
    ast.AsyncFunctionDef: "a body is arithmetic alone",
    ast.AsyncFor: "a body is arithmetic alone",
    ast.AsyncWith: "a body is arithmetic alone",
    ast.Slice: "read one cell at a time, as z[dy, dx]",
}


def check_syntax(source: FunctionSource) -> None:
    """Refuses statements and expressions that the language does not have, and paths that return nothing.

    Raises:
        KernelError: With file, line, caret and what to write instead.
    """
    _check_block(source, source.tree.body, in_loop=False)
    if not _ends(source.tree.body):
        source.fail(
            _open_end(source.tree.body, source.tree),
            "a path through the body returns nothing",
            "end every path with return; math.nan stands for no result",
        )
    _check_returns(source)


def _check_block(source: FunctionSource, block: list[ast.stmt], *, in_loop: bool) -> None:
    for statement in block:
        if isinstance(statement, ast.Expr):
            _check_bare_expression(source, statement)
        elif not isinstance(statement, _STATEMENTS):
            _refuse(source, statement)
        elif (
            isinstance(statement, (ast.Break, ast.Continue)) and not in_loop
        ):  # pragma: no cover - Python's own
            _refuse(source, statement)
        _check_parts(source, statement, in_loop=in_loop)


def _check_parts(source: FunctionSource, statement: ast.stmt, *, in_loop: bool) -> None:
    loop = isinstance(statement, (ast.For, ast.While))
    if loop and statement.orelse:  # type: ignore[attr-defined]
        source.fail(
            statement, "a loop with an else", "set a variable before break and test it after the loop"
        )
    for name in ("body", "orelse"):
        inner = getattr(statement, name, None)
        if isinstance(inner, list):
            _check_block(source, inner, in_loop=in_loop or loop)
    for _, value in ast.iter_fields(statement):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.expr) and not _is_annotation(statement, part):
                _check_expression(source, part)


def _is_annotation(statement: ast.stmt, part: ast.expr) -> bool:
    return isinstance(statement, ast.AnnAssign) and part is statement.annotation


def _check_expression(source: FunctionSource, expression: ast.expr) -> None:
    for node in ast.walk(expression):
        if isinstance(node, (ast.expr, ast.Slice)) and not isinstance(node, _EXPRESSIONS):
            _refuse(source, node)
        if isinstance(node, ast.Constant) and not isinstance(node.value, (bool, int, float)):
            source.fail(
                node, f"the constant {node.value!r} in a body", "a body has numbers, True and False only"
            )


def _check_bare_expression(source: FunctionSource, statement: ast.Expr) -> None:
    value = statement.value
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        statement.value = ast.copy_location(ast.Constant(0), value)  # a docstring
        return
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print":
        source.fail(
            statement, "print in a body", "call the kernel's debug(array, row, col), where print works"
        )
    source.fail(statement, "an expression whose value is not used", "assign it to a variable or leave it out")


def _refuse(source: FunctionSource, node: ast.AST) -> None:
    names = {"ListComp": "a list comprehension", "GeneratorExp": "a generator expression", "FunctionDef":
             "a function in a body", "NamedExpr": "an assignment inside an expression", "JoinedStr": "an f-string"}  # fmt: skip
    kind = type(node).__name__
    what = names.get(kind, f"{kind.lower()} in a body")
    source.fail(
        node, what, _INSTEAD.get(type(node), "a body is arithmetic, if, for over range, while and return")
    )


def _check_returns(source: FunctionSource) -> None:
    lengths: dict[int, ast.Return] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Return):
            if node.value is None:
                source.fail(
                    node, "a return without a value", "return math.nan for a pixel that has no result"
                )
            length = len(node.value.elts) if isinstance(node.value, ast.Tuple) else 1
            if length == 0:
                source.fail(node, "a return of an empty tuple", "return one value for each output")
            lengths.setdefault(length, node)
    if len(lengths) > 1 and not any(isinstance(r.value, ast.Call) for r in lengths.values()):
        (first, _), (second, node) = sorted(lengths.items(), key=lambda item: item[1].lineno)[:2]
        source.fail(
            node,
            f"returns {second} values here and {first} elsewhere",
            "return the same number of values on every path",
        )


def _ends(block: list[ast.stmt]) -> bool:
    """Whether every path through a block returns."""
    for statement in block:
        if isinstance(statement, ast.Return):
            return True
        if isinstance(statement, ast.If) and _ends(statement.body) and _ends(statement.orelse):
            return True
        if _is_endless(statement):
            return True
    return False


def _is_endless(statement: ast.stmt) -> bool:
    if not (
        isinstance(statement, ast.While) and isinstance(statement.test, ast.Constant) and statement.test.value
    ):
        return False
    return not any(isinstance(node, ast.Break) for inner in statement.body for node in ast.walk(inner))


def _open_end(block: list[ast.stmt], outer: ast.AST) -> ast.AST:
    """The last statement of the path that returns nothing."""
    if not block:
        return outer
    last = block[-1]
    if isinstance(last, ast.If):
        return _open_end(last.orelse, last) if _ends(last.body) else _open_end(last.body, last)
    return last

"""Where a body's text is, and errors that point into it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tilejit.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A plain Python function, its syntax tree, and where both were written."""

    function: Callable[..., object]
    """The undecorated function."""
    tree: ast.FunctionDef
    """Its syntax tree, with line and column numbers of the user's file."""
    filename: str
    """The file it was written in."""
    lines: tuple[str, ...]
    """Its lines of text, the decorator's first."""
    first_line: int
    """The number of the first of these lines in the file."""

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.function.__name__

    @property
    def where(self) -> str:
        """``file.py:12``, for generated files and lists."""
        return f"{Path(self.filename).name}:{self.tree.lineno}"

    def fail(self, node: ast.AST | None, what: str, instead: str) -> NoReturn:
        """Raises a KernelError that shows the line of ``node`` with a caret, and what to write instead."""
        raise KernelError(self.message(node, what, instead))

    def message(self, node: ast.AST | None, what: str, instead: str) -> str:
        """The text of such an error."""
        line = getattr(node, "lineno", self.tree.lineno)
        parts = [f"{self.filename}:{line}: {self.name}: {what}"]
        index = line - self.first_line
        if 0 <= index < len(self.lines):
            parts += self._caret(node, self.lines[index])
        return "\n".join([*parts, f"  {instead}"])

    def _caret(self, node: ast.AST | None, text: str) -> list[str]:
        indent = len(text) - len(text.lstrip())
        start = getattr(node, "col_offset", indent)
        end = getattr(node, "end_col_offset", None)
        if end is None or getattr(node, "end_lineno", None) != getattr(node, "lineno", None):
            end = len(text.rstrip())
        return [f"    {text.strip()}", "    " + " " * (start - indent) + "^" * max(1, end - start)]


def read_source(function: Callable[..., object]) -> FunctionSource:
    """Finds and parses the text of ``function``.

    Raises:
        KernelError: It has no text (typed at a prompt, made by ``exec`` or a lambda), or is no plain function.
    """
    if not inspect.isfunction(function):
        raise KernelError(
            f"{function!r} is not a plain Python function; write the body with def under the decorator"
        )
    name = getattr(function, "__name__", "?")
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise KernelError(
            f"{name}: its source text cannot be found ({error}); a kernel is compiled from its text, "
            "so write it in a file or a notebook cell, not in exec or at the plain prompt"
        ) from error
    filename = inspect.getsourcefile(function) or function.__code__.co_filename
    text = "".join(lines)
    try:
        tree = ast.parse(textwrap.dedent(text)).body[0]
    except SyntaxError:
        tree = None
    if not isinstance(tree, ast.FunctionDef):
        raise KernelError(
            f"{filename}:{first}: {name} is no def statement; write the body with def, not as a lambda"
        )
    tree.decorator_list = []
    _move(tree, first - 1, len(lines[0]) - len(lines[0].lstrip()))
    return FunctionSource(function, tree, filename, tuple(line.rstrip("\n") for line in lines), first)


def _move(tree: ast.AST, lines: int, columns: int) -> None:
    """Shifts positions from the dedented snippet to the file."""
    ast.increment_lineno(tree, lines)
    for node in ast.walk(tree):
        if hasattr(node, "col_offset"):
            node.col_offset += columns
            node.end_col_offset += columns

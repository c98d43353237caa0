"""Where a body's text is, and errors that point into it."""

from __future__ import annotations
import __future__

import ast
import bisect
import builtins
import contextlib
import copy
import dis
import functools
import inspect
import linecache
import operator
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

from tilejit.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FUTURE = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))
"""Flags of code that was compiled under ``from __future__ import``."""


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
    nested: tuple[FunctionType, ...] | None = None
    """The functions that were taken out of the tree, which is then in the core of the language; None as written."""

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.tree.name

    @property
    def text(self) -> tuple[tuple[str, ...], int, str, tuple[str, str], int]:
        """What `function_of` makes the function of again, in another process: its arguments."""
        function: Any = self.function
        flags = function.__code__.co_flags & _FUTURE
        return self.lines, self.first_line, self.filename, (function.__qualname__, function.__module__), flags

    @property
    def file(self) -> str:
        """``file.py``."""
        return Path(self.filename).name

    @property
    def where(self) -> str:
        """``file.py:12``, for generated files and lists."""
        return f"{self.file}:{self.tree.lineno}"

    def fail(self, node: ast.AST | None, what: str, instead: str) -> NoReturn:
        """Raises a KernelError that shows the line of ``node`` with a caret, and what to write instead."""
        at = self._head if node is None or node is self.tree else node
        line: int = getattr(at, "lineno", self.tree.lineno)
        parts = [f"{self.filename}:{line}: {self.name}: {what}"]
        if 0 <= line - self.first_line < len(self.lines):
            parts += _underlined(self.lines[line - self.first_line], at)
        raise KernelError("\n".join([*parts, f"  {instead}"]))

    @property
    def _head(self) -> ast.AST:
        """The name in ``def name``, as a node."""
        start = self.tree.col_offset + len("def ")
        end = start + len(self.tree.name.encode())
        return ast.Name(self.tree.name, ast.Load(), lineno=self.tree.lineno, end_lineno=self.tree.lineno,
                        col_offset=start, end_col_offset=end)  # fmt: skip


def _underlined(line: str, node: Any) -> list[str]:
    """The line without its indent, and carets under the node; columns count UTF-8 bytes."""
    text = line.rstrip()
    start = len(line.encode()[: node.col_offset].decode())
    ends_here = node.end_lineno == node.lineno
    end = len(line.encode()[: node.end_col_offset].decode()) if ends_here else len(text)
    indent = len(text) - len(text.lstrip())
    # A tab stays a tab, so that the caret stands under its column whatever a tab's width.
    blank = "".join(c if c == "\t" else " " for c in text[indent:start])
    return [f"    {text[indent:]}", f"    {blank}{'^' * max(1, end - start)}"]


def read_source(function: Callable[..., object]) -> FunctionSource:
    """Finds and parses the text of ``function``.

    Raises:
        KernelError: It has no text (typed at a prompt, made by ``exec`` or a lambda), or is no plain function.
    """
    refuse_wrapped(function)
    return _read(function)


def refuse_wrapped(function: Callable[..., object]) -> None:
    """Refuses what is no plain function.

    Raises:
        KernelError: It is none, or another decorator's.
    """
    if not inspect.isfunction(function):
        kind = type(function).__name__
        what = f"a {kind}" if kind in {"staticmethod", "classmethod", "property"} else repr(function)
        what = f"{function.__name__} (a class)" if isinstance(function, type) else what
        raise KernelError(f"{what} is no plain Python function; write the body with def, right under the decorator")
    if hasattr(function, "__wrapped__"):
        raise KernelError(
            f"{function.__name__} is wrapped by another decorator; a kernel is compiled from its text, "
            "so take that decorator off"
        )


@functools.lru_cache(maxsize=4096)
def file_text(function: Any) -> tuple[list[str], int, str]:
    """Returns the lines of the file that a function stands in, the number of the function's first, and the file's name.

    They are kept as they were when the function was first asked for: a file may be changed while Python runs.

    Raises:
        KernelError: They are not there, as of what was typed at a prompt.
    """
    made: FunctionSource | None = getattr(function, "__tilejit_source__", None)
    if made is not None:
        return [f"{line}\n" for line in made.lines], made.first_line, made.filename
    _recall_main(function.__code__)
    try:
        text, line = inspect.findsource(function)
    except (OSError, TypeError) as error:
        raise _textless(function.__name__, str(error)) from error
    return text, line + 1, inspect.getsourcefile(function) or function.__code__.co_filename


def name_of(function: Callable[..., object]) -> str:
    """Returns a function's name; of a lambda that of the variable which it was given to."""
    return read_source(function).name if function.__name__ == "<lambda>" else function.__name__


def function_of(
    lines: tuple[str, ...], first_line: int, filename: str, name: tuple[str, str], flags: int
) -> FunctionType:
    """Makes a function of its text alone; it sees no name yet, and has no default.

    Its annotations and decorators, which were evaluated when it was first defined, are left out. ``name`` is its
    qualified name and its module; ``flags`` are the compiler's of what ``from __future__ import`` was said there.
    """
    tree = _function_in(_parsed([f"{line}\n" for line in lines], first_line))
    assert isinstance(tree, ast.FunctionDef)  # noqa: S101 - as when it was read
    tree.decorator_list = []
    plain = ast.Module([bare(copy.deepcopy(tree))], [])
    code = next(inner_codes(compile(plain, filename, "exec", flags, dont_inherit=True)))
    made = FunctionType(code, {"__builtins__": builtins, "__name__": name[1]}, tree.name)
    made.__qualname__ = name[0]
    made.__tilejit_source__ = FunctionSource(made, tree, filename, lines, first_line)  # type: ignore[attr-defined]
    return made


def bare(tree: ast.FunctionDef) -> ast.FunctionDef:
    """Takes decorators, annotations and defaults off a function: they were evaluated when it was defined."""
    arguments = tree.args
    for argument in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs):
        if argument is not None:
            argument.annotation = None
    arguments.defaults = []
    arguments.kw_defaults = [None] * len(arguments.kwonlyargs)
    tree.decorator_list, tree.returns = [], None
    return tree


def defined(name: str, function: ast.Lambda) -> ast.FunctionDef:
    """Returns a lambda as a function with a name."""
    body = [ast.copy_location(ast.Return(function.body), function.body)]
    tree = ast.parse("def f(): pass").body[0]
    assert isinstance(tree, ast.FunctionDef)  # noqa: S101 - for type checkers
    tree.name, tree.args, tree.body = name, function.args, body  # type: ignore[assignment]
    return ast.copy_location(tree, function)


def _function_in(node: ast.AST | None) -> ast.AST | None:
    """The function that a statement gives a name, which may be a lambda; any other node is as it is."""
    is_named = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    return defined(ast.unparse(node.targets[0]), node.value) if is_named else node  # type: ignore[union-attr]


@functools.lru_cache(maxsize=4096)
def _read(function: Any) -> FunctionSource:
    made: FunctionSource | None = getattr(function, "__tilejit_source__", None)
    if made is not None:
        return made
    name = function.__name__
    text, first, filename = file_text(function)
    tree = _definitions("".join(text)).get(first)
    lines = text[first - 1 : first if tree is None else tree.end_lineno]
    is_none = isinstance(tree, ast.AsyncFunctionDef) or (name == "<lambda>" and tree is None)
    if not is_none and not _is_text_of(tree, function):
        if getattr(sys, "frozen", False):
            raise _textless(name, f"what stands in {filename} is another's")
        file_text.cache_clear()  # it may be put back, and is read again then
        raise KernelError(
            f"{filename}:{first}: {name}: the file was changed since {name} was imported: what stands there is not "
            "what Python runs\n  restart Python, or reload the module"
        )
    if not isinstance(tree, ast.FunctionDef):
        what = "is async" if isinstance(tree, ast.AsyncFunctionDef) else "is not written with def"
        line = tree.lineno if isinstance(tree, ast.AsyncFunctionDef) else first
        raise KernelError(
            f"{filename}:{line}: {name} {what}\n    {lines[line - first].strip()}\n"
            "  write the body as a plain function: def, then the statements, then return"
        )
    tree.decorator_list = []
    return FunctionSource(function, tree, filename, tuple(line.rstrip("\r\n") for line in lines), first)


def _textless(name: str, why: str) -> KernelError:
    """The error for a function without text."""
    if getattr(sys, "frozen", False):
        return KernelError(
            f"{name}: its source text is not in this frozen program, and a kernel is compiled from its text: write "
            "it in a module beside the main script, as my_kernels.py, and have that collected with its text "
            "(PyInstaller: Analysis(…, module_collection_mode={'my_kernels': 'pyz+py'}))"
        )
    return KernelError(
        f"{name}: its source text cannot be found ({why}); a kernel is compiled from its text, "
        "so write it in a file or a notebook cell, not in exec, at the plain prompt or in a pipe into python -"
    )


def _recall_main(code: CodeType) -> None:
    """Finds the text of ``python -c`` and ``python - <file`` again, which Python does not keep before 3.13."""
    name, text = code.co_filename, ""
    if name == "<string>" and "-c" in sys.orig_argv:
        text = sys.orig_argv[sys.orig_argv.index("-c") + 1]
    elif name == "<stdin>":
        with contextlib.suppress(OSError, ValueError):  # a pipe, which cannot be read twice
            place = os.lseek(0, 0, os.SEEK_CUR)
            os.lseek(0, 0, os.SEEK_SET)
            try:
                with open(0, encoding="utf-8", closefd=False) as file:
                    text = file.read()
            finally:
                os.lseek(0, place, os.SEEK_SET)  # `python -i <file` goes on reading there
    if text and code in _codes_of_file(text, name):
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name


@functools.lru_cache(maxsize=8)
def _definitions(text: str) -> dict[int, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file by the line that each begins in, its first decorator's.

    A file is parsed once: a function's lines alone would have to be found first, which `inspect` takes three times as
    long for.
    """
    try:
        nodes = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError):
        return {}
    functions = [f for f in map(_function_in, nodes) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {min(part.lineno for part in (f, *f.decorator_list)): f for f in functions}


def _is_text_of(tree: ast.stmt | None, function: Any) -> bool:
    """Whether a function's code is what its text compiles to now, wherever that stands in the file."""
    if not isinstance(tree, ast.FunctionDef) or function.__name__ not in {tree.name, "<lambda>"}:
        return False
    code: CodeType = function.__code__
    if code in _codes_of_file("".join(file_text(function)[0]), code.co_filename):
        return True
    bare = copy.copy(tree)
    bare.decorator_list = []
    held = [ast.parse(f"{name} = None").body[0] for name in code.co_freevars]
    if tree.name not in code.co_freevars:  # a function of a module that calls itself finds itself there
        held.append(ast.Global([tree.name]))
    around = ast.parse("def around(): pass").body[0]
    around.body = [*held, bare, ast.parse(", ".join([*code.co_freevars, "0"])).body[0]]  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    compiled = compile(module, code.co_filename, "exec", code.co_flags & _FUTURE, dont_inherit=True)
    found = next(c for c in inner_codes(next(inner_codes(compiled))) if c.co_name == tree.name)
    return _parts(found) == _parts(code)


@functools.lru_cache(maxsize=8)
def _codes_of_file(text: str, filename: str) -> frozenset[CodeType]:
    """The code of all functions in a file, compiled at once, which takes a tenth of comparing instructions."""
    try:
        with warnings.catch_warnings(action="ignore"):
            waiting = [compile(text, filename, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):  # a notebook's cell, say
        return frozenset()
    found: set[CodeType] = set()
    while waiting:
        inner = list(inner_codes(waiting.pop()))
        found.update(inner)
        waiting += inner
    return frozenset(found)


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """Yields the code of the functions inside."""
    return (c for c in code.co_consts if isinstance(c, CodeType))


_UNTOLD = {"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"}
"""Instructions that depend on what stands around a function: a call of a module's function is another where the module
is imported in the same text."""


def _parts(code: CodeType) -> tuple[Any, ...]:
    """What code does, without the texts in it and its place."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _UNTOLD]
    offsets = [i.offset for i in instructions]
    jumps = {*dis.hasjrel, *dis.hasjabs}
    steps = [
        (i.opname.replace("LOAD_METHOD", "LOAD_ATTR"),
         bisect.bisect_left(offsets, i.argval) if i.opcode in jumps else
         # Numbers that are equal may be of two types, and texts do nothing in a body.
         (type(i.argval).__name__, "" if isinstance(i.argval, CodeType) else repr(i.argval)))
        for i in instructions
    ]  # fmt: skip
    count = code.co_argcount + code.co_kwonlyargcount
    return steps, code.co_varnames[:count], code.co_posonlyargcount, code.co_kwonlyargcount


def _parsed(lines: list[str], first: int) -> ast.stmt | None:
    """The first statement of the text, at the positions that it has in the file.

    An indented one is parsed inside an ``if``: taking the indent away would cut into a text that spans lines.
    """
    is_indented = lines[0][:1].isspace()
    try:
        module = ast.parse("\n" * (first - 1 - is_indented) + "if 1:\n" * is_indented + "".join(lines))
    except SyntaxError:
        return None
    statement = module.body[0]
    return statement.body[0] if is_indented and isinstance(statement, ast.If) else statement

"""The program that is run: the script, which worker processes run too, and its streams, which daemons may lack.

A line on a terminal tells what is waited for, where that takes a while; it is gone when it is over.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import PlanError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


def main_file() -> str | None:
    """Returns the file of ``__main__``; None where it was typed in, or is run by ``-c``."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return str(Path(file).resolve()) if file is not None and Path(file).is_file() else None


def main_module() -> str | None:
    """Returns the name that ``python -m`` runs ``__main__`` by; None where it runs a file, or nothing."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else None


def is_run_again() -> bool:
    """Whether worker processes run ``__main__`` too, to have what it defines.

    That of a package, of a folder or of an archive, ``__main__.py``, they leave alone.
    """
    return main_file() is not None and (main_module() or "").rpartition(".")[2] != "__main__"


@contextlib.contextmanager
def main_without_file() -> Iterator[None]:
    """Lets processes start inside that would run what Python was handed on its standard input, which is gone by now."""
    main = vars(sys.modules["__main__"])
    file = main.get("__file__")
    if file is None or Path(file).exists() or main_module() is not None:
        yield
        return
    del main["__file__"]
    try:
        yield
    finally:
        main["__file__"] = file


def require_guard() -> None:
    """Refuses a run that a script starts on its top level, without ``if __name__ == "__main__":``.

    Worker processes run the script too, to have what it defines, and would start it all again.
    """
    file = main_file() if is_run_again() else None
    line = _line_of_main(file) if file is not None else None
    if file is None or line is None:
        return
    try:
        statements = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return  # a program of another kind: a zip archive, say
    for statement in statements:
        if statement.lineno <= line <= (statement.end_lineno or line) and not _is_guard(statement):
            raise PlanError(
                f"{file}:{line}: worker processes run this file too, and would start it all again: put what starts "
                'the work under\n  if __name__ == "__main__":'
            )


def _line_of_main(file: str) -> int | None:
    """The line of the script's top level that is being run; None where none is."""
    main = vars(sys.modules["__main__"])
    frame = sys._getframe()  # noqa: SLF001 - the documented way to the stack
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        if frame.f_globals is main and code.co_name == "<module>" and str(Path(code.co_filename).resolve()) == file:
            return frame.f_lineno
    return None


def _is_guard(statement: ast.stmt) -> bool:
    names = ast.walk(statement.test) if isinstance(statement, ast.If) else ()
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in names)


def is_open(stream: Any) -> bool:
    """Whether a stream takes what is written to it: it may be None, closed, or lead nowhere.

    Example:
        >>> is_open(io.StringIO()), is_open(None)
        (True, False)
    """
    if stream is None or getattr(stream, "closed", False):
        return False
    try:
        os.fstat(stream.fileno())
    except (AttributeError, io.UnsupportedOperation):  # one that no file is behind, as a notebook's
        return True
    except OSError:
        return False
    return True


def is_terminal(stream: Any) -> bool:
    """Whether a person reads what is written to a stream.

    Example:
        >>> is_terminal(io.StringIO()), is_terminal(None)
        (False, False)
    """
    return is_open(stream) and bool(stream.isatty())


@contextlib.contextmanager
def all_open() -> Iterator[None]:
    """Has what is written to a stream that is missing go nowhere.

    Their numbers are taken as well: a file that is opened next would get them, and C libraries write to number 2.
    """
    with contextlib.ExitStack() as stack:
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:
                stack.callback(os.close, os.open(os.devnull, os.O_RDWR))  # which takes the least number that is free
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123 - it is no path
        if not is_open(sys.stdout):
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if not is_open(sys.stderr):
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


@contextlib.contextmanager
def unlogged(name: str) -> Iterator[None]:
    """Keeps this thread's messages out of the host program's log, and off the terminal where it has none."""
    thread = threading.get_ident()
    logger = logging.getLogger(name)

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


PATIENCE = 0.5  # seconds before it is told
_hushed = 0


@contextlib.contextmanager
def told_on_terminal(text: str) -> Iterator[None]:
    """Shows a line on standard error after `PATIENCE`, where that is a terminal and no run tells how far it is."""
    if _hushed or not is_terminal(sys.stderr):
        yield
        return
    line, lock, is_shown, is_over = printable(text), threading.Lock(), threading.Event(), threading.Event()

    def show() -> None:
        with lock:
            if not is_over.is_set():
                is_shown.set()
                _write(line)

    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            is_over.set()
        if is_shown.is_set():
            _write(f"\r{' ' * len(line)}\r")


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Shows no such line: a run has a progress bar, or none by its user's wish."""
    global _hushed  # noqa: PLW0603
    _hushed += 1
    try:
        yield
    finally:
        _hushed -= 1


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()

"""The compiler's process: it compiles for this one, which then holds none of LLVM's passes.

So gcc has its cc1. LLVM takes 40 MB that a process does not get back. Where no such process can be had, code is
compiled here.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tilejit.compiler.jit import (
    assembly,
    lanes,
    object_compiler,
    plain_calls,
    plain_expressions,
    plain_functions,
    plain_module,
    sorting,
    values,
)
from tilejit.compiler.jit.machine_code import llvm_at_work
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader, BufferedWriter

Compiled = tuple[str, list[str], bytes]
"""What `object_compiler.compile_text` returns."""

IDLE_SECONDS = 10.0
"""How long the process waits for the next function."""
_START = """
import json, sys, types
path, texts, idle_seconds = json.loads(sys.stdin.buffer.readline())
sys.path[:] = path
for name, text in texts:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
module.serve(idle_seconds)
"""
_RUN = values, assembly, sorting, lanes, plain_calls, plain_expressions, plain_functions, plain_module, object_compiler
"""The modules whose text it runs, each after those that it imports: importing them would import tilejit."""


class _EndedError(Exception):
    """The process has ended without an answer."""


class _Process:
    """A process that compiles, and the pipes to it."""

    def __init__(self) -> None:
        texts = [(module.__name__, inspect.getsource(module)) for module in _RUN]
        self.process = subprocess.Popen(  # noqa: S603 - Python itself
            [sys.executable, "-I", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # whose threads would take memory
            start_new_session=True,  # Ctrl-C is this process's own affair
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._requests, self._replies = (
            cast("BufferedWriter", self.process.stdin),
            cast("BufferedReader", self.process.stdout),
        )
        self._send((sys.path, texts, IDLE_SECONDS))

    def _send(self, value: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self._requests.write(json.dumps(value).encode() + b"\n")
            self._requests.flush()

    def compile(self, request: Mapping[str, Any]) -> Compiled:
        """Has a function compiled; see `compile_text`."""
        self._send(request)
        line = self._replies.readline()
        head: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"size": 1}
        code = self._replies.read(head["size"])
        if len(code) < head["size"]:
            raise _EndedError
        if "error" in head:
            raise BackendError(head["error"])
        return head["symbol"], head["needs"], code

    def leave(self) -> None:
        """Closes a forked process's copies of the pipes; what another thread was writing then is not written again."""
        self.process.returncode = 0  # which nobody waits for
        for pipe in (self._requests, self._replies):
            pipe.raw.close()

    def end(self) -> None:
        """Ends it; it has nothing to lose."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError), self.process:
            pass


class _Compiler:
    """The process that there is, and whether there can be one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.process: _Process | None = None
        self.is_possible = _is_python(sys.executable)

    def end(self) -> None:
        """Ends the process, if there is one; a thread that waits for code has it first."""
        with self.lock:
            if self.process is not None:
                self.process.end()
                self.process = None

    def forget(self) -> None:
        """Leaves the process, in one that was forked, to the one that it belongs to."""
        if self.process is not None:
            self.process.leave()
        self.__init__()  # type: ignore[misc]

    def compile(self, request: Mapping[str, Any]) -> Compiled | None:
        """Has a function compiled; None where there is no process for it."""
        with self.lock:
            for _ in range(2):  # the first may have waited long enough, and be about to end
                try:
                    process = self.process = self.process or _Process()
                    return process.compile(request)
                except BackendError:
                    raise
                except OSError:  # no process can be started, or this module has no source
                    break
                except _EndedError:
                    self._bury(process)
                except BaseException:
                    self.end()
                    raise
            self.is_possible = False
            return None

    def _bury(self, process: _Process) -> None:
        """Takes note of a process that has ended by itself; one that was ended is an error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.process.wait(10)
        code = process.process.returncode
        self.end()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            raise BackendError(f"the process that compiles was ended by {name}, as where memory runs out: free some, "
                               "or compile on another machine with the same TILEJIT_CACHE_DIR")  # fmt: skip


def _is_python(executable: str | None) -> bool:
    """Whether this is Python's own program; programs that hold Python would start once more."""
    return bool(executable) and not hasattr(sys, "frozen") and Path(executable or "").stem.startswith("python")


_compiler = _Compiler()
atexit.register(_compiler.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compiler.forget)
end = _compiler.end


def is_apart() -> bool:
    """Whether functions are compiled in a process of their own."""
    return _compiler.is_possible


def compile_text(text: str, name: str, function: str, types: Sequence[Sequence[Any]]) -> Compiled:
    """Compiles a function of a module."""
    if is_apart():
        compiled = _compiler.compile({"text": text, "name": name, "function": function, "types": types})
        if compiled is not None:
            return compiled
    try:
        with llvm_at_work:
            return object_compiler.compile_text(text, name, function, types)
    except Exception as error:
        raise BackendError(object_compiler.error_text(error)) from error

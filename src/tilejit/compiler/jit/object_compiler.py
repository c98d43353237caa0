"""The object code of functions of a module's text: in this process, or in one that does only that.

A process of its own runs the text of this file and of those that it imports, and imports nothing else of tilejit
(`compile_process`).
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.plain_module import PlainModule
from tilejit.compiler.jit.values import UnknownTextError

if TYPE_CHECKING:
    from collections.abc import Sequence


def compile_text(text: str, name: str, function: str, types: Sequence[Sequence[Any]]) -> tuple[str, list[str], bytes]:
    """Returns a function's symbol, what it calls outside, and its object file, for (dtype, dimensions, layout)s.

    Raises:
        UnknownTextError: The module has what tilejit never writes.
    """
    module = PlainModule(text, name)
    symbol = module.entry(function, types)
    made = optimised(module.text)
    needs = [f.name for f in made.functions if f.is_declaration and not f.name.startswith("llvm.")]
    return symbol, sorted(needs), this_machine().emit_object(made)


def optimised(text: str) -> Any:
    """Returns LLVM's module of a text in its assembly language, after all passes."""
    import llvmlite.binding as llvm

    options = llvm.create_pipeline_tuning_options()
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = llvm.get_process_triple(), str(this_machine().target_data)
    module.verify()
    options.speed_level, options.loop_vectorization, options.slp_vectorization = 3, True, False
    builder = llvm.create_pass_builder(this_machine(), options)
    builder.getModulePassManager().run(module, builder)
    return module


@functools.cache
def this_machine() -> Any:
    """Returns what compiles for this machine, as Numba describes it to LLVM."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name(),
        features=os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def serve(idle_seconds: float) -> None:
    """Answers the lines of the standard input until it ends, or none comes for a while; then the process is over."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what LLVM prints is no reply
    while True:
        idle = threading.Timer(idle_seconds, os._exit, (0,))
        idle.daemon = True
        idle.start()
        line = sys.stdin.buffer.readline()
        idle.cancel()
        if not line:
            os._exit(0)
        head, code = _answer(**json.loads(line))
        replies.write(json.dumps({**head, "size": len(code)}).encode() + b"\n" + code)
        replies.flush()


def _answer(**request: Any) -> tuple[dict[str, Any], bytes]:
    try:
        symbol, needs, code = compile_text(**request)
    except Exception as error:  # noqa: BLE001 - the process that asked raises it
        return {"error": error_text(error)}, b""
    return {"symbol": symbol, "needs": needs}, code


def error_text(error: Exception) -> str:
    """Returns what is said of an error of the compiler."""
    if isinstance(error, UnknownTextError):
        return (
            f"tilejit has written what it cannot compile, which is a mistake of its own: {error}, in {error.statement}"
        )
    return f"{type(error).__name__}: {error}"

"""A kernel compiled for a GPU and assembled without one: what tests can see of the CUDA backend.

NVVM turns the generated module into PTX, and ptxas, the assembler, says what it makes of that: registers, spills. Both
come as wheels (the extra ``ptx``); no driver is needed.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tilejit.backends import simulating
from tilejit.backends.cuda import argument_types, load_launch
from tilejit.backends.cuda_device import numba_cuda, part
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from tilejit.compiler.form.kinds import Signature
    from tilejit.kernel.kernel import Kernel

_INSTALL = "pip install 'tilejit[ptx]'"
_PATCH = threading.Lock()


@dataclass(frozen=True, slots=True)
class PtxReport:
    """What a kernel compiles to: static counts, for one thread, which computes one pixel."""

    registers: int
    """Registers of a thread; above 32 fewer than the most threads fit on a multiprocessor."""
    spill_stores: int
    """Bytes of registers written to local memory because there are too few."""
    spill_loads: int
    """Bytes read back."""
    stack: int
    """Bytes of local memory of a thread."""
    instructions: int
    """Instructions in the PTX."""
    float64_instructions: int
    """Those that touch float64, which many cards compute at 1/64 of the rate of float32."""
    loads: int
    """Loads from global memory."""
    index_selects: int
    """64-bit selects, by which Numba wraps signed indices around."""


def compile_ptx(kernel: Kernel, signature: Signature, compute_capability: tuple[int, int] = (9, 0)) -> str:
    """Returns the kernel's PTX.

    Args:
        kernel: The kernel.
        signature: The dtypes.
        compute_capability: The architecture: 8.0 is A100, 9.0 H100 and H200.

    Raises:
        BackendError: numba-cuda or NVVM is not installed, or Numba simulates CUDA.
    """
    if find_spec("numba_cuda") is None:
        raise BackendError(f"no PTX without numba-cuda: {_INSTALL}")
    cuda = numba_cuda()
    if simulating():
        raise BackendError("no PTX from the simulator: unset NUMBA_ENABLE_CUDASIM")
    if not part("cudadrv.nvvm").is_available():
        raise BackendError(f"no PTX: libNVVM, the compiler, cannot be found: {_INSTALL}")
    dispatcher = part("dispatcher")
    launch = load_launch(kernel, signature)
    with _PATCH:
        # A device function that is not inlined asks for the current device's architecture, and there is no device.
        real, device = dispatcher.get_current_device, SimpleNamespace(compute_capability=compute_capability)
        dispatcher.get_current_device = lambda: device
        try:
            types = argument_types(kernel, signature)
            fastmath = launch.targetoptions["fastmath"]
            text, _ = cuda.compile_ptx(launch.py_func, types, cc=compute_capability, fastmath=fastmath)
        finally:
            dispatcher.get_current_device = real
    return str(text)


def assemble(ptx: str, compute_capability: tuple[int, int] = (9, 0)) -> PtxReport:
    """Assembles PTX and returns what came of it.

    Raises:
        BackendError: There is no ptxas, or it refuses the text.
    """
    log = _ptxas_log(ptx, compute_capability)
    instructions = _instructions(ptx)
    return PtxReport(
        registers=_number(r"Used (\d+) registers", log),
        spill_stores=_number(r"(\d+) bytes spill stores", log),
        spill_loads=_number(r"(\d+) bytes spill loads", log),
        stack=_number(r"(\d+) bytes stack frame", log),
        instructions=len(instructions),
        float64_instructions=sum(".f64" in i for i in instructions),
        loads=sum(i.startswith("ld.global") for i in instructions),
        index_selects=sum(i.startswith(("selp.b64", "selp.s64", "selp.u64")) for i in instructions),
    )


def _ptxas_log(ptx: str, compute_capability: tuple[int, int]) -> str:
    major, minor = compute_capability
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        source, target = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx, encoding="utf-8")
        command = [find_ptxas(), f"-arch=sm_{major}{minor}", "-v", "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(f"ptxas refuses the kernel for sm_{major}{minor}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def find_ptxas() -> str:
    """Returns the path of ptxas, from the wheel nvidia-cuda-nvcc or an installed toolkit.

    Raises:
        BackendError: There is none.
    """
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError as error:
        raise BackendError(f"no ptxas: cuda-pathfinder, which finds it, is not installed: {_INSTALL}") from error
    found: Any = pathfinder.find_nvidia_binary_utility("ptxas")
    if found is None:
        raise BackendError(f"no ptxas: neither the wheel nvidia-cuda-nvcc nor a CUDA toolkit is here: {_INSTALL}")
    return str(found)


def _instructions(ptx: str) -> list[str]:
    """The instructions of PTX without their predicates: tab-indented lines that are no directive."""
    return re.findall(r"^\s+(?:@!?%p\d+\s+)?([a-z][\w.:]*\s[^;]*|ret|exit);", ptx, re.MULTILINE)


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    if found is None:
        raise BackendError(f"ptxas says nothing of {pattern!r}: {log.strip()}")
    return int(found.group(1))

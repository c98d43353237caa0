"""The one way to ``numba.cuda``, the GPU that there is or why none can be used, and what Numba's simulator lacks.

Importing it takes half a second: everything else asks here, on first use. numba-cuda puts itself in the place of the
``numba.cuda`` that comes with Numba; its successor numba-cuda-mlir has another name, and takes the same generated
modules.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import INSTALL_CUDA, missing_for_cuda, simulating
from tilejit.compiler.form.form import MATH
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable


@functools.cache
def numba_cuda() -> Any:
    """Imports ``numba.cuda`` and mends what stands in its way."""
    if not hasattr(np, "row_stack"):
        # numba-cuda 0.30 looks it up at the first compile, NumPy 2.5 removed it; upstream declined (#907, #916).
        setattr(np, "row_stack", np.vstack)  # noqa: B010 - NumPy's stubs do not have it
    cuda = importlib.import_module("numba.cuda")
    if not simulating():
        # A small tile is no mistake of the user's: under -W error the warning would stop the run.
        part("core.config").CUDA_LOW_OCCUPANCY_WARNINGS = 0
    return cuda


def part(name: str) -> Any:
    """Returns a module of ``numba.cuda``: numba-cuda's where that is installed, which Numba's own does not match."""
    return importlib.import_module(f"numba.cuda.{name}")


def versions() -> str:
    """Returns the versions that compiled code depends on."""
    found = [f"numba {importlib.metadata.version('numba')}"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found.append(f"numba-cuda {importlib.metadata.version('numba-cuda')}")
    return ", ".join(found)


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that kernels run on."""

    name: str
    """Its name."""
    memory: int
    """Its memory in bytes."""
    compute_capability: tuple[int, int]
    """Its architecture: 8.0 is A100, 9.0 H100 and H200."""
    driver: tuple[int, int]
    """The CUDA version that its driver supports."""

    def __str__(self) -> str:
        if not self.memory:  # the simulator
            return self.name
        return (f"{self.name}, {self.memory / 2**30:.0f} GiB, compute capability {_dotted(self.compute_capability)}, "
                f"driver for CUDA {_dotted(self.driver)}")  # fmt: skip


def why_none() -> str | None:
    """Returns what is missing, in words, or None when kernels can run."""
    missing = missing_for_cuda()
    if missing is not None or simulating():
        return missing
    try:
        return _problem(numba_cuda())
    except ImportError as error:  # Numba's CudaSupportError is one too
        return f"CUDA cannot be loaded: {one_line(error)}"


def current_device() -> Device:
    """Returns the GPU that kernels run on."""
    problem = why_none()
    if problem is not None:
        raise BackendError(f"no CUDA device: {problem}")
    if simulating():
        return Device("Numba's CUDA simulator", 0, (0, 0), (0, 0))
    return _device(numba_cuda())


def _problem(cuda: Any) -> str | None:
    nvvm = part("cudadrv.nvvm")
    if not nvvm.is_available():
        return f"libNVVM, the compiler, cannot be found: {INSTALL_CUDA}"
    if not cuda.is_available():
        return f"the CUDA driver does not answer: {one_line(cuda.cuda_error())}"
    if not len(cuda.gpus):
        return "the CUDA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return too_old(_device(cuda), cuda.runtime.get_version(), part("cudadrv.nvrtc").get_lowest_supported_cc())


def too_old(device: Device, toolkit: tuple[int, int], least: tuple[int, int]) -> str | None:
    """Returns why a device or its driver does not go with the compiler, or None."""
    if device.driver[0] < toolkit[0]:
        return (f"its driver supports CUDA {_dotted(device.driver)} and the compiler is of CUDA {_dotted(toolkit)}: "
                f"update the driver, or pip install 'numba-cuda[cu{device.driver[0]}]'")  # fmt: skip
    if device.compute_capability < least:
        return (f"{device.name} has compute capability {_dotted(device.compute_capability)}, and the compiler of CUDA "
                f"{_dotted(toolkit)} starts at {_dotted(least)}: try pip install 'numba-cuda[cu12]'")  # fmt: skip
    return None


def _device(cuda: Any) -> Device:
    """Describes the first device, without the context that would take half a gigabyte of it."""
    driver = part("cudadrv.driver").driver
    device = cuda.gpus[0]
    major, minor = device.compute_capability
    return Device(
        name=str(device.name),
        memory=int(driver.cuDeviceTotalMem(device.id)),
        compute_capability=(int(major), int(minor)),
        driver=driver.get_version(),
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def one_line(error: object) -> str:
    """Returns an error's text without line breaks."""
    return " ".join(str(error).split())


def speak_c(module: Any) -> None:
    """Lets a module behave in the simulator as on a device, where no arithmetic raises or warns."""
    module.math = SimpleNamespace(**{name: getattr(np, name, None) or _of_python(name) for name in MATH})
    module.i64, module.u64 = _signed, _unsigned
    module.launch.fn = _Silent(module.launch.fn)


class _Silent:
    """A function without NumPy's warnings: errstate holds for one thread, and the simulator has one for each pixel."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__globals__ = function.__globals__  # where the simulator puts its own ``cuda``

    def __call__(self, *arguments: Any) -> None:
        with np.errstate(all="ignore"):
            self.function(*arguments)


def _of_python(name: str) -> Callable[[Any], Any]:
    """A function of ``math`` that NumPy does not have: erf, erfc, gamma, lgamma."""

    def function(value: Any) -> Any:
        try:
            return getattr(math, name)(value)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return function


def _unsigned(value: Any) -> np.uint64:
    return np.uint64(int(value) % 2**64)


def _signed(value: Any) -> np.int64:
    return _unsigned(value).view(np.int64)

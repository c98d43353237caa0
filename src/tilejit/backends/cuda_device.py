"""The GPU that there is, or why none can be used."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from tilejit.backends.cuda_adapter import numba_cuda, part, simulating
from tilejit.errors import BackendError

INSTALL = "pip install 'tilejit[cuda]'"


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
    if simulating():
        return None
    if find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed: {INSTALL}"
    if not _has_driver():
        return "the CUDA driver is not installed"
    try:
        return _problem(numba_cuda())
    except ImportError as error:  # Numba's CudaSupportError is one too
        return f"CUDA cannot be loaded: {one_line(error)}"


def current_device() -> Device:
    """Returns the GPU that kernels run on.

    Raises:
        BackendError: There is none.
    """
    problem = why_none()
    if problem is not None:
        raise BackendError(f"no CUDA device: {problem}")
    if simulating():
        return Device("Numba's CUDA simulator", 0, (0, 0), (0, 0))
    return _device(numba_cuda())


def _has_driver() -> bool:
    """Whether the driver's library loads: asked first, because importing numba.cuda takes 0.3 s and 65 MB."""
    if os.environ.get("NUMBA_CUDA_DRIVER"):  # numba-cuda looks there, and says what it finds
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _problem(cuda: Any) -> str | None:
    nvvm = part("cudadrv.nvvm")
    if not nvvm.is_available():
        return f"libNVVM, the compiler, cannot be found: {INSTALL}"
    if not cuda.is_available():
        return f"the CUDA driver does not answer: {one_line(cuda.cuda_error())}"
    if not len(cuda.gpus):
        return "the CUDA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return too_old(_device(cuda), cuda.runtime.get_version(), part("cudadrv.nvrtc").get_lowest_supported_cc())


def too_old(device: Device, toolkit: tuple[int, int], least: tuple[int, int]) -> str | None:
    """Returns why a device or its driver does not go with the compiler, or None.

    Args:
        device: The device.
        toolkit: The CUDA version of the compiler.
        least: The lowest compute capability that it compiles for.
    """
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

"""Backends, which turn a kernel into a launch: one file and one line of a table each; and how a launch is stopped.

A launch hears that it is to stop, and tells how far it is, by three words of memory that both sides look at: its
control. Compiled loops look at one of them before each row and count rows in another. That costs nothing that can be
measured, and a run on any number of threads stops within the time of a row.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
import threading
from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from tilejit.errors import BackendError
from tilejit.system.signals import AwaitedThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.counts import Counts
    from tilejit.kernel.kernel import Kernel

BACKENDS = {
    "python": "tilejit.backends.python:PythonBackend",
    "cpu": "tilejit.backends.cpu:CpuBackend",
    "cuda": "tilejit.backends.cuda:CudaBackend",
}
"""Name -> where the class is; a heavy import happens when its backend is first asked for."""
_OF_ARRAYS = "tilejit.backends.blocks:BlockBackend"


class Launch(Protocol):
    """A compiled kernel, called for each tile."""

    def __call__(
        self,
        arrays: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        nodata: Sequence[Any],
        scalars: Sequence[Any],
        control: LaunchControl | None = None,
    ) -> Counts:
        """Computes one tile.

        Args:
            arrays: For each raster its cells, C-contiguous, padded by the kernel's radius on every side; after the
                array of an integer parameter comes its validity (uint8, 1 where valid), of the same shape.
            outputs: For each result an array of the inner shape, which is overwritten; of one with a value for each
                layer (layer, row, col), which may be some rows of a C-contiguous array.
            nodata: For each result its nodata value, in the result's dtype.
            scalars: For each keyword-only parameter a number in the compute dtype; for a quantity that varies by row
                or column a 1-D array over the inner rows or columns; for ROW and COL that of the first pixel.
            control: What stops it, and tells how far it is. A launch that was stopped leaves its outputs half written.

        Returns:
            What is to be told of its pixels, such as how many valid ones got a result that equals nodata.
        """
        ...


class Backend(Protocol):
    """Compiles kernels for one kind of hardware."""

    name: str
    """What ``backend=`` calls it."""

    def why_not(self) -> str | None:
        """Returns why it cannot run on this machine, or None when it can."""
        ...

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the launch of ``kernel`` for one signature."""
        ...

    def functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """Returns the native functions of the launch; what is compiled for a device is none."""
        ...

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the generated source."""
        ...


@runtime_checkable
class SettlingBackend(Backend, Protocol):
    """A backend that can also go over a tile in place until no cell of it changes any more."""

    def compile_settling(self, kernel: Kernel, signature: Signature, scans: int) -> Launch:
        """Returns a launch that first settles its first array so, in so many scans at most."""
        ...

    def settling_functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """Returns the native functions of such a launch."""
        ...


def backend_of(kernel: Kernel, name: str) -> Backend:
    """Returns what runs a kernel in a job of a backend: bodies of arrays are called by Python where no GPU is.

    Raises:
        BackendError: There is no such backend.
    """
    return _made(_OF_ARRAYS) if kernel.kind == "block" and name != "cuda" else get_backend(name)


def get_backend(name: str) -> Backend:
    """Returns the backend of that name.

    Raises:
        BackendError: There is none.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend {name!r}; there are {', '.join(BACKENDS)} and auto")
    return _made(BACKENDS[name])


@functools.cache
def _made(place: str) -> Backend:
    module, _, attribute = place.partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend


INSTALL_CUDA = "pip install 'tilejit[cuda]'"


def simulating() -> bool:
    """Whether NUMBA_ENABLE_CUDASIM is set: kernels run in Python, for tests.

    Read as Numba reads it, without the 0.1 s that importing Numba's configuration takes: planning asks this.
    """
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0").strip() not in {"", "0"}


def missing_for_cuda() -> str | None:
    """Returns what is not installed that a GPU needs: asked first, for importing numba.cuda takes 0.3 s and 65 MB."""
    if simulating():
        return None
    if find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed: {INSTALL_CUDA}"
    if os.environ.get("NUMBA_CUDA_DRIVER"):  # numba-cuda looks there, and says what it finds
        return None
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "the CUDA driver is not installed"
    return None


T = TypeVar("T")
LaunchControl: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""Three integers, at STOP, ROWS and OF."""

STOP, ROWS, OF = 0, 1, 2
"""Whether to stop (not 0); how many rows are done; of how many."""


def new_control() -> LaunchControl:
    """Returns the control of a launch that nobody has stopped."""
    return np.zeros(3, np.int64)


def interruptible(call: Callable[[], T], control: LaunchControl) -> T:
    """Calls compiled code so that Ctrl-C stops it.

    Python's signal handlers run in the main thread, and only between its own instructions. So the main thread hands
    the call to another one and waits; any other thread makes it itself.

    Example:
        >>> interruptible(lambda: 42, new_control())
        42
    """
    return on_threads(call, 1, control, joins=threading.current_thread() is not threading.main_thread())[0]


def on_threads(call: Callable[[], T], count: int, control: LaunchControl, *, joins: bool) -> list[T]:
    """Makes the same call on several threads at once, and waits for all of them.

    Threads are started for each call, and none is left over that a forked process would wait for: starting one takes
    0.1 ms, while those before it are computing already. Ctrl-C stops the calls, and an error in one of them; both are
    raised when the calls have returned, unless a second Ctrl-C gives up on them. This thread is one of them where it
    ``joins``: in the main thread Ctrl-C then waits for the call's next step in Python. ``control`` may be several, one
    a row.

    Example:
        >>> on_threads(lambda: 42, 2, new_control(), joins=True)
        [42, 42]
    """
    if joins and count == 1:
        return [call()]
    futures: list[Future[T]] = [Future() for _ in range(count)]
    threads = [AwaitedThread(partial(_answer, f, call, control), "tilejit-call") for f in futures[joins:]]
    try:
        for thread in threads:
            thread.start()
        if joins:
            _answer(futures[0], call, control)
        for thread in threads:
            thread.wait()
    except BaseException:
        control[..., STOP] = 1
        try:
            for thread in threads:
                thread.wait()
        except KeyboardInterrupt as second:
            second.add_note("the kernel does not stop: it runs until this process ends, and calls may wait for it")
            raise
        raise
    return [future.result() for future in futures]


def _answer(future: Future[T], call: Callable[[], T], control: LaunchControl) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
        control[..., STOP] = 1
        future.set_exception(error)

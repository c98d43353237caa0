"""What a child process is told to measure: plain values that JSON holds, so that nothing live crosses over."""

from __future__ import annotations

import importlib.machinery
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import KernelError

if TYPE_CHECKING:
    from tilejit.kernel.kernel import Edge, Kernel


@dataclass(frozen=True, slots=True)
class Task:
    """One way on one count of cores."""

    way: str
    """The way's name."""
    cores: int
    """Cores that it may use; it is held to them where the system can."""
    kernel: str
    """The kernel, as `tilejit.kernel.discovery.find_kernel` finds it."""
    inputs: tuple[tuple[str, int], ...]
    """A file and a band for each raster parameter."""
    parameters: dict[str, Any]
    """The kernel's keyword-only parameters that are given."""
    rows: int
    """Rows of the inputs that are computed, from the first."""
    seconds: float
    """How long a way that is too slow for all of it may run."""
    reference: str
    """The pixels that tilejit gets, a ``.npy``; it is written where there is none."""
    edge: Edge | None = None
    """What lies outside the raster; None for what the kernel declares."""
    search_path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    """Where modules are looked for."""

    def write(self, path: Path) -> None:
        """Writes it for a child process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """Reads what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        pairs = tuple((str(file), int(band)) for file, band in values.pop("inputs"))
        return cls(inputs=pairs, search_path=tuple(values.pop("search_path")), **values)


def kernel_name(kernel: Kernel) -> str:
    """Returns the name by which another process finds a kernel: ``module:name``, or ``file.py:name``.

    Raises:
        KernelError: It was typed into a console or a notebook, where no other process can find it.

    Example:
        >>> from tilejit.kernel.discovery import find_kernel
        >>> kernel_name(find_kernel("slope"))
        'tilejit_kernels.terrain:slope'
    """
    if _is_importable(kernel):
        return f"{kernel.module}:{kernel.name}"
    file = _file(kernel)
    if not file.is_file():
        raise KernelError(
            f"{kernel.name} is defined in {file}, where other processes cannot find it: "
            "put it into a file, and give my_kernels.py:name or import it from there"
        )
    return f"{file.resolve()}:{kernel.name}"


def _file(kernel: Kernel) -> Path:
    return Path(kernel.source.function.__code__.co_filename)


def _is_importable(kernel: Kernel) -> bool:
    """Whether a new process that imports the module gets this very file."""
    if kernel.module == "__main__":
        return False
    if "." in kernel.module:  # files that are loaded by their path have plain names
        return True
    spec = importlib.machinery.PathFinder.find_spec(kernel.module)
    return spec is not None and Path(spec.origin or "") == _file(kernel)

"""Measurements of this machine, each made once and kept beside the compiled kernels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.cache import cache_folder
from tilejit.compiler.jit.kept import read_kept, write_kept
from tilejit.system.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Numbers = Mapping[str, float]
    Tell = Callable[[str], None]

_PACKAGES = ("tilejit", "numpy", "numba", "rasterio", "imagecodecs", "tifffile")
"""What the measured code is made of: another version may be faster."""


class Calibration:
    """A file of measurements, read when it is made; a measurement that is missing there is made and added.

    Args:
        path: The file, of JSON, as `tilejit.compiler.jit.kept` writes it; None where nothing can be kept. What it
            holds counts only where it was measured on this machine, with these versions.
        tell: Called with a line before something is measured for the first time.
    """

    def __init__(self, path: Path | None, tell: Tell | None = None) -> None:
        self.path = path
        self._tell = tell
        self._machine = machine()
        self._kept = self._read()

    def measured(self, what: str, key: Iterable[Any], names: Iterable[str], measure: Callable[[], Numbers]) -> Numbers:
        """Returns a measurement.

        Args:
            what: What is measured, for people.
            key: All that it depends on, beside the machine; its text tells one measurement from another.
            names: The numbers that it has.
            measure: Makes it; called only where it is not kept, or what is kept makes no sense.
        """
        entry = f"{what} {hashlib.sha256(repr(tuple(key)).encode()).hexdigest()[:20]}"
        kept = _checked(self._kept.get(entry), set(names))
        if kept is not None:
            return kept
        if self._tell is not None:
            self._tell(what)
        self._kept[entry] = numbers = measure()
        self._write()
        return numbers

    def _read(self) -> dict[str, Any]:
        """What is kept; nothing where the file is missing, damaged or of another machine: all is measured anew."""
        try:
            content = json.loads((None if self.path is None else read_kept(self.path)) or b"")
        except ValueError:
            return {}
        if not isinstance(content, dict) or content.get("machine") != self._machine:
            return {}
        kept = content.get("measurements")
        return kept if isinstance(kept, dict) else {}

    def _write(self) -> None:
        """Adds to what another process has written meanwhile."""
        content = {"machine": self._machine, "measurements": {**self._read(), **self._kept}}
        # Where nothing can be kept (a full disk), the next process measures again.
        if self.path is not None:
            write_kept(self.path, json.dumps(content, indent=1).encode())


def calibration_file() -> Path | None:
    """Returns the file of this machine's measurements: machines that share a home have one each."""
    digest = hashlib.sha256(json.dumps(machine()).encode()).hexdigest()[:12]
    folder = cache_folder()[0]
    return None if folder is None else folder / f"calibration-{digest}.json"


def machine() -> dict[str, Any]:
    """Returns what measurements depend on: the processor, its cores, and the packages' versions."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {platform.machine()}"
    return f"{platform.processor()}, {platform.machine()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _checked(kept: Any, names: set[str]) -> Numbers | None:
    """A measurement as it was kept, or None where it makes no sense."""
    if not isinstance(kept, dict) or set(kept) != names:
        return None
    return kept if all(isinstance(v, (int, float)) and 0 <= v < math.inf for v in kept.values()) else None

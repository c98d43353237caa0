"""libtiff below GDAL, which prints errors of its own on standard error, whatever handler GDAL has."""

from __future__ import annotations

import ctypes
from pathlib import Path


def hush_libtiff() -> None:
    """Takes away libtiff's own error handler, which prints; GDAL is told of each error all the same.

    Where a disk is full it prints a line for each block that GDAL tries to write: forty of them, for one fault. What
    GDAL brings inside of it, or has elsewhere than in a shared library of that name, goes on as it does.
    """
    for path in _loaded("libtiff"):
        handler = getattr(ctypes.CDLL(path), "TIFFSetErrorHandler", None)
        if handler is not None:
            handler.argtypes, handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
            handler(None)


def _loaded(name: str) -> set[str]:
    """The files of the shared libraries of that name that this process has loaded; none where that is not told."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    files = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    return {file for file in files if Path(file).name.startswith(name) and ".so" in file}

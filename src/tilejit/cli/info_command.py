"""``tilejit info``."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import click
import numpy as np

from tilejit.cli.console import show_labelled
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command("info")
def command() -> None:
    """Tell about this machine and what tilejit finds on it."""
    lines = []
    for label, tell in _LINES.items():
        try:
            text = tell()
        except Exception as error:  # noqa: BLE001 - what is broken is what this command is for
            text = f"cannot be told: {type(error).__name__}: {error}"
        lines.append(f"{label:<10}{text}")
    show_labelled("\n".join(lines))


def _tilejit() -> str:
    import tilejit

    return f"{tilejit.__version__}, in {os.path.dirname(tilejit.__file__)}"  # noqa: PTH120 - a string is shown


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> str:
    from tilejit.backends.numba_info import numba_versions
    from tilejit.formats.gdal.library import gdal_versions

    versions = {"numpy": np.__version__, **numba_versions(), **gdal_versions()}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _cores() -> str:
    from tilejit.system.limits import core_limit

    limit, machine = core_limit(), os.cpu_count() or 1
    return str(machine) if limit.value == machine else f"{limit.value} of {machine}, by {limit.name}"


def _memory() -> str:
    from tilejit.system.limits import memory_limit

    limit = memory_limit()
    return "not told by this system" if limit is None else f"{format_size(limit.value)} left by {limit.name}"


def _gpu() -> str:
    from tilejit.backends.cuda import CudaBackend

    backend = CudaBackend()
    obstacle = backend.why_not()
    return f"none: {obstacle}" if obstacle is not None else str(backend.device())


def _cache() -> str:
    from tilejit.compiler.jit.cache import cache_folder

    folder, reason = cache_folder()
    if folder is None:
        return reason
    count = sum(file.suffix in {".o", ".nbc"} for file in folder.iterdir())
    return f"{folder} ({reason}): {counted(count, 'compiled function')}"


def _loading() -> str:
    from tilejit.compiler.jit.native_function import loader

    _, obstacle = loader()
    if not obstacle:
        return "machine code that is kept is loaded without Numba"
    return f"kept code is loaded through Numba, which each process then imports: {obstacle}"


def _codecs() -> str:
    from tilejit.formats.gdal.library import codecs

    return ", ".join(codecs())


def _kernels() -> str:
    from tilejit.kernel.discovery import collections

    return ", ".join(
        f"{c.name} (broken: {c.problem})" if c.problem else f"{c.name} ({len(c.kernels)})" for c in collections()
    )


_LINES: dict[str, Callable[[], str]] = {
    "tilejit": _tilejit,
    "python": _python,
    "packages": _packages,
    "cores": _cores,
    "memory": _memory,
    "gpu": _gpu,
    "cache": _cache,
    "loading": _loading,
    "codecs": _codecs,
    "kernels": _kernels,
}
"""Label -> what is told."""

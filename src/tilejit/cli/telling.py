"""``tilejit list``, ``show``, ``warm`` and ``info``: kernels, what is made of them, and what this machine is."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
import numpy as np

from tilejit.backends import backend_of
from tilejit.cli.console import console, on_terminal, say, show_labelled, show_source
from tilejit.errors import ParameterError, printable
from tilejit.kernel.discovery import Collection, collections, find_kernel, kernels_in
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.form.kinds import Signature
    from tilejit.kernel.decorators import Applicable

    Row = tuple[str, str, str, str]  # name, kind, signature, summary


@click.command("list")
@click.argument("where", required=False)
def list_kernels(where: str | None) -> None:
    """List the kernels that are installed; with WHERE those of a collection, a module or a file, or one kernel.

    A package's kernels are listed when it names their module under the entry-point group tilejit.kernels.
    """
    if where is None:
        rows = [row for collection in collections() for row in _rows(collection)]
    else:
        rows = [_row(name, kernel) for name, kernel in kernels_in(where).items()]
    if not rows:
        click.echo("no kernels", err=True)
    elif on_terminal():
        _show_table(rows)
    else:
        _show_lines(rows)


def _rows(collection: Collection) -> list[Row]:
    if collection.problem is not None:
        return [(collection.name, "broken", f"{collection.value} of {collection.package}", collection.problem)]
    return [_row(f"{collection.name}.{name}", kernel) for name, kernel in collection.kernels.items()]


def _row(name: str, kernel: Applicable) -> Row:
    return name, kernel.kind, kernel.usage, kernel.summary


def _show_lines(rows: Sequence[Row]) -> None:
    """One kernel a line: name, kind and summary in columns, then the signature."""
    lines = [(name, kind, summary.replace("\n", " "), signature) for name, kind, signature, summary in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    for line in lines:
        say("  ".join([*map(str.ljust, line[:3], widths), line[3]]))


def _show_table(rows: Sequence[Row]) -> None:
    """Two lines a kernel: name and summary, and the signature below."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, kind, signature, summary in (map(printable, row) for row in rows):
        broken = kind == "broken"
        said = Text(summary, style="red" if broken else "")
        said.append(f"\n{signature}", style="dim")
        table.add_row(Text(name, style="bold red" if broken else "bold cyan"), Text(kind, style="dim"), said)
    console().print(table)


@click.command("show")
@click.argument("kernel", metavar="KERNEL")
@click.option("--backend", type=click.Choice(["cpu", "cuda", "python"]), default="cpu", show_default=True,
              help="The backend that it is generated for; python shows the body itself.")  # fmt: skip
@click.option("--dtype", "dtypes", metavar="DTYPES", default="float32", show_default=True,
              help="What the inputs hold: one dtype, or one for each input, as uint16,float32.")  # fmt: skip
def show(kernel: str, backend: str, dtypes: str) -> None:
    """Print the source that tilejit generates for KERNEL, or for each kernel of a chain."""
    launches = _launches(find_kernel(kernel), dtypes)
    show_source("\n\n".join(backend_of(one, backend).source(one, signature) for one, signature in launches))


def _launches(kernel: Applicable, dtypes: str) -> list[tuple[Kernel, Signature]]:
    """A kernel, or each of a chain, with what it is compiled for."""
    from tilejit.raster.making import launches_of

    given = given_dtypes(kernel, dtypes)
    kernel = kernel.taking(len(given))
    return [(kernel, kernel.signature(given))] if isinstance(kernel, Kernel) else launches_of(kernel, given)


def given_dtypes(kernel: Applicable, text: str) -> list[np.dtype]:
    """Returns the dtypes of a kernel's inputs: one is given, or one for each; without more ``*rasters`` is one."""
    names = text.split(",")
    if len(names) == 1:
        names *= len(kernel.rasters)
    if len(names) != len(kernel.rasters) and not (kernel.star and len(names) > len(kernel.rasters)):
        listed = ", ".join(r.name for r in kernel.rasters)
        inputs = counted(len(kernel.rasters), "input")
        raise ParameterError(f"{counted(len(names), 'dtype')} for {inputs} ({listed}): give one, or one for each")
    return [_dtype(name.strip()) for name in names]


def _dtype(name: str) -> np.dtype:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or dtype == np.float16:
        raise ParameterError(f"{name!r} is no dtype of a raster: write uint8, int16, float32 or such")
    return dtype


@click.command("warm")
@click.argument("kernels", metavar="KERNEL...", nargs=-1, required=True)
@click.option("--dtypes", metavar="DTYPES", default=("float32",), show_default=True, multiple=True,
              help="What the inputs hold: one dtype, or one for each; may be given again.")  # fmt: skip
def warm(kernels: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """Compile KERNEL for the CPU, and keep that: a kernel, a chain, or all of a file, a module or a collection.

    It serves runs over files and calls with arrays whose outputs have the nodata value of their type.
    """
    from tilejit.compiler.jit.native_function import finish_compiling

    found = {name: kernel for where in kernels for name, kernel in kernels_in(where).items()}
    for name, kernel in found.items():
        for given in dtypes:
            _compile(name, kernel, given)
    finish_compiling()


def _compile(name: str, kernel: Applicable, dtypes: str) -> None:
    """Compiles what is not kept, and tells how long that took."""
    from tilejit.backends.cpu import CpuBackend

    functions = (one for launch in _launches(kernel, dtypes) for one in CpuBackend().functions(*launch))
    missing = [(function, types) for function, types in functions if not function.is_compiled(types)]
    start = time.perf_counter()
    for function, types in missing:
        function.load(types)
    took = f"{counted(len(missing), 'function')} in {time.perf_counter() - start:.1f} s" if missing else "kept already"
    say(f"{name}  {dtypes}  {took}")


@click.command("info")
def info() -> None:
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
    from tilejit.formats.gdal.library import gdal_versions

    names = ["numba", "llvmlite", *(["numba-cuda"] if find_spec("numba_cuda") is not None else [])]
    versions = {"numpy": np.__version__, **{name: metadata.version(name) for name in names}, **gdal_versions()}
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


def _codecs() -> str:
    from tilejit.formats.gdal.library import codecs

    return ", ".join(codecs())


def _kernels() -> str:
    return ", ".join(
        f"{c.name} (broken: {c.problem})" if c.problem else f"{c.name} ({len(c.kernels)})" for c in collections()
    )


_TOLD = (_tilejit, _python, _packages, _cores, _memory, _gpu, _cache, _codecs, _kernels)
_LINES: dict[str, Callable[[], str]] = {tell.__name__.removeprefix("_"): tell for tell in _TOLD}
"""Label -> what is told."""

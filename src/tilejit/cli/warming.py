"""``tilejit warm``: kernels are compiled now, so that no run waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tilejit.cli.console import say
from tilejit.cli.telling import given_dtypes
from tilejit.compiler.jit.native_function import finish_compiling
from tilejit.kernel.discovery import kernels_in
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted

if TYPE_CHECKING:
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.decorators import Applicable


@click.command("warm")
@click.argument("kernels", metavar="KERNEL...", nargs=-1, required=True)
@click.option("--dtypes", metavar="DTYPES", default=("float32",), show_default=True, multiple=True,
              help="What the inputs hold: one dtype, or one for each; may be given again.")  # fmt: skip
def warm(kernels: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """Compile KERNEL for the CPU, and keep that: a kernel, a chain, or all of a file, a module or a collection.

    It serves runs over files and calls with arrays whose outputs have the nodata value of their type.
    """
    found = {name: kernel for where in kernels for name, kernel in kernels_in(where).items()}
    for name, kernel in found.items():
        for given in dtypes:
            _compile(name, kernel, given)
    finish_compiling()


def _compile(name: str, kernel: Applicable, dtypes: str) -> None:
    """Compiles what is not kept, and tells how long that took."""
    missing = [(function, types) for function, types in _functions(kernel, dtypes) if not function.is_compiled(types)]
    start = time.perf_counter()
    for function, types in missing:
        function.load(types)
    took = f"{counted(len(missing), 'function')} in {time.perf_counter() - start:.1f} s" if missing else "kept already"
    say(f"{name}  {dtypes}  {took}")


def _functions(kernel: Applicable, dtypes: str) -> Functions:
    from tilejit.backends.cpu import CpuBackend
    from tilejit.raster.making import launches_of

    given = given_dtypes(kernel, dtypes)
    launches = [(kernel, kernel.signature(given))] if isinstance(kernel, Kernel) else launches_of(kernel, given)
    return [function for launch in launches for function in CpuBackend().all_functions(*launch)]

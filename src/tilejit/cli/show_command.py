"""``tilejit show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

from tilejit.backends import get_backend
from tilejit.cli.console import show_source
from tilejit.errors import ParameterError
from tilejit.kernel.discovery import find_kernel
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted

if TYPE_CHECKING:
    from tilejit.kernel.decorators import Applicable


@click.command("show")
@click.argument("kernel", metavar="KERNEL")
@click.option("--backend", type=click.Choice(["cpu", "cuda", "python"]), default="cpu", show_default=True,
              help="The backend that it is generated for; python shows the body itself.")  # fmt: skip
@click.option("--dtype", "dtypes", metavar="DTYPES", default="float32", show_default=True,
              help="What the inputs hold: one dtype, or one for each input, as uint16,float32.")  # fmt: skip
def command(kernel: str, backend: str, dtypes: str) -> None:
    """Print the source that tilejit generates for KERNEL, or for each kernel of a chain."""
    found = find_kernel(kernel)
    given = _dtypes(found, dtypes)
    if isinstance(found, Kernel):
        launches = [(found, found.signature(given))]
    else:
        from tilejit.raster.making import launches_of

        launches = launches_of(found, given)
    show_source("\n\n".join(get_backend(backend).source(*launch) for launch in launches))


def _dtypes(kernel: Applicable, text: str) -> list[np.dtype]:
    names = text.split(",")
    if len(names) == 1:
        names *= len(kernel.rasters)
    if len(names) != len(kernel.rasters):
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

"""What the decorators make: kernels, and chains of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, overload

from tilejit.compiler.form.parameters import read_output_dtypes, read_parameters, refuse_parameter
from tilejit.compiler.form.source import name_of
from tilejit.errors import KernelError
from tilejit.kernel.facts import names_in
from tilejit.kernel.kernel import Edge, Kernel, Nodata
from tilejit.kernel.raster_function import RasterFunction
from tilejit.kernel.reach import check_edge, read_radius

Output = Literal["value", "dates"]
"""What a series kernel gives: one value (or a tuple) through all dates, or one for each."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter
    from tilejit.kernel.reach import RadiusRule


@dataclass(frozen=True)
class Chain(RasterFunction):
    """A function of Rasters that applies kernels. Call it as a kernel: arrays give arrays, Rasters a lazy Raster.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.local
        ... def doubled(z):
        ...     return z * 2.0
        >>> @tj.chain
        ... def quadrupled(z):
        ...     return doubled(doubled(z))
        >>> quadrupled(np.float32([[1, 2]]))
        array([[4., 8.]], dtype=float32)
    """

    function: Callable[..., object]
    """The undecorated function."""
    rasters: tuple[RasterParameter, ...]
    """Its positional parameters."""
    scalars: tuple[ScalarParameter, ...]
    """Its keyword-only parameters."""

    kind: ClassVar[str] = "chain"
    """What lists call it."""

    def __repr__(self) -> str:
        return f"<chain {self.name}{self.usage} from {self.source.where}>"


Applicable = Kernel | Chain
"""What is called with rasters, and has a name to be found by."""


@overload
def local(body: Callable[..., object], /) -> Kernel: ...
@overload
def local(
    *, nodata: Nodata = "propagate", unit: str | None = None, fast: bool = False
) -> Callable[[Callable[..., object]], Kernel]: ...
def local(
    body: Callable[..., object] | None = None,
    /,
    *,
    nodata: Nodata = "propagate",
    unit: str | None = None,
    fast: bool = False,
) -> Kernel | Callable[[Callable[..., object]], Kernel]:
    """Declares a kernel that sees one pixel of each input.

    Args:
        body: A plain scalar function. Positional parameters are rasters, keyword-only ones scalars.
        nodata: ``"propagate"``: where an input is invalid, so is the result. ``"kernel"``: the body sees NaN there and
            asks ``tj.is_valid``.
        unit: The unit of the results, which outputs carry: ``"degree"``; ``"input"`` for that of the first raster.
        fast: Lets the compiler reorder arithmetic; results may then differ in the last bits between tile sizes.

    Raises:
        KernelError: The body says something that the language cannot take.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.local
        ... def scaled(z, *, factor=2.0):
        ...     return z * factor
        >>> scaled(np.float32([[1, 2]]), factor=10)
        array([[10., 20.]], dtype=float32)
    """
    if body is None:
        return lambda function: declare(function, kind="local", nodata=nodata, unit=unit, fast=fast)
    return declare(body, kind="local", nodata=nodata, unit=unit, fast=fast)


@overload
def focal(body: Callable[..., object], /) -> Kernel: ...
@overload
def focal(
    *,
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | RadiusRule | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Callable[[Callable[..., object]], Kernel]: ...
def focal(
    body: Callable[..., object] | None = None,
    /,
    *,
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | RadiusRule | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Kernel | Callable[[Callable[..., object]], Kernel]:
    """Declares a kernel that sees neighbours: ``z[dy, dx]`` is the cell ``dy`` rows south and ``dx`` columns east.

    Args:
        body: A plain scalar function. Positional parameters are rasters, keyword-only ones scalars.
        nodata: ``"propagate"``: where any cell that is read is invalid, so is the result; the pixel's own cell counts
            among them, whether the body reads it or not. ``"kernel"``: the body sees NaN there and asks
            ``tj.is_valid``.
        radius: How far it reads, in cells or as (rows, columns); read from the offsets where they are literals. A
            function of scalar parameters decides it at each call: ``radius=lambda sigma: math.ceil(3 * sigma)``.
        edge: What lies outside the raster: ``"nodata"``, ``"nearest"``, ``"reflect"`` (``dcba|abcd|dcba``),
            ``"wrap"`` or a number.
        unit: The unit of the results, which outputs carry: ``"degree"``; ``"input"`` for that of the first raster.
        fast: Lets the compiler reorder arithmetic; results may then differ in the last bits between tile sizes.

    Raises:
        KernelError: The body says something that the language cannot take.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.focal
        ... def rise(z):
        ...     return z[0, 1] - z[0, -1]
        >>> rise(np.float32([[1, 2, 5]]))
        array([[nan,  4., nan]], dtype=float32)
    """
    if body is None:
        return lambda function: declare(
            function, kind="focal", nodata=nodata, radius=radius, edge=edge, unit=unit, fast=fast
        )
    return declare(body, kind="focal", nodata=nodata, radius=radius, edge=edge, unit=unit, fast=fast)


@overload
def series(body: Callable[..., object], /) -> Kernel: ...
@overload
def series(
    *,
    output: Output = "value",
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Callable[[Callable[..., object]], Kernel]: ...
def series(
    body: Callable[..., object] | None = None,
    /,
    *,
    output: Output = "value",
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Kernel | Callable[[Callable[..., object]], Kernel]:
    """Declares a kernel that sees one pixel through all dates: ``t[k]``, ``t[k, dy, dx]``, ``len(t)``, ``t.time[k]``.

    Args:
        body: A plain scalar function. All positional parameters are stacks of as many layers, in the compute dtype or,
            where they are annotated with an integer dtype, as they are; keyword-only ones are scalars.
        output: ``"value"``: it returns one value, or a tuple of some, each a band. ``"dates"``: it returns an array as
            long as the stack, ``values = tj.zeros(len(t))``, and the result is a stack of the same dates; NaN in an
            array of floats is no data on that date.
        nodata: ``"propagate"``: where any layer that is read is invalid, so is the result. ``"kernel"``: the body sees
            NaN there and asks ``tj.is_valid(t[k])``.
        radius: As for `focal`, and so are the others.
        edge: What lies outside the raster.
        unit: The unit of the results, which outputs carry.
        fast: Lets the compiler reorder arithmetic.

    Raises:
        KernelError: The body says something that the language cannot take.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.series(nodata="kernel")
        ... def valid_dates(t, qa: np.uint8):
        ...     n = 0
        ...     for k in range(len(t)):
        ...         n += 1 if tj.is_valid(t[k]) and qa[k] == 0 else 0
        ...     return n
        >>> valid_dates(np.float32([[[1, np.nan]], [[3, 4]]]), np.uint8([[[0, 0]], [[0, 1]]]))
        array([[2, 0]], dtype=int32)
        >>> @tj.series(output="dates")
        ... def since_first(t):
        ...     values = tj.zeros(len(t))
        ...     for k in range(len(t)):
        ...         values[k] = t[k] - t[0]
        ...     return values
        >>> since_first(np.float32([[[1, 2]], [[3, 6]]]))
        array([[[0., 0.]],
        <BLANKLINE>
               [[2., 4.]]], dtype=float32)
    """
    if body is None:
        return lambda function: declare(
            function, kind="series", nodata=nodata, radius=radius, edge=edge, unit=unit, fast=fast, output=output
        )
    return declare(body, kind="series", nodata=nodata, radius=radius, edge=edge, unit=unit, fast=fast, output=output)


def chain(function: Callable[..., object], /) -> Chain:
    """Declares a chain of kernels: a function of Rasters that applies kernels and returns what they make.

    It is found, listed, planned and run by its name, as a kernel is. Its kernels run tile by tile, and what they hand
    each other is never stored. Write it with def, in a file or a notebook cell; its own lines are plain Python that
    runs once, with lazy Rasters.

    Args:
        function: Positional parameters are Rasters of one band, keyword-only ones scalars. It returns a Raster, or a
            tuple of Rasters, whose bands the output has in order.

    Raises:
        KernelError: Its signature says something else.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.focal
        ... def rise(z):
        ...     return z[0, 1] - z[0, -1]
        >>> @tj.local
        ... def at_least(z, *, limit=1.0) -> np.uint8:
        ...     return z >= limit
        >>> @tj.chain
        ... def steep(z, *, limit=3.0):
        ...     return at_least(rise(z), limit=limit)
        >>> steep(np.float32([[1, 2, 5]]))
        array([[255,   1, 255]], dtype=uint8)
    """
    names_in(function, "chain")
    rasters, scalars = read_parameters(function)
    for raster in rasters:
        if raster.dtype is not None:
            refuse_parameter(function, raster.name, f"{raster.name} is annotated {raster.dtype} in a chain",
                             "annotate it in the kernel that takes it")  # fmt: skip
    return Chain(function, rasters, scalars)


def declare(
    function: Callable[..., object],
    *,
    kind: Literal["local", "focal", "series", "zonal"],
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | RadiusRule | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
    output: Output = "value",
    is_double: bool = False,
) -> Kernel:
    """Makes a kernel of a body, refusing what its syntax alone shows to be wrong.

    Raises:
        KernelError: With the user's file, line, a caret and what to write instead.
    """
    names_in(function, "body")
    name = name_of(function)
    if nodata not in {"propagate", "kernel"}:
        raise KernelError(f"{name}: nodata={nodata!r}; it is 'propagate' or 'kernel'")
    rasters, scalars = read_parameters(function)
    if rasters[-1].star and kind in {"series", "zonal"}:
        refuse_parameter(function, rasters[-1].name, f"any number of rasters, *{rasters[-1].star}, in a {kind} kernel",
                         "name each: def f(a, b)")  # fmt: skip
    if kind == "series":
        rasters = tuple(replace(raster, is_stack=True) for raster in rasters)
    if output not in {"value", "dates"}:
        raise KernelError(f"{name}: output={output!r}; it is 'value' or 'dates'")
    check_edge(name, edge, rasters)
    outputs = read_output_dtypes(function)
    declared, rule = read_radius(name, radius, scalars)
    return Kernel(
        function, kind, rasters, scalars, declared, outputs, nodata, edge, unit, fast, rule, by_date=output == "dates",
        is_double=is_double,
    )  # fmt: skip

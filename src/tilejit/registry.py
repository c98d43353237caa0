"""The decorators, and how kernels are found by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from tilejit.kernel import Edge, Kernel, Nodata, declare

if TYPE_CHECKING:
    from collections.abc import Callable


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
        unit: The unit of the results, which outputs carry: ``"degree"``.
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
    radius: int | tuple[int, int] | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Callable[[Callable[..., object]], Kernel]: ...
def focal(
    body: Callable[..., object] | None = None,
    /,
    *,
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | None = None,
    edge: Edge = "nodata",
    unit: str | None = None,
    fast: bool = False,
) -> Kernel | Callable[[Callable[..., object]], Kernel]:
    """Declares a kernel that sees neighbours: ``z[dy, dx]`` is ``dy`` rows down and ``dx`` columns right.

    Args:
        body: A plain scalar function. Positional parameters are rasters, keyword-only ones scalars.
        nodata: ``"propagate"``: where any cell that is read is invalid, so is the result. ``"kernel"``: the body sees
            NaN there and asks ``tj.is_valid``.
        radius: How far it reads, in cells or as (rows, columns); read from the offsets where they are literals.
        edge: What lies outside the raster: ``"nodata"``, ``"nearest"``, ``"reflect"`` (``dcba|abcd|dcba``),
            ``"wrap"`` or a number.
        unit: The unit of the results, which outputs carry: ``"degree"``.
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

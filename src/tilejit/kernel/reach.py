"""How far a kernel reads, which a function of its scalar parameters may decide at each call; and its edge."""

from __future__ import annotations

import inspect
import operator
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import LazyScalar
from tilejit.compiler.form.parameters import REQUIRED
from tilejit.errors import KernelError, ParameterError
from tilejit.kernel.nodata import holds_nodata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter

    RadiusRule = Callable[..., Any]
    """Parameters of its own that are a kernel's too -> how far that reads."""

_EDGES = ("nodata", "nearest", "reflect", "wrap")


def read_radius(name: str, radius: Any, scalars: Sequence[ScalarParameter],
                ) -> tuple[tuple[int, int] | None, RadiusRule | None]:  # fmt: skip
    """Returns the radius that a decorator gives, and the function that gives another one at a call.

    Where all parameters of the function have defaults, the radius is that of these.

    Raises:
        KernelError: It is no radius, or a function of anything but the kernel's parameters.
    """
    if not callable(radius):
        return None if radius is None else _pair(radius, f"{name}: radius={radius!r}"), None
    known, wanted = {s.name: s for s in scalars}, list(inspect.signature(radius).parameters)
    for parameter in wanted:
        if parameter not in known or known[parameter].quantity is not None:
            why = "comes from the raster's grid" if parameter in known else "is no keyword-only parameter"
            raise KernelError(f"{name}: radius= is a function of {parameter}, which {why}: it may take numbers that "
                              "are given at the call, as in radius=lambda sigma: math.ceil(3 * sigma)")  # fmt: skip
    if any(known[parameter].default is REQUIRED for parameter in wanted):
        return None, radius
    return radius_of(name, radius, scalars, {}), radius


def radius_of(name: str, rule: RadiusRule, scalars: Sequence[ScalarParameter],
              given: Mapping[str, Any]) -> tuple[int, int]:  # fmt: skip
    """Returns the radius that parameters decide.

    Raises:
        ParameterError: One is missing, or not known yet; or what the function gives of them is no radius.
    """
    values: dict[str, Any] = {}
    for scalar in (s for s in scalars if s.name in inspect.signature(rule).parameters):
        value = given.get(scalar.name, scalar.default)
        if value is REQUIRED:
            raise ParameterError(f"{name} needs {scalar.name}: give it as {scalar.name}=…")
        if isinstance(value, LazyScalar):
            raise ParameterError(f"{name}: {scalar.name} decides how far it reads, which a plan must know, and it is "
                                 f"computed while that runs: give {scalar.name}=float(…)")  # fmt: skip
        try:
            values[scalar.name] = scalar.convert(value)
        except ParameterError as error:
            raise ParameterError(f"{name}: {error}") from error
    said = ", ".join(f"{parameter}={value!r}" for parameter, value in values.items())
    try:
        radius = rule(**values)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ParameterError(f"{name}: there is no radius for {said} ({error})") from error
    try:
        return _pair(radius, f"{name}: radius= gives {radius!r} for {said}")
    except KernelError as error:
        raise ParameterError(str(error)) from None


def _pair(radius: Any, what: str) -> tuple[int, int]:
    try:
        rows, cols = map(operator.index, radius if isinstance(radius, tuple) else (radius, radius))
    except (TypeError, ValueError):
        rows = cols = -1
    if min(rows, cols) < 0 or isinstance(radius, bool):
        raise KernelError(f"{what}; it is a count of cells, or (rows, cols)")
    return rows, cols


def check_edge(name: str, edge: object, rasters: Sequence[RasterParameter]) -> None:
    """Refuses what is no edge of a kernel of that name."""
    is_number = isinstance(edge, (int, float)) and not isinstance(edge, bool)
    if not is_number and not (isinstance(edge, str) and edge in _EDGES):
        raise KernelError(f"{name}: edge={edge!r}; it is one of {', '.join(_EDGES)}, or a number")
    if isinstance(edge, (int, float)):
        for raster in rasters:
            if raster.dtype is not None and not holds_nodata(raster.dtype, edge):
                raise KernelError(f"{name}: edge={edge!r} is no {raster.dtype}, which {raster.name} is annotated with")

"""What a body may capture: numbers, tables, records, and where Python finds them."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import enum
from collections import ChainMap
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.kinds import Kind, kind_of_value

if TYPE_CHECKING:
    from collections.abc import MutableMapping

IMPORTS = {
    "math": "import math",
    "np": "import numpy as np",
    "numpy": "import numpy",
    "tj": "import tilejit as tj",
    "tilejit": "import tilejit",
}
"""Modules that bodies name, and the line that is forgotten where one is not defined."""
TABLES = tuple, list, dict, np.ndarray
"""What a body may index."""
MISSING = object()
"""What an unknown name resolves to."""


def is_valid(value: float) -> bool:
    """Returns whether a cell holds data: it is not nodata, not NaN, and not outside the raster.

    Inside a body with ``nodata="kernel"`` it asks this of a raster's cell, of integer rasters too. In plain Python it
    can only see NaN.

    Example:
        >>> is_valid(1.0), is_valid(float("nan"))
        (True, False)
    """
    return bool(value == value)  # noqa: PLR0124 - NaN alone differs from itself


def plain_number(value: Any) -> bool | float | None:
    """Returns a number as Python's own bool, int or float (NumPy scalars and enums too), or None.

    Example:
        >>> import numpy as np
        >>> plain_number(np.int16(3)), plain_number("3")
        (3, None)
    """
    convert = {Kind.BOOL: bool, Kind.INT: int, Kind.FLOAT: float}
    kind = kind_of_value(value)
    return None if kind is None else convert[kind](value)


def closure_of(function: Any) -> dict[str, Any]:
    """Returns the variables of enclosing functions; one that has no value yet is left out."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            values[name] = cell.cell_contents
    return values


def record_fields(value: Any) -> tuple[str, ...]:
    """Returns the fields of a named tuple, a frozen dataclass or a member of an enum, which nothing changes.

    Example:
        >>> import collections
        >>> record_fields(collections.namedtuple("Band", "gain offset")(2.0, 1.0))
        ('gain', 'offset')
    """
    if isinstance(value, enum.Enum):
        return ("value",)
    if isinstance(value, tuple):
        return tuple(getattr(value, "_fields", ()))
    parameters = None if isinstance(value, type) else getattr(value, "__dataclass_params__", None)
    return tuple(f.name for f in dataclasses.fields(value)) if parameters is not None and parameters.frozen else ()


def member(owner: Any, name: str) -> Any:
    """Returns what a name after a dot stands for, or MISSING.

    It goes through modules, classes and records that nothing changes: another object's attribute may change under a
    compiled body.
    """
    is_open = isinstance(owner, (ModuleType, type, np.iinfo, np.finfo))
    return getattr(owner, name, MISSING) if is_open or name in record_fields(owner) else MISSING


def visible(function: Any) -> ChainMap[str, Any]:
    """Returns every name that a function can see besides its own; what is written to it is nobody else's."""
    places: list[MutableMapping[str, Any]] = [{}, closure_of(function), function.__globals__, vars(builtins)]
    return ChainMap(*places)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Changing:
    """A captured list, dict or array, whose author may change it in place."""

    owner: Any
    label: str
    then: Any
    """Its content, when the kernel was first used."""


def frozen(owner: Any) -> Any:
    """Returns what a captured object holds; equal where NaN stands in the same places."""
    if isinstance(owner, np.ndarray):
        return owner.shape, str(owner.dtype), owner.tobytes()
    if isinstance(owner, (tuple, list, dict)):
        return [frozen(one) for one in (owner.items() if isinstance(owner, dict) else owner)]
    return repr(owner)

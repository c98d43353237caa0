"""A body's signature: positional parameters are rasters, keyword-only parameters are scalars."""

from __future__ import annotations

import contextlib
import inspect
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, get_args, get_origin

import numpy as np

from tilejit.compiler.form.captured import IMPORTS
from tilejit.compiler.form.kinds import Kind, Quantity, is_real, kind_of_dtype, kind_of_value
from tilejit.compiler.form.source import read_source
from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REQUIRED = inspect.Parameter.empty
"""The default of a scalar that has none."""

CALL_OPTIONS = {"backend", "workers", "out", "edge"}
"""Keywords that a call of a kernel takes for itself."""

_INTEGERS = "bool, int8 to int64 and uint8 to uint64"


if TYPE_CHECKING:
    import typing_extensions  # which type checkers have of their own

    Cell = typing_extensions.TypeVar("Cell", default=float)
else:
    Cell = TypeVar("Cell")


class Stack(Generic[Cell]):
    """What a kernel's parameter is annotated with that takes a whole Raster: any number of bands, or dates.

    In the body ``t[k]`` is the pixel of layer ``k``, and ``t[k, dy, dx]`` a neighbour in it; ``len(t)`` is how many
    layers there are, and negative ``k`` count from the end. ``tj.Stack[np.uint16]`` takes integers as they are. All
    stacks of one kernel have the same number of layers.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.local
        ... def mean(t: tj.Stack):
        ...     total = 0.0
        ...     for k in range(len(t)):
        ...         total += t[k]
        ...     return total / len(t)
        >>> mean(np.float32([[[1, 2]], [[3, 6]]]))
        array([[2., 4.]], dtype=float32)
    """

    time: Sequence[float]
    """When each layer was taken: ``t.time[k]``, in days since the first layer. Whole days are exact in float32, too."""

    year: Sequence[int]
    """The calendar year of each layer: ``t.year[k]``."""

    month: Sequence[int]
    """Its month, 1 to 12."""

    day_of_year: Sequence[int]
    """Its day in that year, 1 to 366."""

    def __len__(self) -> int:
        """How many layers it has."""
        raise NotImplementedError

    def __getitem__(self, cell: int | tuple[int, int, int]) -> Cell:
        """The cell of a layer, at the pixel or so many rows south and columns east of it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RasterParameter:
    """A positional parameter: one band of a raster, or all of them."""

    name: str
    """Its name in the signature."""
    dtype: np.dtype | None
    """The integer dtype that it is annotated with, or None: it arrives in the compute dtype."""
    is_stack: bool = False
    """Whether it takes any number of bands, and not one."""
    star: str = ""
    """The name behind the ``*`` of which it is one, ``rasters[2]`` of ``rasters``; or its own, before a call."""

    @property
    def kind(self) -> Kind:
        """The kind of a cell inside the body."""
        return Kind.FLOAT if self.dtype is None else Kind.INT

    @property
    def annotation(self) -> str:
        """What follows its name where its author wrote it: ``: Stack[uint16]``."""
        cells = "" if self.dtype is None else str(self.dtype)
        if not self.is_stack:
            return cells and f": {cells}"
        return f": Stack{cells and f'[{cells}]'}"


@dataclass(frozen=True, slots=True)
class ScalarParameter:
    """A keyword-only parameter: one number for the whole run, or a grid quantity."""

    name: str
    """Its name in the signature."""
    kind: Kind
    """Truth value, integer or float."""
    default: Any
    """Its default: a number, a Quantity, or REQUIRED."""

    @property
    def quantity(self) -> Quantity | None:
        """The grid quantity that it takes unless a number is given."""
        return self.default if isinstance(self.default, Quantity) else None

    def convert(self, value: object) -> bool | int | float:
        """Returns ``value`` as this parameter's kind.

        Raises:
            ParameterError: It is no number, or not of this kind.
        """
        if self.quantity is not None and self.quantity.is_index:
            raise ParameterError(f"{self.name} is {self.default!r}, which the driver fills in; leave it out")
        if self.kind is Kind.BOOL:
            if isinstance(value, (bool, np.bool_, int, np.integer)) and value in {0, 1}:
                return bool(value)
            raise ParameterError(f"{self.name} takes True or False, not {value!r}")
        try:
            return self._number(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{self.name} takes one {self.kind}, not {value!r}") from error

    def _number(self, value: Any) -> int | float:
        if self.kind is Kind.FLOAT:
            if isinstance(value, (str, bytes)):
                raise TypeError
            return float(value)
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            value = int(value)  # 3.0 passes for 3; operator.index refuses 3.5
        number = operator.index(value)
        if not -(2**63) <= number < 2**63:
            raise ParameterError(f"{self.name} takes an integer of 64 bits, and {number} does not fit")
        return number


def read_parameters(
    function: Callable[..., object],
) -> tuple[tuple[RasterParameter, ...], tuple[ScalarParameter, ...]]:
    """Reads and checks the signature of a body; its text is asked for where that is refused.

    Raises:
        KernelError: It has no raster, positional defaults, ``**kwargs``, or a default or an annotation that the
            language does not know.
    """
    parameters = list(inspect.signature(function).parameters.values())
    for p in parameters:
        if p.kind is p.VAR_KEYWORD:
            refuse_parameter(function, p.name, f"**{p.name} in a kernel",
                             "name each raster and each scalar parameter: def f(red, nir, *, scale=2.0)")  # fmt: skip
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if any(p.default is not REQUIRED for p in positional):
        source = read_source(function)
        source.fail(source.tree.args.defaults[0], "a positional parameter with a default",
                    "positional parameters are rasters: put a * before the scalars, as in "
                    "def f(z, *, scale=2.0)")  # fmt: skip
    if not positional:
        refuse_parameter(function, None, "no raster parameter",
                "a kernel has at least one positional parameter: def f(z, *, scale=2.0)")  # fmt: skip
    annotations = _annotations(function)
    read = {True: _starred, False: _raster}
    rasters = tuple(read[p.kind is p.VAR_POSITIONAL](function, p.name, annotations.get(p.name)) for p in positional)
    scalars = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    for p in scalars:
        if p.name in CALL_OPTIONS:
            refuse_parameter(function, p.name, f"{p.name} is an option of every kernel's call",
                    "give the parameter another name")  # fmt: skip
    return rasters, tuple(_scalar(function, p.name, annotations.get(p.name), p.default) for p in scalars)


def read_output_dtypes(function: Callable[..., object]) -> tuple[np.dtype, ...] | None:
    """Returns the dtypes that the return annotation names (``-> np.uint8``, ``-> tuple[np.uint8, np.float32]``)."""
    annotation = _annotations(function).get("return")
    if annotation is None or annotation is inspect.Signature.empty:
        return None
    parts = get_args(annotation) if get_origin(annotation) is tuple else (annotation,)
    return tuple(_output_dtype(function, part) for part in parts)


def refuse_parameter(function: Callable[..., object], name: str | None, what: str, instead: str) -> NoReturn:
    """Refuses a parameter, or a function whatever its parameters are.

    Raises:
        KernelError: Always, with the place in its text.
    """
    source = read_source(function)
    a = source.tree.args
    nodes = (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))
    source.fail(next((node for node in nodes if node.arg == name), None), what, instead)


def _annotations(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return inspect.get_annotations(function, eval_str=True)
    except Exception as error:  # noqa: BLE001 - evaluating a user's annotation runs any code
        line = IMPORTS.get(error.name or "") if isinstance(error, NameError) else None
        advice = "annotate with dtypes, as np.uint16" if line is None else f"write {line} above the kernel"
        refuse_parameter(function, None, f"an annotation cannot be evaluated: {error}", advice)


def _dtype(annotation: Any) -> np.dtype:
    """The dtype that an annotation names, or that of objects."""
    dtype = np.dtype(object)
    with contextlib.suppress(TypeError):
        dtype = np.dtype(annotation)
    return dtype


def _shown(annotation: object) -> str:
    """How an error names an annotation: ``str``, not ``<class 'str'>``."""
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _raster(function: Callable[..., object], name: str, annotation: object) -> RasterParameter:
    is_stack = annotation is Stack or get_origin(annotation) is Stack
    cells = next(iter(get_args(annotation)), None) if is_stack else annotation
    return RasterParameter(name, _raster_dtype(function, name, cells), is_stack)


def _starred(function: Callable[..., object], name: str, annotation: object) -> RasterParameter:
    """The parameter that any number of rasters are given as."""
    raster = _raster(function, name, annotation)
    if raster.is_stack:
        refuse_parameter(function, name, f"any number of stacks, *{name}",
                         "name each stack: def f(t: tj.Stack, u: tj.Stack)")  # fmt: skip
    return replace(raster, star=name)


def _raster_dtype(function: Callable[..., object], name: str, annotation: object) -> np.dtype | None:
    dtype = _dtype(annotation)
    if annotation is None or dtype.kind == "f":
        return None
    if dtype.kind not in "biu":
        refuse_parameter(function, name, f"{name} is annotated {_shown(annotation)}",
                f"a raster takes {_INTEGERS}: {name}: np.uint16")  # fmt: skip
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _scalar(function: Callable[..., object], name: str, annotation: object, default: object) -> ScalarParameter:
    if isinstance(default, Quantity):
        return ScalarParameter(name, Kind.INT if default.is_index else Kind.FLOAT, default)
    kind = kind_of_value(default) if default is not REQUIRED else Kind.FLOAT
    if kind is None:
        refuse_parameter(function, name, f"{name} has the default {default!r}",
                "a scalar's default is a number, True, False or tj.CELL_…")  # fmt: skip
    if annotation is not None:
        dtype = _dtype(annotation)
        if dtype.kind not in "biuf":
            refuse_parameter(function, name, f"{name} is annotated {_shown(annotation)}",
                    "annotate a scalar with float, int or bool")  # fmt: skip
        kind = kind_of_dtype(dtype)
    parameter = ScalarParameter(name, kind, default)
    if default is REQUIRED:
        return parameter
    try:
        return replace(parameter, default=parameter.convert(default))
    except ParameterError as error:
        refuse_parameter(function, name, str(error), "make the default fit the annotation")


def _output_dtype(function: Callable[..., object], annotation: object) -> np.dtype:
    dtype = _dtype(annotation)
    if not is_real(dtype):
        source = read_source(function)
        source.fail(source.tree.returns, f"the result is annotated {_shown(annotation)}",
                    "annotate it with a dtype, as -> np.uint8")  # fmt: skip
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(float) if annotation is float else dtype

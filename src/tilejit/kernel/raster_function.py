"""What is called with rasters and has a name to be found by: what kernels and chains of them have in common."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from tilejit.compiler.form.kinds import Kind, LazyScalar
from tilejit.compiler.form.parameters import REQUIRED, Stack
from tilejit.compiler.form.source import name_of, read_source
from tilejit.errors import KernelError, ParameterError
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter
    from tilejit.compiler.form.source import FunctionSource


class Dispatch(Protocol):
    """What a call does; the floors above give it, so that this one knows nothing of them."""

    def __call__(self, function: Any, inputs: Sequence[Any], options: Mapping[str, Any], /) -> Any:
        """Runs ``function`` over arrays, or applies it to Rasters."""
        ...


_TYPES: dict[Kind, type] = {Kind.BOOL: bool, Kind.INT: int, Kind.FLOAT: float}


def _annotation(raster: RasterParameter) -> Any:
    cells = inspect.Parameter.empty if raster.dtype is None else raster.dtype.type
    return cells if not raster.is_stack else Stack if raster.dtype is None else Stack[cells]  # type: ignore[valid-type]


class _Signature:
    """The signature of each function of rasters; the class has that of its constructor."""

    def __get__(self, function: RasterFunction | None, owner: type) -> inspect.Signature:
        if function is None:
            raise AttributeError("__signature__")
        return function.call_signature()


class RasterFunction:
    """A Python function of rasters, under a decorator.

    It looks like the function that it was made of: ``help``, ``inspect`` and editors find its name, its parameters with
    their defaults and the options of a call, its docstring and its text.
    """

    function: Callable[..., Any]
    """The undecorated function."""
    rasters: tuple[RasterParameter, ...]
    """Its positional parameters."""
    scalars: tuple[ScalarParameter, ...]
    """Its keyword-only parameters."""

    __tilejit_kernel__: ClassVar[bool] = True
    __signature__: ClassVar[_Signature] = _Signature()
    dispatch: ClassVar[Dispatch | None] = None
    """What a call does."""
    reduced: ClassVar[Callable[[Any], tuple[Any, ...]]]
    """What pickle keeps of it, which the floors above give too."""

    def __post_init__(self) -> None:
        function = self.function
        names = {name: getattr(function, name) for name in ("__module__", "__qualname__")}
        vars(self).update(names, __doc__=function.__doc__ or "", __wrapped__=function)

    @functools.cached_property
    def source(self) -> FunctionSource:
        """The function's text."""
        return read_source(self.function)

    @property
    def name(self) -> str:
        """The function's name, or the variable's that a lambda was given to."""
        return name_of(self.function)

    @property
    def module(self) -> str:
        """The module that it was defined in."""
        return self.function.__module__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        doc = self.function.__doc__ or ""
        return doc.strip().split("\n")[0]

    @property
    def __name__(self) -> str:  # functools and doctest look for it
        return self.name

    @property
    def star(self) -> str:
        """The name of the parameter that takes any number of rasters, ``rasters`` of ``*rasters``; or nothing."""
        return self.rasters[-1].star

    @property
    def declared(self) -> tuple[RasterParameter, ...]:
        """Its positional parameters as they are written, ``*rasters`` for one."""
        own = tuple(r for r in self.rasters if not r.star)
        return (*own, replace(self.rasters[-1], name=self.star)) if self.star else own

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - kernels live as long as the program, or nearly
    def taking(self, count: int) -> Self:
        """Returns it for so many rasters: another one where it takes any number.

        Raises:
            KernelError: It takes more, or fewer.
        """
        *own, last = self.declared
        if not last.star and count == len(self.rasters):
            return self
        if not last.star or count <= len(own):
            takes, more = counted(len(own) + 1, "raster"), " or more" * bool(last.star)
            names = ", ".join([*(r.name for r in own), f"{'*' * bool(last.star)}{last.name}"])
            raise KernelError(f"{self.name} takes {takes}{more} ({names}), {count} given")
        rasters = *own, *(replace(last, name=f"{last.star}[{k}]") for k in range(count - len(own)))
        return self if rasters == self.rasters else replace(self, rasters=rasters)  # type: ignore[type-var]

    @property
    def usage(self) -> str:
        """Its parameters as its author wrote them: ``(z, *, dx=GROUND_WIDTH)``."""
        parts = [f"{'*' * bool(r.star)}{r.name}{r.annotation}" for r in self.declared]
        if self.scalars and not self.star:
            parts.append("*")
        for scalar in self.scalars:
            default = scalar.quantity.name if scalar.quantity is not None else repr(scalar.default)
            parts.append(scalar.name if scalar.default is REQUIRED else f"{scalar.name}={default}")
        return f"({', '.join(parts)})"

    def call_signature(self) -> inspect.Signature:
        """What a call takes: the rasters, the scalars, and the options that every kernel has."""
        one, any_number = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL
        named = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(r.name, any_number if r.star else one, annotation=_annotation(r)) for r in self.declared
        ]
        parameters += [
            inspect.Parameter(s.name, named, default=s.default, annotation=_TYPES[s.kind]) for s in self.scalars
        ]
        options = {"backend": "cpu", "workers": None, "out": None, "edge": None}
        parameters += [inspect.Parameter(name, named, default=default) for name, default in options.items()]
        return inspect.Signature(parameters)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Checks scalars against the signature and fills in defaults; grid quantities stay Quantity values."""
        known = {s.name: s for s in self.scalars}
        for name in given:
            if name not in known:
                raise ParameterError(f"{self.name} has no parameter {name}; it takes {', '.join(known) or 'none'}")
        bound: dict[str, Any] = {}
        for scalar in self.scalars:
            value = given.get(scalar.name, scalar.default)
            if value is REQUIRED:
                raise ParameterError(f"{self.name} needs {scalar.name}: give it as {scalar.name}=…")
            is_default = scalar.name not in given or value is scalar.default
            try:
                bound[scalar.name] = value if is_default or isinstance(value, LazyScalar) else scalar.convert(value)
            except ParameterError as error:
                raise ParameterError(f"{self.name}: {error}") from error
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).reduced(self)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Runs it over arrays at once, or applies it to Rasters lazily.

        Args:
            *inputs: One for each positional parameter, any number for ``*rasters``: arrays of one shape, (row, col) or
                (1, row, col), masked ones and xarray's too; or single-band Rasters on one grid. A stack is a
                (layer, row, col) array, or a Raster.
            **options: The keyword-only parameters; ``edge=`` for another edge than the decorator's; with arrays also
                ``backend=``, ``workers=`` and ``out=`` (an array, or a tuple of them, to compute into).

        Returns:
            For arrays an array, of the kind that was given (a tuple of arrays for several results); for Rasters a
            Raster.

        Raises:
            KernelError: The number, shapes or kinds of the inputs are wrong, or a chain returns no Raster.
            ParameterError: A scalar is unknown, missing or of the wrong type.
        """
        function, dispatch = self.taking(len(inputs)), type(self).dispatch
        if dispatch is None:
            raise KernelError(f"{self.name} is called before tilejit is imported: import tilejit")
        return dispatch(function, inputs, options)

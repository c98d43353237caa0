"""What is called with rasters and has a name to be found by: what kernels and chains of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tilejit.errors import KernelError, ParameterError
from tilejit.language.parameters import REQUIRED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.language.parameters import RasterParameter, ScalarParameter
    from tilejit.language.source import FunctionSource


class Door(Protocol):
    """What a call does; the floors above give it, so that this one knows nothing of them."""

    def __call__(self, function: Any, inputs: Sequence[Any], options: Mapping[str, Any], /) -> Any:
        """Runs ``function`` over arrays, or applies it to Rasters."""
        ...


class RasterFunction:
    """A Python function of rasters, under a decorator."""

    source: FunctionSource
    """Its text."""
    rasters: tuple[RasterParameter, ...]
    """Its positional parameters."""
    scalars: tuple[ScalarParameter, ...]
    """Its keyword-only parameters."""

    __tilejit_kernel__: ClassVar[bool] = True
    door: ClassVar[Door | None] = None
    """What a call does."""

    @property
    def name(self) -> str:
        """The function's name."""
        return self.source.name

    @property
    def module(self) -> str:
        """The module that it was defined in."""
        return self.source.function.__module__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        doc = self.source.function.__doc__ or ""
        return doc.strip().split("\n")[0]

    @property
    def __name__(self) -> str:  # functools and doctest look for it
        return self.name

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Checks scalars against the signature and fills in defaults; grid quantities stay Quantity values.

        Raises:
            ParameterError: One is unknown, missing or of the wrong type.
        """
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
                bound[scalar.name] = value if is_default else scalar.convert(value)
            except ParameterError as error:
                raise ParameterError(f"{self.name}: {error}") from error
        return bound

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Runs it over arrays at once, or applies it to Rasters lazily.

        Args:
            *inputs: One for each positional parameter: 2-D arrays of one shape, or single-band Rasters on one grid.
            **options: The keyword-only parameters; with arrays also ``backend=``, ``workers=`` and
                ``out=`` (an array, or a tuple of them, to compute into).

        Returns:
            For arrays an array (a tuple of arrays for several results), for Rasters a Raster.

        Raises:
            KernelError: The number, shapes or kinds of the inputs are wrong, or a chain returns no Raster.
            ParameterError: A scalar is unknown, missing or of the wrong type.
        """
        if len(inputs) != len(self.rasters):
            names = ", ".join(r.name for r in self.rasters)
            raise KernelError(f"{self.name} takes {len(self.rasters)} rasters ({names}), {len(inputs)} given")
        door = type(self).door
        if door is None:
            raise KernelError(f"{self.name} is called before tilejit is imported: import tilejit")
        return door(self, inputs, options)

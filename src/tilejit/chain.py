"""A chain: a plain function of Rasters that applies kernels, with a name of its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tilejit.errors import KernelError
from tilejit.kernel import Kernel, bind_scalars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.language.parameters import RasterParameter, ScalarParameter
    from tilejit.language.source import FunctionSource


class ChainDoor(Protocol):
    """What a call of a chain does; the floors above give it, so that this one knows nothing of them."""

    def __call__(self, chain: Chain, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Runs ``chain`` over arrays, or applies it to Rasters."""
        ...


@dataclass(frozen=True)
class Chain:
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

    source: FunctionSource
    """The function's text."""
    rasters: tuple[RasterParameter, ...]
    """Its positional parameters."""
    scalars: tuple[ScalarParameter, ...]
    """Its keyword-only parameters."""

    __tilejit_kernel__: ClassVar[bool] = True
    door: ClassVar[ChainDoor | None] = None
    """What a call does."""
    kind: ClassVar[str] = "chain"
    """What lists call it."""

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
        """The first line of the function's docstring."""
        return self.__doc__.strip().split("\n")[0]

    @property
    def __name__(self) -> str:  # functools and doctest look for it
        return self.name

    @functools.cached_property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.source.function.__doc__ or ""

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Checks scalars against the signature and fills in defaults.

        Raises:
            ParameterError: One is unknown, missing or of the wrong type.
        """
        return bind_scalars(self.name, self.scalars, given)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Runs it over arrays at once, or applies it to Rasters lazily.

        Args:
            *inputs: One for each positional parameter: 2-D arrays of one shape, or single-band Rasters on one grid.
            **options: The keyword-only parameters; with arrays also ``backend=``, ``workers=`` and ``out=``.

        Returns:
            For arrays an array (a tuple of arrays for several bands), for Rasters a Raster.

        Raises:
            KernelError: The number or the kinds of the inputs are wrong, or the function returns no Raster.
            ParameterError: A scalar is unknown, missing or of the wrong type.
        """
        if len(inputs) != len(self.rasters):
            names = ", ".join(r.name for r in self.rasters)
            raise KernelError(f"{self.name} takes {len(self.rasters)} rasters ({names}), {len(inputs)} given")
        if Chain.door is None:
            raise KernelError(f"{self.name} is called before tilejit is imported: import tilejit")
        return Chain.door(self, inputs, options)

    def __repr__(self) -> str:
        return f"<chain {self.name} from {self.source.where}>"


Applicable = Kernel | Chain
"""What is called with rasters, and has a name to be found by."""

"""A chain: a plain function of Rasters that applies kernels, with a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tilejit.kernel.kernel import Kernel
from tilejit.kernel.raster_function import RasterFunction

if TYPE_CHECKING:
    from tilejit.compiler.parameters import RasterParameter, ScalarParameter
    from tilejit.compiler.source import FunctionSource


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

    source: FunctionSource
    """The function's text."""
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

"""What a form is compiled for: the dtypes of one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from tilejit.compiler.quantities import Quantity


@dataclass(frozen=True, slots=True)
class Signature:
    """The dtypes that generated source depends on."""

    inputs: tuple[np.dtype, ...]
    """The dtypes of the arrays; a float parameter's array may be an integer one, cast as it is read."""
    compute: np.dtype
    """What floats are computed in."""
    outputs: tuple[np.dtype, ...]
    """The dtypes of the results."""
    nan_nodata: tuple[bool, ...]
    """For each result, whether its nodata value is NaN."""
    counts_down: tuple[bool, bool] = (False, False)
    """Whether ROW, and whether COL, counts down: bodies see the raster turned around, and these are the file's own."""

    def sign(self, quantity: Quantity) -> Literal["+", "-"]:
        """Which way ROW or COL counts."""
        return "-" if self.counts_down[0 if quantity.axis == "row" else 1] else "+"

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        return f"({inputs}) -> {', '.join(map(str, self.outputs))} in {self.compute}"

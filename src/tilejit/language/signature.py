"""What a form is compiled for: the dtypes of one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


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

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        return f"({inputs}) -> {', '.join(map(str, self.outputs))} in {self.compute}"

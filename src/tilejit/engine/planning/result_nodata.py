"""The nodata value that a kernel's result is made with, so that it need not be looked at again when it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.engine.planning.graph import ResultBand, applications_of
from tilejit.kernel.nodata import holds_nodata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from tilejit.engine.planning.graph import Band

    _Result = tuple[int, int]
    """The identity of an application, and the number of its result."""


@dataclass(frozen=True, slots=True)
class ResultNodata:
    """What the outputs of a job want in the results of kernels."""

    asked: Mapping[_Result, Sequence[float]]
    """What each output wants in a result, NaN where it does not care."""
    used: frozenset[_Result]
    """Results that other kernels take."""

    @staticmethod
    def of(wanted: Iterable[tuple[Band, float | None]]) -> ResultNodata:
        """Collects what outputs want.

        Args:
            wanted: Every band of every output, with the nodata value asked for.
        """
        asked: dict[_Result, list[float]] = {}
        bands = []
        for band, nodata in wanted:
            bands.append(band)
            if isinstance(band, ResultBand):
                asked.setdefault(_identity(band), []).append(math.nan if nodata is None else nodata)
        inputs = [band for application in applications_of(bands) for band in application.inputs]
        return ResultNodata(asked, frozenset(_identity(band) for band in inputs if isinstance(band, ResultBand)))

    def value(self, band: ResultBand, dtype: np.dtype) -> float | None:
        """Returns the value that a result is made with; None for the type's own.

        An integer takes the first that an output wants. A float is NaN for kernels that take it, and where outputs
        disagree; else it is made as it is written: a second pass, to replace NaN, takes ten times as long as NDVI does.

        Args:
            band: The result.
            dtype: Its type.
        """
        asked = self.asked.get(_identity(band), ())
        values = [value for value in asked if value == value]  # noqa: PLR0124 - what is no number is refused later
        if not values or not holds_nodata(dtype, values[0]):
            return None
        agreed = len(values) == len(asked) and len(set(values)) == 1
        return values[0] if dtype.kind != "f" or (agreed and _identity(band) not in self.used) else None


def _identity(band: ResultBand) -> _Result:
    return id(band.application), band.index

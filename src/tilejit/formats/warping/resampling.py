"""Resamplings by their names in GDAL: what each makes of a band's type, and how far it reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError
from tilejit.formats.warping.area_loops import AVERAGE, MAXIMUM, MEDIAN, MINIMUM, MODE, SUM
from tilejit.formats.warping.warp_loops import BILINEAR, CUBIC, LANCZOS

if TYPE_CHECKING:
    from tilejit.formats.warping.mapping import Relation

_FILTERS = {"bilinear": (BILINEAR, 1), "cubic": (CUBIC, 2), "lanczos": (LANCZOS, 3)}
"""The number of each filter, and how many cells it reaches."""
_AREAS = {"average": AVERAGE, "sum": SUM, "minimum": MINIMUM, "maximum": MAXIMUM, "median": MEDIAN, "mode": MODE}
RESAMPLINGS = ("nearest", *_FILTERS, *_AREAS)
"""All names."""
_SHORT = {"min": "minimum", "max": "maximum", "med": "median"}
"""GDAL's own spellings."""
_ALIKE = 0.95
"""As in GDAL: how much finer a source may be before a filter is widened, and takes all of its cells into account."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How cells of a source become those of another grid.

    Example:
        >>> resampling_of("min").name
        'minimum'
    """

    name: str  # as GDAL has it

    @property
    def keeps_values(self) -> bool:
        """Whether a cell holds what some cell of the source holds, so that classes stay classes."""
        return self.name in {"nearest", "minimum", "maximum", "median", "mode"}

    @property
    def is_filter(self) -> bool:
        """Whether cells around a place are weighed by their distance."""
        return self.name in _FILTERS

    @property
    def is_area(self) -> bool:
        """Whether the cells that lie under a cell are reduced to one."""
        return self.name in _AREAS

    @property
    def number(self) -> int:
        """What compiled loops call it."""
        return _FILTERS[self.name][0] if self.is_filter else _AREAS[self.name]

    def dtype(self, native: np.dtype[Any]) -> np.dtype[Any]:
        """The type of what it makes: the source's own, or floats where values lie between the source's."""
        native = native.newbyteorder("=")
        if native.kind == "b":
            native = np.dtype(np.uint8)
        return native if self.keeps_values and native != np.float16 else np.promote_types(native, np.float32)

    def working_dtype(self, native: np.dtype[Any]) -> np.dtype[Any]:
        """The type in which cells are read and made: floats hold integers of up to 32 bits, and NaN for no data."""
        made = self.dtype(native)
        is_native = made.kind == "f" or self.name == "nearest" or made.itemsize == 8
        return made if is_native else np.promote_types(made, np.float32)

    def scales(self, relation: Relation) -> tuple[float, float, int, int]:
        """By how much distances down and across are shortened, and how many cells down and across are weighed."""
        reach = _FILTERS[self.name][1]
        given = 1 / relation.rows_per_row, 1 / relation.cols_per_col
        down, across = given if min(given) < _ALIKE else (1.0, 1.0)
        down, across = min(down, 1.0), min(across, 1.0)
        return down, across, 2 * math.ceil(reach / down), 2 * math.ceil(reach / across)

    def margin(self, relation: Relation) -> tuple[int, int]:
        """How many rows and columns beyond a place are taken."""
        if not self.is_filter:
            return 1, 1
        _, _, rows, cols = self.scales(relation)
        return rows // 2 + 1, cols // 2 + 1


def resampling_of(name: str) -> Resampling:
    """Finds a resampling by its name.

    Raises:
        ParameterError: There is none of that name.
    """
    known = _SHORT.get(name, name) if isinstance(name, str) else name
    if known not in RESAMPLINGS:
        raise ParameterError(f"resampling={name!r}: it is one of {', '.join(RESAMPLINGS)}")
    return Resampling(known)

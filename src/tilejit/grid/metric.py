"""How the units of a CRS turn into metres on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a CRS's units turn into metres on the ground.

    Raises:
        ValueError: The ellipsoid or the unit is not a positive number.
    """

    kind: Literal["geographic", "projected", "mercator", "none"] = "none"
    """Angles, lengths, Web Mercator (EPSG:3857, whose lengths are not true), or no CRS."""
    semi_major: float = 6378137.0
    """The ellipsoid's semi-major axis in metres."""
    inverse_flattening: float = 298.257223563
    """The ellipsoid's inverse flattening; 0 for a sphere."""
    unit: float = 1.0
    """Metres per CRS unit where projected, radians per CRS unit where geographic."""
    height_unit: float | None = None
    """Metres per unit of height, where the CRS has a vertical axis."""
    towards: tuple[int, int] = (1, 1)
    """1 where x grows to the east, and y to the north; -1 where to the west, and to the south (EPSG:2053)."""

    def __post_init__(self) -> None:
        if not (self.semi_major > 0 and math.isfinite(self.semi_major)):
            raise ValueError(f"a semi-major axis is a positive number of metres, not {self.semi_major}")
        # Below 1 the ellipsoid would be flatter than flat.
        if self.inverse_flattening != 0 and not self.inverse_flattening > 1:
            raise ValueError(f"an inverse flattening is 0 or above 1, not {self.inverse_flattening}")
        for unit in (self.unit, self.height_unit):
            if unit is not None and not (unit > 0 and math.isfinite(unit)):
                raise ValueError(f"a unit is a positive number, not {unit}")

    def radii(self, latitude: Float64s) -> tuple[Float64s, Float64s]:
        """The ellipsoid's meridional and prime-vertical radii of curvature in metres, at latitudes in radians.

        Source: Snyder (1987), Map Projections: A Working Manual, USGS Professional Paper 1395, equations
        4-18 (meridian) and 4-20 (prime vertical).
        """
        flattening = 1.0 / self.inverse_flattening if self.inverse_flattening else 0.0
        e2 = flattening * (2.0 - flattening)
        w2 = 1.0 - e2 * np.sin(latitude) ** 2
        prime_vertical = self.semi_major / np.sqrt(w2)
        return prime_vertical * (1.0 - e2) / w2, prime_vertical

"""The unit of heights, by the band, the CRS, or the sizes of cells that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import Quantity
from tilejit.engine.planning.graph import assumed_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.engine.planning.graph import Application, Band
    from tilejit.grid import Grid

_UNITS = {
    "metres": (1.0, "m metre metres meter meters"),
    "kilometres": (1000.0, "km kilometre kilometres kilometer kilometers"),
    "decimetres": (0.1, "dm decimetre decimetres decimeter decimeters"),
    "centimetres": (0.01, "cm centimetre centimetres centimeter centimeters"),
    "millimetres": (0.001, "mm millimetre millimetres millimeter millimeters"),
    "feet": (0.3048, "ft foot feet ift international_foot international_feet foot_international foot_intl"),
    "US survey feet": (
        1200 / 3937,
        "us_survey_foot us_survey_feet us_ft ftus ft_us usft us_foot us_feet foot_us survey_foot survey_feet sft",
    ),
    "yards": (0.9144, "yd yard yards"),
    "fathoms": (1.8288, "fathom fathoms"),
}
"""What messages call a unit: its metres, and how files spell it."""
_METRES = {spelling: metres for metres, spellings in _UNITS.values() for spelling in spellings.split()}
_SIZES = {Quantity.GROUND_WIDTH, Quantity.GROUND_HEIGHT}


def metres_of(unit: str) -> float | None:
    """Returns how many metres a unit is by its name, or None for one that is no known length.

    Example:
        >>> metres_of("US survey foot"), metres_of("[m]"), metres_of("degree")
        (0.3048006096012192, 1.0, None)
    """
    return _METRES.get("_".join(unit.strip(" []()").lower().replace("-", " ").replace("_", " ").split()))


def heights_of(band: Band, grid: Grid) -> tuple[float, str]:
    """Returns metres per unit of a band's heights, and what the unit is and how that is known."""
    unit = assumed_unit(band)
    known = metres_of(unit) if unit is not None else None
    if known is not None:
        return known, f"heights in {_name(known)}: the band's unit"
    unsaid = "their unit is not said" if unit is None else f"their unit {unit!r} is not a known length"
    metric = grid.metric
    if metric.height_unit is not None:
        return metric.height_unit, f"heights in {_name(metric.height_unit)}: {unsaid}, and the CRS has heights in those"
    if metric.kind == "projected":
        return metric.unit, f"heights in {_name(metric.unit)}: {unsaid}, and the CRS is in those"
    return 1.0, f"heights in metres: {unsaid}"


def with_heights(application: Application, grid: Grid) -> tuple[Mapping[str, Any], str]:
    """Returns an application's parameters with a number for each `Quantity.Z_FACTOR`, and a note for the plan.

    Where the sizes of cells are given as numbers, heights are taken to be in their unit.

    Args:
        application: The application; heights are those of its first input.
        grid: Where its inputs lie.
    """
    bound = application.parameters
    asking = [name for name, value in bound.items() if value is Quantity.Z_FACTOR]
    if not asking:
        return bound, ""
    sizes = [bound[s.name] for s in application.kernel.scalars if s.quantity in _SIZES]
    if sizes and not any(isinstance(size, Quantity) for size in sizes):
        factor, note = 1.0, "heights in the unit of the cells' sizes, which are given"
    else:
        factor, note = heights_of(application.inputs[0], grid)
    return {**bound, **dict.fromkeys(asking, factor)}, note


def _name(metres: float) -> str:
    """What messages call a unit; CRSs have US survey feet to fewer digits than there are."""
    near = (name for name, (known, _) in _UNITS.items() if abs(known - metres) < 1e-9 * known)
    return next(near, f"units of {metres:.9g} m")

"""When the bands of Rasters were taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.engine.planning.graph import SourceBand
from tilejit.formats.dates import dates_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tilejit.engine.planning.graph import Band
    from tilejit.times import Dates


def dates_of_bands(bands: Sequence[Band]) -> Dates | None:
    """When bands of files were taken, as these say; None where one does not.

    What a file says of all its bands is no date of several.
    """
    found: dict[tuple[int, np.datetime64], None] = {}
    known: dict[int, Dates | None] = {}
    for band in bands:
        if not isinstance(band, SourceBand):
            return None
        number = id(band.source)
        if number not in known:
            known[number] = dates_of(band.source)
        dates = known[number]
        if dates is None:
            return None
        found[number, dates[band.info.index - 1]] = None
    return tuple(date for _, date in found) if len(found) == len(bands) else None

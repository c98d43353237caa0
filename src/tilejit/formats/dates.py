"""When the bands of a source were taken, as it says itself, or its file's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilejit.formats.source import Source, storage_of
from tilejit.times import Dates, date_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_UNITS = {1: "second sec", 60: "minute min", 3600: "hour hr", 86400: "day"}
_SECONDS = {word + end: count for count, words in _UNITS.items() for word in words.split() for end in ("", "s")}
_COORDINATE = re.compile(r"NETCDF_DIM_(.+)|DIM_(.+)_VALUE")  # what a layer has in a coordinate, of netCDF and of Zarr
_SINCE = re.compile(r"(\w+) since (.+)")
_CALENDARS = {"standard", "gregorian", "proleptic_gregorian"}


def dates_of(source: Source) -> Dates | None:
    """When each band was taken: by bands' descriptions, the tag of a TIFF, a coordinate, or a name's date.

    What a file says of all its bands, each of them has. None where nothing says so of every band.
    """
    found = [_by_descriptions(source), _by_tag(source), _by_coordinate(source), _by_name(source)]
    return next((tuple(date for date in dates if date is not None) for dates in found if None not in dates), None)


def _by_descriptions(source: Source) -> list[np.datetime64 | None]:
    return [date_in(info.description or "") for info in source.bands]


def _by_tag(source: Source) -> list[np.datetime64 | None]:
    text = storage_of(source).tags.tags.get("", {}).get("TIFFTAG_DATETIME", "")
    return [date_in(text)] * len(source.bands)


def _by_name(source: Source) -> list[np.datetime64 | None]:
    return [date_in(Path(source.name).name)] * len(source.bands)


def _by_coordinate(source: Source) -> list[np.datetime64 | None]:
    """By what GDAL says of netCDF's variables, and of Zarr's."""
    tags = storage_of(source).tags
    file = tags.tags.get("", {})
    return [_by_band(band.tags, file) for band in tags.bands] or [None]


def _by_band(tags: Mapping[str, str], file: Mapping[str, str]) -> np.datetime64 | None:
    for name, value in tags.items():
        found = _COORDINATE.fullmatch(name)
        dimension = (found[1] or found[2]) if found else ""
        units = tags.get(f"DIM_{dimension}_UNIT", file.get(f"{dimension}#units", ""))
        if found and " since " in units and file.get(f"{dimension}#calendar", "standard") in _CALENDARS:
            return since(units, [float(value)])[0]
    return None


def since(units: str, values: Sequence[float]) -> list[np.datetime64 | None]:
    """Returns dates that are counted in CF's units: ``days since 2000-01-01``.

    Example:
        >>> since("hours since 2020-01-05 00:00:00", [36])
        [np.datetime64('2020-01-06T12:00:00')]
    """
    found = _SINCE.match(units.strip())
    step, first = (_SECONDS.get(found[1].lower()), _first(found[2])) if found else (None, None)
    if step is None or first is None:
        return [None] * len(values)
    return [first + np.timedelta64(round(value * step), "s") for value in values]


def _first(text: str) -> np.datetime64 | None:
    """What is counted from; a zone, which files leave out or say to be UTC, is not looked at."""
    match = re.match(r"(\d{1,4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d\d(?::\d\d)?))?", text.strip())
    if match is None:
        return None
    year, month, day = map(int, match[1].split("-"))
    clock = f"T{match[2].zfill(len(match[2]) + (match[2][1] == ':'))}" if match[2] else ""
    try:
        return np.datetime64(f"{year:04}-{month:02}-{day:02}{clock}", "s")
    except ValueError:
        return None

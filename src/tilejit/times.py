"""Times of a raster's layers: what bodies see of them, and dates in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

Dates = tuple[np.datetime64, ...]
"""When each layer of a stack was taken, in seconds."""

CALENDAR = ("time", "year", "month", "day_of_year")
"""What a body asks of a layer: ``t.time[k]``, days since the first, and ``t.month[k]`` and the like, integers."""

_YEAR, _MONTH, _DAY = r"(?P<y>(?:19|20)\d\d)", r"(?P<m>0[1-9]|1[0-2])", r"(?P<d>0[1-9]|[12]\d|3[01])"
_CLOCK = r"(?:[T _-]?(?P<H>[01]\d|2[0-3]):?(?P<M>[0-5]\d):?(?P<S>[0-5]\d))?"
_PATTERNS = tuple(
    re.compile(rf"(?<!\d){pattern}(?!\d)")
    for pattern in (
        rf"{_YEAR}(?P<sep>[-_.:/]){_MONTH}(?P=sep){_DAY}{_CLOCK}",
        rf"{_YEAR}{_MONTH}{_DAY}{_CLOCK}",
        rf"{_YEAR}[-_.]?(?P<n>[0-2]\d\d|3[0-5]\d|36[0-6])",
        rf"{_YEAR}[-_.]?{_MONTH}(?![-_.:/]?\d)",
        rf"{_YEAR}(?![-_.:/]?\d\d)",
    )
)
"""Day and time, day of the year, month, year; the first that a text has somewhere is its date."""


@dataclass(frozen=True)
class Times:
    """When each layer of a stack was taken."""

    dates: Dates

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """Days since the first layer's, which whole ones are in float32 too."""
        dates = np.array(self.dates, "datetime64[s]")
        return (dates - dates[0]) / np.timedelta64(1, "D")  # type: ignore[no-any-return]

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """What bodies ask of each layer, one `CALENDAR` name after the other: days, years, months, days of the year."""
        dates = np.array(self.dates, "datetime64[s]")
        years, months = dates.astype("datetime64[Y]"), dates.astype("datetime64[M]")
        of_year = (dates.astype("datetime64[D]") - years).astype(int) + 1
        return np.concatenate([self.days, years.astype(int) + 1970, (months - years).astype(int) + 1, of_year])

    @property
    def fallen(self) -> str | None:
        """Says which layer is the first that is older than the one before it."""
        older = np.flatnonzero(np.diff(np.array(self.dates, "datetime64[s]")) < np.timedelta64(0))
        if not older.size:
            return None
        k = int(older[0]) + 1
        return f"layer {k} is of {words(self.dates[k])}, and layer {k - 1} of {words(self.dates[k - 1])}"

    def __str__(self) -> str:
        first, last = words(self.dates[0]), words(self.dates[-1])
        return first if len(self.dates) == 1 else f"{first} to {last}"

    def __repr__(self) -> str:
        return f"({', '.join(map(words, self.dates))})"


def words(date: np.datetime64) -> str:
    """A date, with the time of day unless that is midnight.

    Example:
        >>> words(np.datetime64("2020-01-05T00:00:00")), words(np.datetime64("2020-01-05T10:30:00"))
        ('2020-01-05', '2020-01-05T10:30:00')
    """
    text = str(date.astype("datetime64[s]"))
    return text.removesuffix("T00:00:00")


def date_in(text: str) -> np.datetime64 | None:
    """Returns the date that a text has in it, a file's name or a band's description, or None.

    Example:
        >>> date_in("ndvi_20200105.tif"), date_in("MOD13Q1.A2020017.h18v04"), date_in("B04")
        (np.datetime64('2020-01-05T00:00:00'), np.datetime64('2020-01-17T00:00:00'), None)
    """
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            date = _date_of(match.groupdict())
            if date is not None:
                return date
    return None


def _date_of(found: dict[str, str | None]) -> np.datetime64 | None:
    day = f"{found['y']}-{found.get('m') or '01'}-{found.get('d') or '01'}"
    clock = f"T{found['H']}:{found['M']}:{found['S']}" if found.get("H") else ""
    try:
        date = np.datetime64(day + clock, "s")
    except ValueError:  # the 31st of June
        return None
    number = found.get("n")
    if number is None:
        return date
    date += np.timedelta64(int(number) - 1, "D")
    return date if number != "000" and str(date)[:4] == found["y"] else None


def as_dates(times: Iterable[Any], count: int) -> Dates:
    """Returns what a caller gives as times, as dates in seconds.

    Raises:
        ParameterError: They are no dates, or not one for each of so many layers.
    """
    given = list(times)
    if len(given) != count:
        raise ParameterError(f"times= has {len(given)}, and the stack {count} layers: give one for each")
    try:
        dates = tuple(np.datetime64(_plain(one), "s") for one in given)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"times= holds no dates ({error}): give datetime objects, np.datetime64 or texts such as '2020-01-05'"
        ) from error
    if any(np.isnat(date) for date in dates):
        raise ParameterError(f"times= has no date for layer {[bool(np.isnat(d)) for d in dates].index(True)}")
    return dates


def _plain(one: Any) -> Any:
    """A date that NumPy takes: one with a time zone in UTC, without saying so."""
    if getattr(one, "tzinfo", None) is not None:
        return (one - one.utcoffset()).replace(tzinfo=None)
    if isinstance(one, (int, float)) and not isinstance(one, bool):
        raise TypeError(f"{one!r} is a number")
    return one


_UNITS = {1: "second sec", 60: "minute min", 3600: "hour hr", 86400: "day"}
_SECONDS = {word + end: count for count, words in _UNITS.items() for word in words.split() for end in ("", "s")}
_SINCE = re.compile(r"(\w+) since (.+)")


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

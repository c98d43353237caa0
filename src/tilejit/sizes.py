"""Sizes and counts as people write them."""

from __future__ import annotations

import math
import re

from tilejit.errors import ParameterError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


def parse_size(size: str | float) -> int:
    """Returns the bytes that ``"2GB"``, ``"512 MiB"`` or a number stands for.

    Raises:
        ParameterError: It is no size.

    Example:
        >>> parse_size("2GB"), parse_size("1.5 KiB")
        (2000000000, 1536)
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match and match[2].lower() in _UNITS:
            return int(float(match[1]) * _UNITS[match[2].lower()])
    elif isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size < math.inf:
        return int(size)
    raise ParameterError(f"{size!r} is no size of memory; write 2GB, 512MB or a number of bytes")


def format_size(count: float) -> str:
    """Returns a size in the unit that suits it.

    Example:
        >>> format_size(1536), format_size(2_000_000_000)
        ('1.5 kB', '2.0 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, noun: str) -> str:
    """Returns a number of things.

    Example:
        >>> counted(1, "tile"), counted(2, "tile"), counted(1200, "valid pixel")
        ('1 tile', '2 tiles', '1200 valid pixels')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"

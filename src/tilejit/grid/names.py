"""CRSs and transforms in a few words, and whether two texts are of one CRS."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_CODE_IN_NAME = re.compile(r"\(EPSG:\d+\)$")


@functools.lru_cache(maxsize=256)
def crs_name(crs: str | None) -> str:
    """A CRS's WKT in a few words: its name, and its code where it has one.

    Example:
        >>> crs_name('GEOGCS["WGS 84",UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]')
        'WGS 84 (EPSG:4326)'
    """
    if crs is None:
        return "no CRS"
    name = re.search(r'"([^"]*)"', crs)
    # A CRS's own code stands last; the ones before it are its datum's and its units'.
    code = re.search(r'(?:AUTHORITY|ID)\["(\w+)",\s*"?(\w+)"?\]\s*\]\s*$', crs)
    text = name.group(1) if name and name.group(1) else "an unnamed CRS"
    return f"{text} ({code.group(1)}:{code.group(2)})" if code else text


def transform_text(transform: Sequence[float]) -> str:
    """Six numbers in parentheses."""
    return "(" + ", ".join(f"{value:.12g}" for value in transform) + ")"


def same_crs_name(one: str | None, other: str | None) -> bool:
    """Whether two definitions are of one CRS: one EPSG code is one CRS, however two writers spelt its names."""
    mine, theirs = crs_name(one), crs_name(other)
    return one == other or (mine == theirs and bool(_CODE_IN_NAME.search(mine)))

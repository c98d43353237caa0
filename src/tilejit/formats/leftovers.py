"""What runs that were killed have left: their temporary files, which the next run to the same folder removes.

A temporary name says which process has made it. It goes where that process has ended, and nobody else's goes. Finished
outputs, and those that a later run goes on with, have no process in their names: they stay.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from typing import TYPE_CHECKING

from tilejit.formats.target import remove_folder
from tilejit.system.files import why_not_own
from tilejit.system.identity import ORIGIN, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NAME = re.compile(rf"\..+\.({ORIGIN})-[0-9a-f]{{16}}\.(tmp|running)(\..*)?")
"""The names of `target.temporary_of` and of sentinels, with what GDAL appends to them."""
_SHARE = 100
"""A folder is looked through again after so many times as long as that takes: 10,000 files take 5 to 15 ms, which a
process that writes them one by one would pay 10,000 times."""
_MOST = 1000
"""Folders that are remembered."""

_due: dict[Path, float] = {}
"""When each folder is looked through again."""


def sweep(folder: Path) -> None:
    """Removes what runs that were killed have left in a folder, as far as that can be.

    Args:
        folder: Where outputs are about to be written.
    """
    began = time.monotonic()
    if began < _due.get(folder, 0.0):
        return
    found = list(_leftovers(folder))
    if len(_due) >= _MOST:
        _due.clear()
    _due[folder] = began + _SHARE * (time.monotonic() - began)
    for place in found:
        _remove(place)


def _leftovers(folder: Path) -> Iterator[Path]:
    ended: Callable[[str], bool] = functools.cache(has_ended)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # the run finds out what is wrong with it
        for entry in entries:
            match = _NAME.fullmatch(entry.name) if entry.name.startswith(".") else None
            if match is not None and ended(match[1]):
                yield folder / entry.name


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):  # another run removes it, too, or nobody may
        found = os.lstat(place)
        if why_not_own(found) is not None:
            return
        if place.is_dir():
            remove_folder(place)
        else:
            place.unlink()

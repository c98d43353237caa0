"""What tells whether files that an earlier run finished are as it left them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from tilejit.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Seal = list[str | int]
"""A file's name in its folder, its size and the CRC-32 of its bytes; a size of -1 where it was not written."""

_PIECE = 1 << 20


def seal_of(folder: Path, name: str) -> Seal:
    """Returns a file's seal.

    Example:
        >>> from pathlib import Path
        >>> seal_of(Path("/nowhere"), "a.tif")
        ['a.tif', -1, 0]
    """
    size, code = 0, 0
    try:
        with (folder / name).open("rb") as file:
            while piece := file.read(_PIECE):
                size, code = size + len(piece), zlib.crc32(piece, code)
    except FileNotFoundError:
        return [name, -1, 0]
    return [name, size, code]


def check_seals(path: str, folder: Path, seals: Iterable[Seal]) -> None:
    """Refuse to go on with an output of which a finished file is gone, cut or altered.

    Args:
        path: The output, for messages.
        folder: Where its files are until it is complete.
        seals: What the journal says of them.

    Raises:
        SinkError: With the file, and what is there instead.
    """
    for seal in seals:
        found = seal_of(folder, str(seal[0]))
        if found != list(seal):
            there, noted = (_words(size) for size in (found[1], seal[1]))
            changed = (
                "other bytes than its journal says" if there == noted else f"{there}, and its journal says {noted}"
            )
            raise SinkError(
                f"{path}: cannot go on: {folder / str(seal[0])} has {changed}: delete {folder} and the journal to "
                "begin anew"
            )


def _words(size: str | int) -> str:
    return "no file" if size == -1 else f"{size:,} bytes"

"""What tells whether files that an earlier run finished are as it left them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from tilejit.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tilejit.formats.sink import OutputProfile

Checksum = list[str | int]
"""A file's name in its folder, its size and the CRC-32 of its bytes; a size of -1 where it was not written."""

_PIECE = 1 << 20


def checksum_of(folder: Path, name: str) -> Checksum:
    """Returns a file's checksum.

    Example:
        >>> from pathlib import Path
        >>> checksum_of(Path("/nowhere"), "a.tif")
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


def checksums_of(profile: OutputProfile, folder: Path, names: Iterable[str]) -> list[Checksum]:
    """The checksums of what a writer has finished; none where no journal keeps them."""
    return [] if profile.checkpoint is None else [checksum_of(folder, name) for name in names]


def check_checksums(path: str, folder: Path, checksums: Iterable[Checksum]) -> None:
    """Refuse to go on with an output of which a finished file is gone, cut or altered.

    Args:
        path: The output, for messages.
        folder: Where its files are until it is complete.
        checksums: What the journal says of them.

    Raises:
        SinkError: With the file, and what is there instead.
    """
    for checksum in checksums:
        found = checksum_of(folder, str(checksum[0]))
        if found != list(checksum):
            there, noted = (_words(size) for size in (found[1], checksum[1]))
            changed = (
                "other bytes than its journal says" if there == noted else f"{there}, and its journal says {noted}"
            )
            raise SinkError(
                f"{path}: cannot go on: {folder / str(checksum[0])} has {changed}: delete {folder} and the journal to "
                "begin anew"
            )


def _words(size: str | int) -> str:
    return "no file" if size == -1 else f"{size:,} bytes"

"""The bytes of a local file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tilejit.errors import CodecError, ReadError
from tilejit.formats.files import identity_of
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.files import State


class LocalFile:
    """A file that is open for reading, which is still the one of a state; threads may read at the same time."""

    def __init__(self, name: str, state: State | None) -> None:
        try:
            self._descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ReadError(f"{name}: cannot be opened again: {error.strerror}{open_files_hint(error)}") from error
        if identity_of(os.fstat(self._descriptor)) != state:
            self.close()
            raise ReadError(f"{name}: it was written or replaced since it was opened: open it again")

    def read(self, pieces: Sequence[tuple[NDArray[np.uint8], int]]) -> None:
        """Read bytes, each from a place in the file on."""
        for data, offset in pieces:
            self._fill(data, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _fill(self, data: NDArray[np.uint8], offset: int) -> None:
        """Read bytes. A mapped file would be a signal instead of an error where it has been cut short."""
        done = 0
        while done < data.size:
            got = os.preadv(self._descriptor, [data[done:].data], offset + done)
            if got == 0:
                raise CodecError(f"the file ends {data.size - done:,} bytes before it, at byte {offset + done:,}")
            done += got

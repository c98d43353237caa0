"""An output that an earlier run completed, but for its name."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any, NoReturn

from tilejit.errors import SinkError
from tilejit.formats.gdal.side_file import write_side_file
from tilejit.formats.target import completing, give_name, remove_sidecars, replaced_folder, replacing_folder, sync_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.formats.sink import BranchOpener, OutputProfile, Record
    from tilejit.window import Window


_GEOTIFF = {".tif", ".tiff", ".gtiff"}


class FinishedSink:
    """What a run was killed at when all was written: some of its files may have their names already.

    Args:
        profile: What the output is.
        renames: Its files and folders: what they are called until it is complete, and then.
        check: Refuses to replace a folder for what it holds; None where no folder is part of it.
    """

    concurrent = True
    """Nobody writes."""

    def __init__(
        self,
        profile: OutputProfile,
        renames: Sequence[tuple[Path, Path]],
        check: Callable[[OutputProfile, Path], None] | None = None,
    ) -> None:
        self.grid = profile.grid
        """Where its cells lie."""
        self.block = (1, 1)
        """Nobody writes blocks."""
        self._profile, self._path, self._renames, self._check = profile, profile.path, renames, check

    def write(self, window: Window, array: NDArray[Any]) -> NoReturn:  # noqa: ARG002 - a sink's
        """Refuses: all is written.

        Raises:
            SinkError: Always.
        """
        raise SinkError(f"{self._path}: cannot write {window}: the output is complete")

    def branch(self, *, local: bool) -> BranchOpener:  # noqa: ARG002 - a sink's
        """Returns what would open a worker's end, if any part were left to do."""
        return self._refuse

    def _refuse(self) -> NoReturn:
        raise SinkError(f"{self._path}: the output is complete")

    def take(self, record: Record) -> Record:
        """Nothing to note."""
        return record

    def keep(self, records: Iterable[Record]) -> None:
        """Nothing to note: what the records say is in the output."""

    def sync(self) -> None:
        """Nothing to wait for."""

    def commit(self) -> None:
        """Gives the output its name; see `Sink.commit`."""
        overwrite = self._profile.overwrite
        check = functools.partial(self._check, self._profile) if self._check is not None and overwrite else None
        for temporary, target in self._renames:
            with completing(self._path, temporary, self.abort):
                if temporary.is_dir():
                    with replacing_folder(self._path, temporary, target, check):
                        pass
                elif temporary.exists():
                    give_name(self._path, temporary, target, overwrite=overwrite)
                # It may have been killed in the middle of either.
                if overwrite:
                    remove_sidecars(target)
                if target.suffix.lower() in _GEOTIFF:
                    write_side_file(self._path, target, self.grid, overwrite=True)
                shutil.rmtree(replaced_folder(temporary), ignore_errors=True)
                sync_path(target.parent)

    def abort(self) -> None:
        """Nothing to drop: the next run goes on with it."""

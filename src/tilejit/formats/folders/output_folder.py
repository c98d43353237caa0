"""A folder that appears under its name only when it is complete: what outputs of many files share."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.target import (
    completing,
    disk_hint,
    finished,
    remove_folder,
    replacing_folder,
    require_own,
    sync_file_system,
    temporary_of,
)
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tilejit.formats.sink import Kept


class OutputFolder:
    """A folder under a temporary name beside its target, whose name it gets in the end.

    Args:
        path: What messages call the output.
        target: What the folder will be called.
        kept: What it is for a later run; None where nothing is to be left.
        check: Refuses to replace a folder for what it holds; None where none may be replaced.

    Raises:
        SinkError: It cannot be created, or what an earlier run should have left is not this user's.
    """

    def __init__(
        self, path: str, target: Path, kept: Kept | None = None, check: Callable[[Path], None] | None = None
    ) -> None:
        self.path = path
        """What messages call the output."""
        self.target = target
        """What the folder will be called."""
        self.temporary = temporary_of(target, kept)
        """What it is called until it is complete."""
        self.kept = kept is not None and kept.stage == "begun"
        """Whether it stays where the output cannot be completed."""
        self._check = check
        if kept is not None and kind_of(self.temporary) is not None:
            require_own(self.temporary)
        if not self.kept:
            with self.completing("created"):
                if kept is not None:  # what a run left that had not begun yet
                    shutil.rmtree(self.temporary, ignore_errors=True)
                self.temporary.mkdir()

    def sync(self) -> None:
        """Wait until all its files are on the disk.

        Raises:
            OSError: A page could not be written.
        """
        sync_file_system(self.temporary)

    @contextmanager
    def published(self) -> Iterator[None]:
        """Give the folder its name; where the body fails, what was there before is there again.

        Raises:
            NameTakenError: Something that may not be replaced has the name by now; the folder stays.
        """
        self.temporary = finished(self.temporary)
        try:
            with replacing_folder(self.path, self.temporary, self.target, self._check):
                yield
        except NameTakenError:
            self.kept = True
            raise

    def remove(self) -> None:
        """Leave nothing behind but the target, unless it is kept; nothing happens after `published`, or again."""
        if not self.kept:
            remove_folder(self.temporary)

    def completing(self, done: str = "completed") -> AbstractContextManager[None]:
        """Leave nothing behind where the output cannot be completed; see `target.completing`."""
        return completing(self.path, self.temporary, self.remove, done)

    def hint(self, error: BaseException) -> str:
        """What to do about a full disk, in brackets; empty where it is not full."""
        return disk_hint(self.target.parent, error)


def check_replaceable(path: str, target: Path, folder: Path, strangers: Iterable[Path]) -> None:
    """Refuse to replace a folder that holds what no output of tilejit's would.

    Args:
        path: The output, for the message.
        target: What the folder is called.
        folder: Where it is now.
        strangers: What in it is no part of such an output.

    Raises:
        SinkError: There is something; with its name.
    """
    for strange in strangers:
        raise SinkError(
            f"{path}: {target} would be replaced, and holds {strange.relative_to(folder)}, which is no part of such an "
            "output: give another name, or move that"
        )

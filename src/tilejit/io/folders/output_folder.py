"""A folder that appears under its name only when it is complete: what outputs of many files share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.io.target import completing, disk_hint, replacing_folder, sync_file_system, temporary_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tilejit.io.sink import Kept


class OutputFolder:
    """A folder under a temporary name beside its target, which it replaces in the end.

    Raises:
        SinkError: It cannot be created.
    """

    def __init__(self, path: str, target: Path, kept: Kept | None = None) -> None:
        self.path = path
        """What messages call the output."""
        self.target = target
        """What the folder will be called."""
        self.temporary = temporary_of(target, kept)
        """What it is called until it is complete."""
        self.kept = kept is not None and kept.stage == "begun"
        """Whether it stays where the output cannot be completed."""
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

    def published(self) -> AbstractContextManager[None]:
        """Give the folder its name; where the body fails, what was there before is there again."""
        return replacing_folder(self.temporary, self.target)

    def remove(self) -> None:
        """Leave nothing behind but the target, unless it is kept; nothing happens after `published`, or again."""
        if not self.kept:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def completing(self, done: str = "completed") -> AbstractContextManager[None]:
        """Leave nothing behind where the output cannot be completed; see `target.completing`."""
        return completing(self.path, self.temporary, self.remove, done)

    def hint(self, error: BaseException) -> str:
        """What to do about a full disk, in brackets; empty where it is not full."""
        return disk_hint(self.target.parent, error)


def check_replaceable(path: str, folder: Path, is_own: Callable[[str], bool]) -> None:
    """Refuse to replace a folder that holds what no output of tilejit's would.

    Args:
        path: The output, for the message.
        folder: What would be replaced.
        is_own: Whether a name in the folder is one that such an output has.

    Raises:
        SinkError: With a name that is not.
    """
    strange = next((name for name in sorted(file.name for file in folder.iterdir()) if not is_own(name)), None)
    if strange is not None:
        raise SinkError(
            f"{path}: {folder} would be replaced, and holds {strange}, which is no part of such an output: "
            "give another name, or move that"
        )

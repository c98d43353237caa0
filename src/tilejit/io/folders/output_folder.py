"""A folder that appears under its name only when it is complete: what outputs of many files share."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.io.target import completing, disk_hint, sync_file_system, sync_path, temporary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
        self.kept = kept is not None and kept.begun
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

    @contextmanager
    def published(self) -> Iterator[None]:
        """Give the folder its name; where the body fails, what was there before is there again."""
        with _swapped(self.temporary, self.target):
            yield

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


@contextmanager
def _swapped(new: Path, target: Path) -> Iterator[None]:
    """Rename a folder over another, which no system does in one step; undone where the body fails."""
    # A name of its own length: the target's may already be as long as the file system takes.
    old = target.parent / f".{target.stem[:60]}.{os.getpid()}-{secrets.token_hex(4)}.old{target.suffix}"
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
        yield
    except BaseException:
        if target.exists() and not new.exists():
            target.rename(new)
        if old.exists():
            old.rename(target)
        raise
    sync_path(target.parent)
    shutil.rmtree(old, ignore_errors=True)

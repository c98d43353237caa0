"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes under a temporary name and renames, so that readers and processes that race see whole files.

    Raises:
        OSError: It cannot be written; what was there is untouched, and nothing else is left.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_text(Path(folder, "a.txt"), "whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.stem[:60]}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes files for the user alone: this one is to be as public as any other.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

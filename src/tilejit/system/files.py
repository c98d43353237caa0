"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes text as UTF-8; see `replace_bytes`."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Writes under a temporary name and renames, so that readers and processes that race see whole files.

    Args:
        path: The file.
        content: What it holds then.
        mode: Who may read and write it, of those whom the process lets do so.

    Raises:
        OSError: It cannot be written; what was there is untouched, and nothing else is left.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_bytes(Path(folder, "a.txt"), b"whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    # Made anew and not by mkstemp, whose files are the user's alone: this one is as public as the process makes any.
    temporary = path.with_name(f".{path.stem[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

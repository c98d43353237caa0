"""What generated modules import of tilejit: operations that stand in files of `tilejit.compiler.jit`."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import tilejit.compiler.jit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_BY = {"lanes": ["sorting"]}
"""What else decides what a file's operations do."""


def uses(text: str, name: str) -> bool:
    """Whether a name stands in a text."""
    return re.search(rf"(?<![\w.]){name}\b", text) is not None


def imports_of(text: str, operations: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines that import what a text uses; ``operations`` has the names in each file."""
    used = {file: sorted(name for name in names if uses(text, name)) for file, names in operations.items()}
    found = {file: ", ".join(names) for file, names in used.items() if names}
    return [f"from tilejit.compiler.jit.{f} import {names}  # {_version_of(f)}" for f, names in found.items()]


@functools.cache
def _version_of(file: str) -> str:
    """What tells operations from another version's: compiled code is kept by its text."""
    folder = Path(tilejit.compiler.jit.__file__).parent
    files = [folder / f"{name}.py" for name in (file, *_READ_BY.get(file, []))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:8]

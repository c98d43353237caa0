"""What generated modules import of tilejit: operations that stand in `tilejit.compiler.jit.operations`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def uses(text: str, name: str) -> bool:
    """Whether a name stands in a text."""
    return re.search(rf"(?<![\w.]){name}\b", text) is not None


def imports_of(text: str, operations: Iterable[str]) -> list[str]:
    """The line that imports what a text uses of some operations."""
    used = sorted(name for name in operations if uses(text, name))
    return [f"from tilejit.compiler.jit.operations import {', '.join(used)}"] if used else []

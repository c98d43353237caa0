"""Modules of generated source that hold objects of this process, such as C functions: none is kept on disk."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def private_module(text: str, stem: str, objects: Mapping[str, Any]) -> ModuleType:
    """Makes a module that no other call gets, though its text were the same.

    Args:
        text: The module's source.
        stem: A readable beginning for its name.
        objects: What its text names and does not define.

    Example:
        >>> private_module("twice = 2 * value", "example", {"value": 3}).twice
        6
    """
    module = ModuleType(f"_tilejit_{stem}")
    vars(module).update(objects)
    exec(compile(text, f"<tilejit {stem}>", "exec"), vars(module))  # noqa: S102 - our own source
    return module

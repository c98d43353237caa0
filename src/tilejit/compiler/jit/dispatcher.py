"""Functions called through Numba's own dispatchers: what is documented of Numba, and half a second of importing it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.object_code import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.compiler.jit.generated import Call, Generated
    from tilejit.compiler.jit.object_code import ArgumentType

_ORDINARY = '"error_model": "numpy", "nogil": True'
"""What stands in a module's text for the options of functions that are called without Numba."""


def load_dispatcher(function: Generated, types: tuple[ArgumentType, ...]) -> Call:
    """Has Numba make a dispatcher of a function; see `tilejit.compiler.jit.generated.Loader`."""
    del types  # Numba finds them when it is called
    ordinary = replace(function, text=function.text.replace(OPTIONS, _ORDINARY))
    dispatcher = getattr(ordinary.module(keep=True), function.name)

    def call(arguments: Sequence[Any]) -> int:
        result = dispatcher(*arguments)
        return 0 if result is None else int(result)

    return call

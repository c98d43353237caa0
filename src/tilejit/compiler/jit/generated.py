"""A function of a generated module, as text: what a loader makes something of that can be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.cache import load_module
from tilejit.compiler.jit.object_code import ArgumentType, compiler
from tilejit.compiler.jit.private_module import private_module
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from types import ModuleType

Call = Callable[[Sequence[Any]], int]
"""Calls a function without the GIL, with arguments of the types that it was loaded for; 0 where it returns nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """A function that returns an integer or nothing."""

    text: str
    """The module's source, in which it is under ``njit`` with `tilejit.compiler.jit.object_code.OPTIONS`."""
    name: str
    """Its name there."""
    stem: str
    """A readable beginning for the names of files."""
    objects: Mapping[str, Any]
    """What the text names and does not define, such as C functions: such code is not kept."""

    def module(self, *, keep: bool = False) -> ModuleType:
        """Makes the module.

        Args:
            keep: Whether Numba finds again what it compiled of the function in another process.

        Raises:
            BackendError: Numba is told not to compile.
        """
        if self.objects:
            module = private_module(self.text, self.stem, self.objects)
        else:
            module = load_module(self.text, self.stem, compiler(), self.name if keep else "")
        if not hasattr(getattr(module, self.name), "overloads"):
            raise BackendError(
                "NUMBA_DISABLE_JIT is set, so that nothing is compiled: unset it, or take backend='python'"
            )
        return module


Loader = Callable[[Generated, tuple[ArgumentType, ...]], Call]
"""Makes a function callable for arguments of some types.

Raises:
    BackendError: It cannot be compiled or loaded.
"""

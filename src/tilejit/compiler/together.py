"""The lines of a row whose pixels go through layers together; see `tilejit.compiler.interchange`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.emitter import device_parameters, expression_text
from tilejit.compiler.interchange import Loop, Section
from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.interchange import Nest
    from tilejit.compiler.pixels import Pixels

_OK = "_lanes_ok"
"""Which pixels have valid cells in all layers; no variable's array has that name."""


def lanes_of(nest: Nest, pixels: Pixels) -> dict[str, np.dtype]:
    """Returns the arrays that a row needs beside inputs and outputs: name -> dtype, of as many cells as it has."""
    dtypes = {Kind.FLOAT: pixels.signature.compute, Kind.INT: np.dtype(np.int64), Kind.BOOL: np.dtype(np.bool_)}
    lanes = {_lane(name): dtypes[kind] for name, kind in nest.shared.items()}
    return lanes | ({_OK: dtypes[Kind.BOOL]} if pixels.layer_checks() else {})


def _lane(variable: str) -> str:
    return f"_lane_{variable}"


@dataclass(frozen=True, slots=True)
class Together:
    """One row."""

    pixels: Pixels
    """What one pixel is."""
    nest: Nest
    scalars: list[str]
    """What the body is called with."""
    for_pixels: Callable[[list[str]], list[str]]
    """Puts lines into the loop over the row's pixels."""

    def lines(self, endings: list[str]) -> list[str]:
        """The lines of the row; ``endings`` store what the body has returned."""
        checks = self.pixels.layer_checks()
        checked = self.for_pixels([f"_ok = {_OK}[_x]", *checks, f"{_OK}[_x] = _ok"]) if checks else []
        lines = [self._text(statement) for statement in self.nest.before]
        lines += self.for_pixels([f"{_OK}[_x] = True"]) if checks else []
        *parts, last = self.nest.block
        for part in parts:
            if checked and isinstance(part, Loop) and part.is_whole:
                lines += self._loop(part, [f"_layer = {part.target}", *checked])
                checked = []
            else:
                lines += self._lines(part)
        if checked:
            stack = next(w.name for w in self.pixels.form.body.windows if w.is_stack)
            lines += [f"for _layer in range({stack}.shape[0]):", *_indented(checked)]
        known = [f"_ok = {f'{_OK}[_x]' if checks else 'True'}", *self.pixels.cell_checks()] * self.pixels.checked
        assert isinstance(last, Section)  # noqa: S101 - what else is left as it is
        call = self.pixels.call(last.function, self._arguments(last))
        return [*lines, *self.for_pixels([*known, *call, *endings])]

    def _lines(self, part: Section | Loop) -> list[str]:
        if isinstance(part, Loop):
            return self._loop(part, [])
        targets = ", ".join(f"{_lane(name)}[_x]" for name in part.variables)
        called = f"{part.function.name}({', '.join([*_parameters(part), *self._arguments(part)])})"
        return self.for_pixels([f"{targets} = {called}"] if targets else [])

    def _loop(self, loop: Loop, first: list[str]) -> list[str]:
        bounds = ", ".join(map(self._text, loop.bounds))
        lines = [line for part in loop.block for line in self._lines(part)]
        return [f"for {loop.target} in range({bounds}):", *_indented([*first, *lines])]

    def _arguments(self, section: Section) -> list[str]:
        """The values that a section takes."""
        given = dict(zip(self.pixels.form.body.scalars, self.scalars, strict=True))
        lanes = {name: f"{_lane(name)}[_x]" for name in self.nest.shared}
        return [{**given, **lanes}.get(name, name) for name in section.function.scalars]

    def _text(self, node: object) -> str:
        pixels = self.pixels
        return expression_text(pixels.target, pixels.signature, pixels.form, node)  # type: ignore[arg-type]


def _parameters(section: Section) -> list[str]:
    """The arrays, and the pixel, that a section takes."""
    parameters = device_parameters(section.function)
    return parameters[: len(parameters) - len(section.function.scalars)]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]

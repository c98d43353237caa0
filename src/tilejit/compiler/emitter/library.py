"""The functions of tj.math that a generated module has of its own, as text."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import tilejit.math
from tilejit.compiler.emitter.module import unparse
from tilejit.compiler.form.form import Renamer, assign, copied, stored
from tilejit.compiler.form.source import bare

if TYPE_CHECKING:
    import numpy as np


_WIDE = {"_bits": "_int_of_64", "_from_bits": "_float_of_64"}
_NARROW = {
    "_bits": "_int_of_32",
    "_from_bits": "_float_of_32",
    **{f"{n}_64": name for n, name in _WIDE.items()},
}
BITS = {32: _NARROW, 64: _WIDE}
"""Width of floats -> functions of tj.math that are operations of the CPU's modules."""


def library_parts(names: set[str], compute: np.dtype, decorator: str) -> tuple[list[str], list[str]]:
    """The constants and the functions of tj.math that ``names`` and all that they use come to, as text."""
    width = 8 * compute.itemsize
    definitions = {name: text for name, text in _library(width).items() if name not in BITS[width]}
    wanted: set[str] = set()
    todo = names & definitions.keys()
    while todo:
        name = todo.pop()
        wanted.add(name)
        used = {n.id for n in ast.walk(_definition(width, name)) if isinstance(n, ast.Name)}
        todo |= (used & definitions.keys()) - wanted
    constants, functions = [], []
    prefix = Renamer({n: f"_{n}" for n in definitions} | BITS[width])  # no name of the user's begins so
    for name in (n for n in definitions if n in wanted):
        statement = prefix.visit(copied(_definition(width, name)))
        if isinstance(statement, ast.FunctionDef):
            statement.name = f"_{statement.name}"
            functions.append(f"{decorator}\n{unparse(bare(statement))}")
        else:
            constants.append(unparse(statement))
    return constants, functions


@functools.cache
def _library(width: int) -> dict[str, str]:
    """The text of each top-level definition of tj.math's float32 or float64 file by its name.

    A definition begins in the first column and goes on further in; parsing all of them takes 25 ms.
    """
    path = Path(tilejit.math.__file__).parent / f"float{width}.py"
    definitions: dict[str, str] = {}
    for text in re.split(r"\n(?=\w)", path.read_text(encoding="utf-8")):
        if found := re.match(r"def (\w+)|(\w+(?:, \w+)*) = ", text):
            definitions |= dict.fromkeys([found[1]] if found[1] else found[2].split(", "), text)
    return definitions


@functools.cache
def _definition(width: int, name: str) -> ast.stmt:
    """One top-level definition of tj.math's float32 or float64 file."""
    statement = ast.parse(_library(width)[name]).body[0]
    if not isinstance(statement, ast.Assign):
        return statement
    values = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
    return assign(name, values[stored(statement.targets[0]).index(name)])

"""What a run must know of a kernel, kept under a hash of all that it depends on: see `Facts`.

A run for which it is there neither reads nor types a body: of the compiler it takes machine code alone. The hash is of
the body's text and code, of all that its names mean, of the functions that it calls, and of the compiler itself. What
cannot be hashed (C functions, say) is found out by each process.
"""

from __future__ import annotations

import ast
import hashlib
import marshal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.cache import kept_place, read_kept, write_kept
from tilejit.compiler.kinds import ALL, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tilejit.compiler.form import Form


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run must know of a kernel before it has anything compiled."""

    fingerprint: str
    """A hash of what it computes: its lowered body, with helpers and constants, and its contract."""
    radius: tuple[int, int]
    """How far it reads, in rows and columns."""
    results: tuple[Kind, ...]
    """The kinds of its results."""
    returns_tuple: bool
    """Whether it returns a tuple."""
    windows: frozenset[str]
    """The rasters that it subscripts, itself or in a helper, and stacks; the others it sees as one value."""
    border_is_nodata: bool
    """Whether every pixel within the radius of the raster's border reads a cell outside, which makes it nodata."""
    deciding_inputs: tuple[tuple[int, frozenset[int]], ...]
    """The inputs, with their layers, of which each makes all results nodata where it is nodata all over.

    Those whose cells the body reads, be it in a branch: where nodata propagates, any of them does. There is none of a
    kernel that deals with nodata itself.
    """
    operations: int
    """About how many operations it does for a pixel; a loop, whose length is not known, counts as a thousand."""
    is_open_ended: bool
    """Whether its text does not tell how long a pixel takes: it loops, or calls C functions."""
    layers: tuple[int, ...]
    """The layers of stacks that it reads by their numbers."""
    is_sized: bool
    """Whether it has arrays that are as long as there are layers."""
    reads_times: bool
    """Whether the body asks when layers were taken."""
    calls_c: bool
    """Whether it calls C functions."""
    changing: tuple[tuple[int, str], ...]
    """The captured objects that may be changed in place: their places among those that were hashed (-1 where they were
    not), and their names."""

    def plain(self) -> tuple[Any, ...]:
        """What `marshal` takes of it."""
        return tuple(tuple(map(int, v)) if n == "results" else v for n, v in zip(_FIELDS, _values(self), strict=True))

    @classmethod
    def of_plain(cls, values: tuple[Any, ...]) -> Facts:
        """What `plain` made a tuple of."""
        given = dict(zip(_FIELDS, values, strict=True))
        return cls(**given | {"results": tuple(map(Kind, given["results"]))})


_FIELDS = tuple(Facts.__dataclass_fields__)


def _values(facts: Facts) -> list[Any]:
    return [getattr(facts, name) for name in _FIELDS]


Contract = tuple[str, str, Any, tuple[int, int], Any, bool, int]
"""A kernel's kind, nodata, edge, radius, declared outputs, speed before bits, and layers."""


def facts_of(form: Form, contract: Contract, rasters: Sequence[str], windows: Iterable[str],
             owners: Sequence[object]) -> Facts:  # fmt: skip
    """Finds the facts of a kernel out, of its form, for rasters and the captured objects that may be changed."""
    _, nodata, edge, *_ = contract
    cells = [cell for found in form.footprint.values() for cell in found]
    read = [form.footprint.get(name, frozenset()) for name in rasters] * (nodata == "propagate")
    nodes = [node for function in form.functions for s in function.body for node in ast.walk(s)]
    tables = [(t.name, t.values.tolist()) for t in form.tables]
    parts = (form.texts, contract, tables) if tables else (form.texts, contract)
    return Facts(
        fingerprint=hashlib.sha256(repr(parts).encode()).hexdigest(),
        radius=form.radius,
        results=form.body.results,
        returns_tuple=form.body.is_tuple,
        windows=frozenset(windows),
        border_is_nodata=nodata == "propagate" and edge == "nodata" and all(
            {-reach, reach} <= {cell[axis] for cell in cells} for axis, reach in enumerate(form.radius, 1)
        ),
        deciding_inputs=tuple((k, frozenset(layer for layer, _, _ in found)) for k, found in enumerate(read) if found),
        operations=sum(map(_weight, nodes)),
        is_open_ended=bool(form.c_functions) or any(isinstance(node, (ast.For, ast.While)) for node in nodes),
        layers=tuple(asked.number for asked in form.asked if asked.number != ALL),
        is_sized=form.is_sized,
        reads_times=form.reads_times,
        calls_c=bool(form.c_functions),
        changing=tuple((_place(one.owner, owners), one.label) for one in form.changing),
    )  # fmt: skip


def _place(one: object, among: Sequence[object]) -> int:
    return next((k for k, other in enumerate(among) if other is one), -1)


_WEIGHTS = {"_math": 20, "_float": 0}
"""Operations of the calls that a lowered body has for functions of ``math`` and conversions; one for others."""


def _weight(node: ast.AST) -> int:
    if isinstance(node, (ast.For, ast.While)):
        return 1000
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _WEIGHTS.get(node.func.id, 1)
    return isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp))


def kept(stem: str, key: str | None, what: object, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Returns what ``make`` gives, of plain values, as this process or one before it has made it for a key."""
    place = None if key is None else kept_place(stem, key, what, suffix=".facts")
    content = None if place is None else read_kept(place)
    if content is not None:
        return marshal.loads(content)  # type: ignore[no-any-return] # noqa: S302 - this user's own, or it would not be here
    made = make()
    if place is not None:
        write_kept(place, marshal.dumps(made))
    return made

"""What a lazy Raster promises: bands of files, and kernels applied to bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from tilejit.compiler.form.kinds import LazyScalar
from tilejit.errors import ReadError
from tilejit.formats.source import ScaledSource, SourceStorage
from tilejit.kernel.inputs import TIMES
from tilejit.kernel.kernel import INPUT_UNIT
from tilejit.times import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from tilejit.engine.reductions import Reduction
    from tilejit.formats.source import BandInfo, Source
    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Kernel


@dataclass(frozen=True, eq=False, slots=True)
class SourceBand:
    """A band of a file or an array."""

    source: Source
    """Where it is read from."""
    info: BandInfo
    """Its number, dtype and nodata."""
    values: Source | None = None
    """Where kernels read it from, if its cells are counts that have a scale."""

    def for_kernel(self, dtype: np.dtype | None) -> SourceBand:
        """Returns what a parameter takes of it: its values, or its counts where it is annotated with a dtype."""
        source = self.source
        if dtype is not None and isinstance(source, ScaledSource):
            source = source.counts
        elif dtype is None and self.values is not None:
            source = self.values
        return self if source is self.source else SourceBand(source, source.bands[self.info.index - 1])

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.source.name if len(self.source.bands) == 1 else f"{self.source.name}[{self.info.index}]"

    @property
    def unit(self) -> str | None:
        """The unit of its values."""
        return self.info.unit


@dataclass(frozen=True, eq=False, slots=True)
class Application:
    """A kernel applied to bands: a promise of one or more results."""

    kernel: Kernel
    """The kernel."""
    ports: tuple[tuple[Band, ...], ...]
    """The bands of each of its raster parameters: one of a plane, any number of a stack."""
    parameters: Mapping[str, Any]
    """Its bound keyword-only parameters; grid quantities are still Quantity values."""

    @property
    def inputs(self) -> tuple[Band, ...]:
        """All bands that it takes, in order."""
        return tuple(band for port in self.ports for band in port)


@dataclass(frozen=True, slots=True)
class ResultBand:
    """One result of an application."""

    application: Application
    """The application."""
    index: int
    """Which of its results, from 0, or of one with a value for each layer which of these."""
    called: str | None = None
    """The chain of which it is the result."""

    @property
    def label(self) -> str:
        """What messages call it."""
        if self.called is not None:
            return self.called
        name = self.application.kernel.name
        return name if self.application.kernel.bands == 1 else f"{name}[{self.index + 1}]"

    @property
    def date(self) -> np.datetime64 | None:
        """When it was taken, where it is one of a stack's layers."""
        times = self.application.parameters.get(TIMES)
        return times.dates[self.index] if times is not None and self.application.kernel.by_date else None

    @property
    def description(self) -> str:
        """What a file says of it: its date, where it has one."""
        return self.label if self.date is None else words(self.date)

    @property
    def unit(self) -> str | None:
        """The unit of its values, as its kernel declares it; None where it does not."""
        unit = self.application.kernel.unit
        return assumed_unit(self) if unit == INPUT_UNIT else unit


Band = SourceBand | ResultBand


@dataclass(frozen=True, eq=False, slots=True)
class Reduced:
    """Bands, reduced to one value by a pass over them."""

    grid: Grid
    """Where their cells lie."""
    bands: tuple[Band, ...]
    """What is reduced."""
    reduction: Reduction
    """How tiles are reduced."""
    after: Reduced | None = None
    """What an earlier pass makes that the reduction is given first, which is a `Refined` one then."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells its value from others."""
        return (*map(_identity, self.bands), self.reduction)


def _identity(band: Band) -> tuple[int, int]:
    return (id(band.source), band.info.index) if isinstance(band, SourceBand) else (id(band.application), band.index)


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Statistic(LazyScalar):
    """A number that a pass makes: a parameter of kernels in later passes."""

    reduced: Reduced
    """The pass's value that it is a part of."""
    part: str
    """The attribute of the value that it is."""
    arguments: tuple[float, ...] = ()
    """What the attribute is called with, where it is a method."""

    def of(self, value: Any) -> float:
        """The number, of the pass's value."""
        part = getattr(value, self.part)
        return float(part(*self.arguments) if callable(part) else part)

    def __repr__(self) -> str:
        arguments = f"({', '.join(f'{a:g}' for a in self.arguments)})" if self.arguments else ""
        return f"{self.part}{arguments} of {self.reduced.bands[0].label}"


@dataclass(frozen=True, eq=False, slots=True)
class Iteration:
    """A kernel that is applied to its own result until nothing changes, as a source that its passes fill."""

    application: Application
    """The kernel; the first of its inputs is where it begins."""
    limit: int
    """How often every cell is computed at most."""
    monotone: bool
    """Whether it comes to one end however its cells are visited."""
    grid: Grid
    """Where the cells lie."""
    bands: tuple[BandInfo]
    """Its one band."""
    block: tuple[int, int] = (1, 1)
    """Any window will do."""
    storage: ClassVar[SourceStorage] = SourceStorage("from tiles on the disk", is_value=True)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.application.kernel.name

    def read(self, *_: object) -> NoReturn:
        """Refuse: a run puts what its passes have made in its place."""
        raise ReadError(f"{self.name}: is read before it is computed")

    def close(self) -> None:
        """Nothing is held open."""


Waiting = Reduced | Iteration
"""What a pass makes, or several, for later ones."""


def _key(made: Waiting) -> tuple[Any, ...]:
    return made.key if isinstance(made, Reduced) else (id(made),)


def _awaited(bands: Sequence[Band]) -> list[Waiting]:
    """What the passes of bands wait for."""
    values = (value for application in applications_of(bands) for value in application.parameters.values())
    iterations = [source for source in sources_of(bands) if isinstance(source, Iteration)]
    return [*(value.reduced for value in values if isinstance(value, Statistic)), *iterations]


def inputs_of(made: Waiting) -> tuple[Band, ...]:
    """Returns the bands that something is made of."""
    return made.bands if isinstance(made, Reduced) else (ResultBand(made.application, 0),)


def _passes_of(
    bands: Sequence[Band], after: Iterable[Reduced], levels: dict[tuple[Any, ...], tuple[int, Waiting]]
) -> int:
    """How many passes bands wait for; notes in ``levels`` for how many what they take is waiting itself."""
    count = 0
    for made in (*_awaited(bands), *after):
        if _key(made) not in levels:
            before = [made.after] if isinstance(made, Reduced) and made.after is not None else []
            levels[_key(made)] = _passes_of(inputs_of(made), before, levels), made
        count = max(count, levels[_key(made)][0] + 1)
    return count


def passes_before(
    bands: Iterable[Band], waiting: Iterable[Reduced] = ()
) -> list[tuple[Grid, list[Reduced] | Iteration]]:
    """Returns the passes that bands wait for, first ones first: a grid, and what is reduced, or iterated.

    What is reduced on one grid and waits for equally many passes rides on one pass.

    Args:
        bands: What is made, or reduced.
        waiting: What is made of some of them, and may wait for a pass of its own.
    """
    levels: dict[tuple[Any, ...], tuple[int, Waiting]] = {}
    count = _passes_of([*bands], [one.after for one in waiting if one.after is not None], levels)
    passes: list[tuple[Grid, list[Reduced] | Iteration]] = []
    for level in range(count):
        found = [made for count_before, made in levels.values() if count_before == level]
        by_grid: dict[int, list[Reduced]] = {}
        grids: list[Grid] = []
        for reduced in (made for made in found if isinstance(made, Reduced)):
            if reduced.grid not in grids:
                grids.append(reduced.grid)
            by_grid.setdefault(grids.index(reduced.grid), []).append(reduced)
        passes += [(grids[k], together) for k, together in by_grid.items()]
        passes += [(made.grid, made) for made in found if isinstance(made, Iteration)]
    return passes


def assumed_unit(band: Band) -> str | None:
    """Returns the unit of a band; of a result whose kernel declares none, that of the kernel's first input."""
    while isinstance(band, ResultBand):
        unit = band.application.kernel.unit
        if unit not in {None, INPUT_UNIT}:
            return unit
        band = band.application.inputs[0]
    return band.unit


def applications_of(bands: Iterable[Band]) -> list[Application]:
    """Returns the kernel applications that bands are made by, each once, producers before their consumers."""
    done: dict[int, Application] = {}
    _visit(bands, done)
    return list(done.values())


def _visit(bands: Iterable[Band], done: dict[int, Application]) -> None:
    # No function within a function: one that calls itself is a cycle, which keeps files open until it is collected.
    for band in bands:
        if isinstance(band, ResultBand) and id(band.application) not in done:
            _visit(band.application.inputs, done)
            done[id(band.application)] = band.application


def sources_of(bands: Sequence[Band]) -> list[Source]:
    """Returns the sources that bands are read from, each once."""
    inputs = [band for application in applications_of(bands) for band in application.inputs]
    found = {id(b.source): b.source for b in (*bands, *inputs) if isinstance(b, SourceBand)}
    return list(found.values())


def needed_bands(bands: Sequence[Band]) -> list[Band]:
    """Returns bands, and those that the passes before them reduce or iterate."""
    before = (made if isinstance(made, list) else [made] for _, made in passes_before(bands))
    return [*bands, *(band for together in before for made in together for band in inputs_of(made))]

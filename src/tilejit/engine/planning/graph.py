"""What a lazy Raster promises: bands of files, and kernels applied to bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.formats.scaled_source import ScaledSource
from tilejit.kernel.kernel import INPUT_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from tilejit.formats.source import BandInfo, Source
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
    inputs: tuple[Band, ...]
    """One band for each of its raster parameters."""
    parameters: Mapping[str, Any]
    """Its bound keyword-only parameters; grid quantities are still Quantity values."""


@dataclass(frozen=True, slots=True)
class ResultBand:
    """One result of an application."""

    application: Application
    """The application."""
    index: int
    """Which of its results, from 0."""
    called: str | None = None
    """The chain of which it is the result."""

    @property
    def label(self) -> str:
        """What messages call it."""
        if self.called is not None:
            return self.called
        name = self.application.kernel.name
        return name if len(self.application.kernel.results) == 1 else f"{name}[{self.index + 1}]"

    @property
    def unit(self) -> str | None:
        """The unit of its values, as its kernel declares it; None where it does not."""
        unit = self.application.kernel.unit
        return assumed_unit(self) if unit == INPUT_UNIT else unit


Band = SourceBand | ResultBand


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
    done: list[Application] = []
    seen: set[int] = set()

    def visit(band: Band) -> None:
        if isinstance(band, ResultBand) and id(band.application) not in seen:
            seen.add(id(band.application))
            for inner in band.application.inputs:
                visit(inner)
            done.append(band.application)

    for band in bands:
        visit(band)
    return done


def sources_of(bands: Sequence[Band]) -> list[Source]:
    """Returns the sources that bands are read from, each once."""
    inputs = [band for application in applications_of(bands) for band in application.inputs]
    found = {id(b.source): b.source for b in (*bands, *inputs) if isinstance(b, SourceBand)}
    return list(found.values())

"""What a lazy Raster promises: bands of files, and kernels applied to bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilejit.io.source import BandInfo, Source
    from tilejit.kernel import Kernel


@dataclass(frozen=True, eq=False, slots=True)
class SourceBand:
    """A band of a file or an array."""

    source: Source
    """Where it is read from."""
    info: BandInfo
    """Its number, dtype and nodata."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.source.name if len(self.source.bands) == 1 else f"{self.source.name}[{self.info.index}]"


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

    @property
    def label(self) -> str:
        """What messages call it."""
        name = self.application.kernel.name
        return name if len(self.application.kernel.results) == 1 else f"{name}[{self.index + 1}]"


Band = SourceBand | ResultBand


def sources_of(bands: tuple[Band, ...]) -> list[Source]:
    """Returns the sources that bands are made from, each once, in order of first use."""
    found: dict[int, Source] = {}
    for band in _leaves(bands, set()):
        found.setdefault(id(band.source), band.source)
    return list(found.values())


def _leaves(bands: tuple[Band, ...], seen: set[int]) -> Iterator[SourceBand]:
    for band in bands:
        if isinstance(band, SourceBand):
            yield band
        elif id(band.application) not in seen:
            seen.add(id(band.application))
            yield from _leaves(band.application.inputs, seen)

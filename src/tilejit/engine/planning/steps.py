"""What a plan is made of: reads, planes, steps and writes, each a value that prints and compares."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isnan
from typing import TYPE_CHECKING, Any

from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.sink import WRITTEN_DIRECTLY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tilejit.compiler.form.kinds import Signature
    from tilejit.formats.source import Decoding
    from tilejit.kernel.kernel import Edge
    from tilejit.window import Window

Index = tuple[int, int]
"""A tile's row and column among tiles."""

Halo = tuple[int, int]
"""Rows above and below, columns left and right, that are needed beyond a tile."""

_DIRECT_BLOCKS, _GDAL_BLOCKS = 4.5, 3


class Value:
    """What equals another of the same parts; NaN is a part like any other, also where it was pickled."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Any, ...]:
        return tuple(_comparable(getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]


def _comparable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return "nan" if isinstance(value, float) and isnan(value) else value


@dataclass(frozen=True, eq=False, slots=True)
class Read(Value):
    """Bands that are read together from one source."""

    source: str
    """The file."""
    bands: tuple[int, ...]
    """Band numbers, from 1."""
    dtype: np.dtype
    """What they are read as."""
    halo: Halo
    """What is needed beyond the tile."""
    edge: Edge
    """What lies outside the raster."""
    valid: bool
    """Whether validity is read beside integers."""
    block: tuple[int, int]
    """The file's storage block."""
    block_bytes: int
    """Bytes that decoding one block takes."""
    stored_bytes: int | None
    """The file's size."""
    reader: str
    """How it is read, and why."""
    decoding: Decoding | None = None
    """What decoding takes where workers share decoded blocks; None where each decodes for itself."""
    scales: tuple[tuple[float, float], ...] = ()
    """What the stored cells of each band are multiplied by, and what is added then; empty where they are taken as they
    are."""

    @property
    def cell_bytes(self) -> int:
        """Bytes that one cell of all its bands takes in memory."""
        return len(self.bands) * (self.dtype.itemsize + self.valid)


@dataclass(frozen=True, eq=False, slots=True)
class Operand(Value):
    """An input of a step: a (layer, row, col) array of planes, as the kernel wants them."""

    planes: tuple[int, ...]
    """The planes' numbers: one, or those of a stack's layers."""
    dtype: np.dtype
    """The dtype of the array that is passed."""
    halo: Halo
    """The halo of the array that is passed."""
    valid: bool
    """Whether its validity is passed too."""
    direct: bool
    """Whether the planes are passed where they are; otherwise they are gathered, cropped or converted first."""

    @property
    def cell_bytes(self) -> int:
        """Bytes that one cell of all its layers takes in memory."""
        return len(self.planes) * (self.dtype.itemsize + self.valid)


@dataclass(frozen=True, eq=False, slots=True)
class Plane(Value):
    """One band of cells over a tile and a halo, while the tile is computed."""

    label: str
    """Where it comes from."""
    dtype: np.dtype
    """Its dtype."""
    halo: Halo
    """What it covers beyond the tile."""
    edge: Edge
    """What lies outside the raster."""
    nodata: float | None
    """The value of invalid cells; None where validity is apart or nothing is invalid."""
    turned: bool = False
    """Whether kernels see it turned around: it is read, and its rows or columns do not run south and east."""
    run: int = 0
    """Planes of one run, dtype and halo that follow one another lie so in memory: those that are read are one run, and
    the layers of each result another."""


@dataclass(frozen=True, eq=False, slots=True)
class Step(Value):
    """One launch: planes in, planes out."""

    kernel: str
    """``module:name`` of the kernel."""
    operands: tuple[Operand, ...]
    """Its inputs."""
    results: tuple[tuple[int, ...], ...]
    """Its outputs, each a (layer, row, col) array: the planes' numbers, of one value or of one for each layer."""
    nodata: tuple[float, ...]
    """The nodata value of each result."""
    signature: Signature
    """What it is compiled for."""
    halo: Halo
    """What it computes beyond the tile, for the steps after it."""
    radius: Halo
    """How far it reads."""
    heights: str = ""
    """The unit that it takes heights to have, and why; empty where it does not ask."""
    scratch: tuple[int, int] = (0, 0)
    """Bytes that a launch takes beside inputs and outputs, and those for each column of a tile."""
    scans: int = 0
    """How often it may go over a tile in place before it computes that, until no cell changes any more."""
    awaited: str = ""
    """Its parameters that earlier passes make: ``low=percentile(2) of dem.tif``."""
    dates: str = ""
    """When the layers of its stacks were taken, where that is known: ``2020-01-05 to 2020-12-30``."""
    takes_arrays: bool = False
    """Whether its body takes whole arrays: it has copies of its own, and makes others that nobody knows."""

    @property
    def made(self) -> tuple[int, ...]:
        """The planes that it makes."""
        return tuple(plane for planes in self.results for plane in planes)


@dataclass(frozen=True, eq=False, slots=True)
class Reduce(Value):
    """Planes that are reduced to the state of a partial: of the plan's first one after the counts, and so on."""

    planes: tuple[int, ...]
    """The planes' numbers."""


@dataclass(frozen=True, eq=False, slots=True)
class Write(Value):
    """One output."""

    path: str
    """The file, or empty for an array."""
    planes: tuple[int, ...]
    """The plane of each band."""
    dtype: np.dtype
    """What is stored."""
    nodata: float | None
    """The nodata value that is written; None where every cell holds data."""
    options: Mapping[str, str]
    """GDAL's creation options."""
    block: tuple[int, int] = (1, 1)
    """The file's storage block."""
    writer: str = ""
    """What writes it, and why; empty for an array."""
    handed_over: bool = False
    """Whether each tile goes to a receiver when it is computed, instead of into an array."""
    held: int = 0
    """Bytes that each writer holds until there are enough for a file."""
    shared: bool = True
    """Whether it can be written by several processes, and by one after the other."""
    notes: tuple[str, ...] = ()
    """What of the inputs' georeferencing it keeps elsewhere, or does not keep."""
    is_tagged: bool = True
    """Whether it says which value is nodata."""
    is_scratch: bool = False
    """Whether it goes to tiles on the disk, for later passes alone."""

    @property
    def tag(self) -> float | None:
        """The nodata value that it says it has."""
        return self.nodata if self.is_tagged else None

    @property
    def is_unmarked(self) -> bool:
        """Whether cells without data hold a value that could be another cell's own."""
        return not self.is_tagged and self.nodata is not None and not isnan(self.nodata)

    @property
    def block_bytes(self) -> int:
        """Bytes that are encoded together with a block; none of an array."""
        together = len(self.planes) if self.options.get("INTERLEAVE", "PIXEL").upper() == "PIXEL" else 1
        return together * self.dtype.itemsize * self.block[0] * self.block[1] if self.path else 0

    @property
    def codec(self) -> BlockCodec | None:
        """What encodes its blocks; None where GDAL or another library does."""
        if not self.writer.endswith(WRITTEN_DIRECTLY):
            return None
        samples = len(self.planes) if self.options.get("INTERLEAVE", "PIXEL").upper() == "PIXEL" else 1
        coding = self.options.get("COMPRESS", "NONE").upper()
        return BlockCodec(coding, int(self.options.get("PREDICTOR", "1")), self.dtype, samples)

    def encoding_bytes(self, workers: int) -> int:
        """Bytes that encoding takes.

        A worker that writes blocks directly holds one as cut out, with its predictor applied, encoded, and in the
        encoder's room for the worst: measured with random floats in blocks of 17 and 50 MB, 3.1 to 4.1 of them. GDAL's
        threads hold three each, and one more thread's worth waits for them: measured with blocks of 17 MB, beyond the
        buffers and the process, 157 MB on two threads and 481 MB on eight.
        """
        held = (workers + 1) * self.held
        if self.writer.endswith(WRITTEN_DIRECTLY):
            return held + int(_DIRECT_BLOCKS * workers * self.block_bytes)
        return held + _GDAL_BLOCKS * (workers + 1) * self.block_bytes

    def raw_bytes(self, window: Window) -> int:
        """Bytes before compression."""
        return len(self.planes) * self.dtype.itemsize * window.height * window.width

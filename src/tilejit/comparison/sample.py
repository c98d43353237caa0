"""A sample of the user's rasters: tiles chosen evenly over them, put together into smaller files stored as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.planning.graph import SourceBand
from tilejit.errors import ParameterError
from tilejit.formats.gdal.new_file import options_like
from tilejit.formats.source import BandInfo, Source, storage_of
from tilejit.kernel.nodata import default_nodata
from tilejit.raster.making import from_array, open_raster
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.comparison.measures import Layers
    from tilejit.grid import Grid
    from tilejit.raster.raster import Raster

_SIDE = 1024  # rows and columns that a piece has about: its borders, where neighbours are strangers, are few
_MOST_PIXELS = 1 << 26  # no sample is larger, of all layers together: 256 MB of float32 for each input and result


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """Files to measure on."""

    inputs: tuple[Layers, ...]  # what each raster parameter takes
    height: int  # rows
    width: int  # columns
    pieces: int  # how many pieces of the rasters it is made of; 0 where it is the rasters themselves
    note: str  # how it is stored

    @property
    def pixels(self) -> int:
        """Rows times columns."""
        return self.height * self.width


def make_sample(rasters: Sequence[Raster], pixels: int, folder: Path) -> SampleFiles:
    """Makes a sample of about so many pixels of bands on one grid, whose files go to a folder."""
    ports = [_source_bands(raster) for raster in rasters]
    bands, layers = [band for port in ports for band in port], max(map(len, ports))
    wanted = min(pixels, _MOST_PIXELS // layers)
    height, width = rasters[0].grid.shape
    as_they_are = all(Path(band.source.name).is_file() for band in bands) and not any(rasters[0].grid.flips)
    if as_they_are and height * width <= 1.5 * wanted:
        return SampleFiles(
            tuple(tuple((b.source.name, b.info.index) for b in port) for port in ports), height, width, 0,
            "the files themselves",
        )  # fmt: skip
    pieces = _pieces(bands[0].source, wanted, _SIDE // math.isqrt(layers))
    written = _Written(pieces, folder)
    inputs = tuple(tuple(written.place(band) for band in port) for port in ports)
    shape = len(pieces) * pieces[0][0].height, len(pieces[0]) * pieces[0][0].width
    return SampleFiles(inputs, *shape, len(pieces) * len(pieces[0]), "; ".join(dict.fromkeys(written.notes)))


def _source_bands(raster: Raster) -> list[SourceBand]:
    found = [band for band in raster.bands if isinstance(band, SourceBand)]
    if len(found) < len(raster):
        raise ParameterError(f"{raster.label}: give bands of files, as tj.open(path, band=1): nothing computed")
    return found


class _Written:
    """The files of a sample; bands that lie between each other are written together, once."""

    def __init__(self, pieces: list[list[Window]], folder: Path) -> None:
        self._pieces, self._folder, self._paths = pieces, folder, dict[Any, Path]()
        self.notes: list[str] = []

    def place(self, band: SourceBand) -> tuple[str, int]:
        """Where the pieces of an input are, which are written unless they are there."""
        options = options_like(band.source.name) if storage_of(band.source).block_bytes > 0 else None
        alike = len({b.dtype for b in band.source.bands}) == 1
        together = options is not None and options["INTERLEAVE"] == "PIXEL" and alike
        key = (id(band.source), None if together else band.info.index)
        if key not in self._paths:
            self._paths[key] = self._folder / f"sample{len(self._paths)}.tif"
            infos = band.source.bands if together else (band.info,)
            self.notes.append(_write(band, infos, options, self._pieces, self._paths[key]))
        return str(self._paths[key]), band.info.index if together else 1


def _pieces(source: Source, pixels: int, side: int) -> list[list[Window]]:
    """Rows of windows of one shape, in whole blocks, that lie evenly over the raster."""
    shape, block = source.grid.shape, source.block
    rows, cols = (min(n, max(1, side // b) * b) for n, b in zip(shape, block, strict=True))
    down, across = shape[0] // rows, shape[1] // cols
    count = min(down * across, max(1, math.ceil(pixels / (rows * cols))))
    wide = min(count, across, max(1, math.isqrt(count * rows // cols or 1)))
    high = count // wide
    places = [divmod(int((k + 0.5) * down * across / (high * wide)), across) for k in range(high * wide)]
    windows = [Window(row * rows, col * cols, rows, cols) for row, col in places]
    return [windows[k * wide : (k + 1) * wide] for k in range(high)]


def _write(
    band: SourceBand,
    infos: Sequence[BandInfo],
    options: Mapping[str, str] | None,
    pieces: list[list[Window]],
    path: Path,
) -> str:
    """Writes the pieces of bands of one source; returns how they are stored."""
    source, is_file = band.source, storage_of(band.source).block_bytes > 0
    nodata = _nodata(band.info)
    stack = np.stack([_cells(source, info, pieces, nodata) for info in infos])
    # Hand-written strategies take rows as they come.
    grid = replace(source.grid.north_up(), height=stack.shape[1], width=stack.shape[2])
    made = from_array(stack, grid=grid, nodata=nodata)
    stored = _clipped(options, grid) if options is not None else {"COMPRESS": "ZSTD" if is_file else "NONE"}
    made.save(path, profile=stored, nodata=nodata, progress=False)
    open_raster(path)
    return "stored as they are" if options is not None else f"stored with {stored['COMPRESS']}"


def _clipped(options: Mapping[str, str], grid: Grid) -> dict[str, str]:
    """Options whose blocks are no larger than the raster needs: a tile of 16384 x 16384 is encoded whole."""
    sides = {"BLOCKYSIZE": grid.height, "BLOCKXSIZE": grid.width}
    fitting = {n: str(min(int(options[n]), 16 * math.ceil(sides[n] / 16))) for n in sides if n in options}
    return {**options, **fitting}


def _nodata(info: BandInfo) -> float | None:
    """The band's nodata value, or one for cells that a mask marks."""
    if info.nodata is None and info.has_mask:
        return default_nodata(info.dtype.newbyteorder("="))
    return info.nodata


def _cells(source: Source, info: BandInfo, pieces: list[list[Window]], nodata: float | None) -> NDArray[Any]:
    dtype = np.dtype(np.uint8) if info.dtype.kind == "b" else info.dtype.newbyteorder("=")
    dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
    height, width = pieces[0][0].shape
    out = np.empty((len(pieces) * height, len(pieces[0]) * width), dtype)
    for row, line in enumerate(pieces):
        for col, window in enumerate(line):
            part = out[np.newaxis, row * height : (row + 1) * height, col * width : (col + 1) * width]
            valid = np.ones(part.shape, np.uint8) if dtype.kind != "f" else None
            source.read((info.index,), window, part, valid)
            if valid is not None and nodata is not None and info.has_mask:
                part[valid == 0] = nodata
    return out

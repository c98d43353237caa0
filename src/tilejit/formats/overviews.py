"""Overviews of files: coarser copies that lie in them, or beside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tilejit.errors import ParameterError
from tilejit.formats.gdal.library import Environment
from tilejit.formats.gdal.rasterio_source import RasterioSource
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.formats.source import storage_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.formats.source import Source


class OverviewSource(RasterioSource):
    """An overview of a file, read by GDAL."""

    def __init__(self, file: Source, level: int) -> None:
        super().__init__(file.name, level)
        self._file = file

    @property
    def made_of(self) -> tuple[Source, Callable[[Source], Source]]:
        """The file; see `tilejit.formats.source.made_of`."""
        return self._file, partial(overview_of, level=self.level)

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Source, int]]:
        return overview_of, (self._file, self.level)


def overview_of(source: Source, level: int) -> Source:
    """Opens an overview of a file.

    Args:
        source: The file.
        level: Which, from 1, the finest.

    Raises:
        ParameterError: It is no file that GDAL reads, or has no such overview.
    """
    if not isinstance(source, (BlockSource, RasterioSource)) or isinstance(source, OverviewSource):
        raise ParameterError(f"{source.name}: overviews are those of files as they were opened: take .level({level}) "
                             "first, or raster.to(raster.grid.zoom_out(2), resampling='average')")  # fmt: skip
    environment = storage_of(source).environment or Environment()
    return environment.call(lambda _: OverviewSource(source, level), source.name)

"""The shipped backends, sources and sinks under the suites that outsiders' are held to."""

import numpy as np
import pytest
import rasterio

from tilejit.formats.folders.shards import ShardSink
from tilejit.formats.folders.zarr_sink import ZarrSink
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.geotiff_sink import BlockSink, RasterioSink
from tilejit.formats.in_memory import ArraySink, ArraySource
from tilejit.formats.output import OutputFile
from tilejit.formats.sink import OutputProfile
from tilejit.testing import BackendTests, SinkTests, SourceTests


class TestPython(BackendTests):
    name = "python"


class TestCpu(BackendTests):
    name = "cpu"


class TestArraySource(SourceTests):
    def make(self, cells, nodata):
        return ArraySource.of(cells, nodata=nodata)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestRasterioSource(SourceTests):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.path = tmp_path / "cells.tif"

    def make(self, cells, nodata):
        count, height, width = cells.shape
        with rasterio.open(
            self.path, "w", driver="GTiff", count=count, height=height, width=width, dtype=cells.dtype, nodata=nodata
        ) as dataset:
            dataset.write(cells)
        return open_rasterio(self.path)


class TestArraySink(SinkTests):
    def make(self, grid, count, dtype):
        self.array = np.zeros((count, *grid.shape), dtype)
        return ArraySink(self.array, grid)

    def read_back(self):
        return self.array


class FileSinkTests(SinkTests):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.path = tmp_path / "out.tif"

    def file(self, grid, count, dtype):
        return OutputFile(OutputProfile(path=str(self.path), grid=grid, count=count, dtype=dtype))

    def read_back(self):
        with rasterio.open(self.path) as dataset:
            return dataset.read()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestRasterioSink(FileSinkTests):
    def make(self, grid, count, dtype):
        return RasterioSink(self.file(grid, count, dtype), 2)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestBlockSink(FileSinkTests):
    def make(self, grid, count, dtype):
        return BlockSink(self.file(grid, count, dtype))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestShardSink(FileSinkTests):
    def make(self, grid, count, dtype):
        self.path = self.path.with_suffix(".vrt")
        return ShardSink(OutputProfile(path=str(self.path), grid=grid, count=count, dtype=dtype))


class TestZarrSink(FileSinkTests):
    def make(self, grid, count, dtype):
        pytest.importorskip("zarr", reason="needs the package zarr")
        self.path = self.path.with_suffix(".zarr")
        return ZarrSink(OutputProfile(path=str(self.path), grid=grid, count=count, dtype=dtype))

    def read_back(self):
        import zarr

        group = zarr.open_group(str(self.path), mode="r")
        return np.stack([group["band_1"][...], group["band_2"][...]])

"""Blocks that GDAL decodes, and that tiles cut."""

from collections import Counter

import numpy as np
import pytest
import rasterio

import tilejit as tj
from tilejit.formats.gdal.library import quiet
from tilejit.formats.gdal.rasterio_source import RasterioSource
from tilejit.formats.source import storage_of
from tilejit.window import Window


@tj.focal
def steep(z):
    return z[1, 0] - z[0, -1]


LAYOUTS = {
    "interleaved bands": (4, "uint8", {"compress": "lerc", "interleave": "pixel"}),
    "bands apart": (3, "int16", {"compress": "lerc", "interleave": "band"}),
    "floats with nodata": (1, "float32", {"compress": "lerc", "nodata": 7}),
    "a mask": (2, "uint8", {"compress": "deflate", "interleave": "pixel"}),
    "colours": (3, "uint8", {"compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel"}),
    "one strip": (1, "float64", {"compress": "lerc", "tiled": False, "blockysize": 499}),
}


@pytest.fixture
def decoded(monkeypatch):
    """How many times each window was asked of GDAL, and how many bands that were."""
    asked = Counter()
    read = RasterioSource._read_window

    def counted(self, bands, window, out, *, masks):
        asked[bands, window, masks] += 1
        read(self, bands, window, out, masks=masks)

    monkeypatch.setattr(RasterioSource, "_read_window", counted)
    return asked


def _write(path, layout):
    count, dtype, profile = LAYOUTS[layout]
    profile = {"tiled": True, "blockysize": 256, "blockxsize": 512, **profile}
    cells = np.random.default_rng(5).integers(0, 100, (count, 499, 700)).astype(dtype)
    with (
        quiet(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", count=count, height=499, width=700, dtype=dtype, **profile) as dataset,
    ):
        dataset.write(cells)
        if layout == "a mask":
            dataset.write_mask(cells[0] > 20)
    return path


@pytest.mark.parametrize("workers", [1, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_that_gdal_decodes_and_tiles_cut_are_decoded_once(tmp_path, decoded, layout, workers):
    raster = tj.open(_write(tmp_path / "a.tif", layout))
    assert storage_of(raster.bands[0].source).reader.startswith("through GDAL")
    whole = steep(raster.band(1)).read()
    assert set(decoded.values()) == {1}
    decoded.clear()
    options = {"tile": (64, 128), "workers": workers, "profile": {"blockysize": 64, "blockxsize": 64}}
    made = steep(raster.band(1))
    assert "each block decoded once" in str(made.plan(tmp_path / "b.tif", **options))
    made.save(tmp_path / "b.tif", **options)
    assert set(decoded.values()) == {1}
    np.testing.assert_array_equal(tj.open(tmp_path / "b.tif").read(), whole)


def test_reads_after_a_run_are_of_their_windows(tmp_path, decoded):
    """Shared blocks end with the run."""
    raster = tj.open(_write(tmp_path / "a.tif", "bands apart"))
    raster.save(tmp_path / "b.tif", tile=(64, 64), profile={"blockysize": 64, "blockxsize": 64})
    decoded.clear()
    out = np.empty((1, 3, 5), np.int16)
    source = raster.bands[0].source
    source.read((2,), Window(100, 100, 3, 5), out)
    assert [window.shape for _, window, _ in decoded] == [(3, 5)]

"""The demo: its terrain, its picture, and that it runs from end to end."""

import numpy as np
import pytest
import rasterio

import tilejit as tj
from tilejit.cli import main
from tilejit.cli.demo import GAP, SIDE, coloured, picture, shrunk
from tilejit.cli.terrain_demo import terrain
from tilejit.formats.gdal.new_file import write_png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new"
    assert main(["demo", "--size", "700", "--folder", str(folder)]) == 0
    return folder


def test_it_writes_the_rasters_and_the_picture(demo):
    names = {"demo_elevation.tif", "demo_slope.tif", "demo_hillshade.tif", "demo_preview.png"}
    assert {p.name for p in demo.iterdir()} == names
    for name in ("elevation", "slope", "hillshade"):
        with rasterio.open(demo / f"demo_{name}.tif") as file:
            assert file.shape == (700, 700)
            assert file.crs.to_epsg() == 32633
            assert file.res == (30, 30)
            assert np.isnan(file.nodata)


def test_the_terrain_is_a_landscape(demo):
    with rasterio.open(demo / "demo_slope.tif") as file:
        slope = file.read(1)
    assert 3 < np.nanmedian(slope) < 30
    assert 30 < np.nanmax(slope) < 80


def test_the_whole_terrain_has_lakes():
    raster = terrain(4096)
    strip = raster.read(tj.Window(1024, 3072, 128, 1024))
    assert 0.05 < np.isnan(strip).mean() < 0.95


def test_it_says_what_comes_next(tmp_path, capsys):
    assert main(["demo", "--size", "64", "--folder", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "tilejit run slope+hillshade dem.tif -o slope.tif -o hillshade.tif" in out
    assert "1.00 of the raster" in out
    assert not err


def test_it_replaces_its_own_files_where_that_is_asked_for(tmp_path, capsys):
    (tmp_path / "demo_preview.png").write_text("somebody's own")
    assert main(["demo", "--size", "32", "--folder", str(tmp_path)]) == 1
    assert "demo_preview.png: exists already: give another name, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "demo_preview.png").read_text() == "somebody's own"
    assert [p.name for p in tmp_path.iterdir()] == ["demo_preview.png"]
    assert main(["demo", "--size", "32", "--folder", str(tmp_path), "--overwrite"]) == 0


def test_the_terrain_is_the_same_wherever_it_is_cut():
    whole = terrain(300).compute(tile=(300, 300))
    np.testing.assert_array_equal(whole, terrain(300).compute(tile=(64, 128)))
    np.testing.assert_array_equal(whole[:, 100:140, 50:90], terrain(300).read(tj.Window(100, 50, 40, 40)))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_picture_has_two_sides(demo):
    rasters = [tj.open(demo / f"demo_{name}.tif") for name in ("elevation", "hillshade", "slope")]
    colours = picture(*rasters)
    assert colours.dtype == np.uint8
    assert colours.shape == (350, 700 + GAP, 3)
    assert (colours[:, 350 : 350 + GAP] >= 250).all()
    with rasterio.open(demo / "demo_preview.png") as file:
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), colours)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (600, 601), (1201, 900)])
def test_shrinking_keeps_the_mean(shape):
    cells = np.random.default_rng(1).random(shape, np.float32)
    cells[0, 0] = np.nan
    means, shares = shrunk(tj.from_array(cells))
    assert max(means.shape) <= SIDE
    assert means.shape == shares.shape
    factor = max(1, -(-max(shape) // SIDE))
    block = cells[:factor, :factor]
    expected = np.nan if np.isnan(block).all() else np.nanmean(block)
    np.testing.assert_allclose(means[0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(shares[0, 0], np.isfinite(block).mean())


def test_colours_blend_between_their_stops():
    ramp = ((0.0, (0, 0, 0)), (1.0, (100, 200, 50)))
    np.testing.assert_array_equal(
        coloured(np.array([0.5, 2.0, np.nan]), ramp), [[50, 100, 25], [100, 200, 50], [0, 0, 0]]
    )


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(tj.errors.SinkError, match=r"no/p\.png: the folder .*no does not exist"):
        write_png(tmp_path / "no" / "p.png", np.zeros((4, 4, 3), np.uint8))

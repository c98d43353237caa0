"""``tilejit clip``, ``warp`` and ``mosaic``: what the library makes of the same words."""

import json

import numpy as np
import pytest

import tilejit as tj
from tilejit.cli import main

UTM = "EPSG:32633"
GRID = tj.Grid.from_bounds((500_000, 5_000_000, 500_400, 5_000_300), UTM, resolution=10)
CELLS = np.arange(1200, dtype=np.int16).reshape(30, 40) + 1


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tj.from_array(CELLS, grid=GRID, nodata=-1).save("dem.tif")
    dem = tj.open("dem.tif")
    dem.clip((500_000, 5_000_000, 500_250, 5_000_300)).save("part 2.tif")
    dem.clip((500_150, 5_000_000, 500_400, 5_000_300)).save("part 10.tif")
    square = [
        [500_100, 5_000_050],
        [500_200, 5_000_050],
        [500_200, 5_000_250],
        [500_100, 5_000_250],
        [500_100, 5_000_050],
    ]
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [square]}}
    collection = {"type": "FeatureCollection", "crs": named, "features": [feature]}
    (tmp_path / "square.geojson").write_text(json.dumps(collection))


def made(*words):
    assert main([*words, "-o", "out.tif", "-q", "--overwrite"]) == 0
    return tj.open("out.tif")


def test_clips(capsys):
    bounds = ["--bounds", "500100", "5000050", "500200", "5000250"]
    found = made("clip", "dem.tif", *bounds).read()
    assert np.array_equal(found[0], CELLS[5:25, 10:20])
    pytest.importorskip("pyogrio")
    assert np.array_equal(made("clip", "dem.tif", "--polygons", "square.geojson").read(), found)
    outside = made("clip", "dem.tif", "--polygons", "square.geojson", "--invert").read()[0]
    assert (outside == -1).sum() == 200
    assert np.array_equal(made("clip", "dem.tif", "--like", "part 2.tif").read()[0], CELLS[:, :25])
    assert made("clip", "dem.tif", "--polygons", "square.geojson", "--all-touched", "--valid").grid.shape == (20, 10)
    assert main(["clip", "dem.tif", "-o", "x.tif"]) == 2
    assert "Give --bounds" in capsys.readouterr().err
    assert main(["clip", "dem.tif", "--bounds", "0", "0", "1", "1", "-o", "x.tif"]) == 1
    assert "do not meet" in capsys.readouterr().err


def test_mosaics():
    found = made("mosaic", "part *.tif")
    assert found.grid == tj.open("dem.tif").grid
    assert np.array_equal(found.read()[0], CELLS)
    finer = made("mosaic", "part *.tif", "--resolution", "5", "--resampling", "nearest", "--method", "last")
    assert np.array_equal(finer.read()[0], CELLS.repeat(2, 0).repeat(2, 1))
    there = made("mosaic", "part 2.tif", "part 10.tif[1]", "--like", "part 2.tif", "--method", "mean")
    assert np.array_equal(there.read()[0], CELLS[:, :25])


def test_warps(capsys):
    assert made("warp", "dem.tif", "--resolution", "20", "--resampling", "average").grid.shape == (15, 20)
    web = made("warp", "dem.tif", "--crs", "EPSG:3857", "--resolution", "25", "--aligned")
    assert web.grid == tj.open("dem.tif").grid.to_crs("EPSG:3857", resolution=25, aligned=True)
    covered = ["--bounds", "500000", "5000000", "500100", "5000100"]
    assert made("warp", "dem.tif", *covered).grid.shape == (10, 10)
    assert main(["warp", "dem.tif", "--like", "part 2.tif", "--resolution", "3", "-o", "x.tif"]) == 2
    assert "leave --crs" in capsys.readouterr().err
    assert main(["warp", "dem.tif", "-o", "x.tif"]) == 2

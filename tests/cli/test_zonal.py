"""``tilejit zonal``: tables by zone on the command line."""

import csv

import numpy as np
import pytest

import tilejit as tj
from tilejit.cli import main

GRID = tj.Grid(20, 30, (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0), "EPSG:32633")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.arange(600, dtype=np.float32).reshape(20, 30)
    tj.from_array(values, grid=GRID).save("dem.tif")
    tj.from_array(np.repeat(np.uint8([4, 9]), 10)[:, None].repeat(30, 1), grid=GRID).save("parcels.tif")
    return tmp_path


def test_a_table_is_printed(place, capsys):
    assert main(["zonal", "zonal.mean+zonal.maximum", "dem.tif", "parcels.tif", "--quiet"]) == 0
    assert capsys.readouterr().out == "zone,mean,max\n4,149.5,299.0\n9,449.5,599.0\n"


def test_a_table_is_written(place, capsys):
    assert main(["zonal", "summary", "dem.tif", "parcels.tif", "-o", "table.csv", "-q"]) == 0
    with (place / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["zone"], row["count"], row["min"]) for row in rows] == [("4", "300", "0.0"), ("9", "300", "300.0")]
    assert main(["zonal", "summary", "dem.tif", "parcels.tif", "-o", "table.csv", "-q"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_histogram_is_a_column_for_each_class(place, capsys):
    (place / "own.py").write_text(
        "import tilejit as tj\n\n\n@tj.zonal(at=tj.histogram([0, 150, 300]))\ndef heights(value):\n    return value\n"
    )
    assert main(["zonal", "own.py:heights+zonal.median", "dem.tif", "parcels.tif", "--quiet"]) == 0
    assert capsys.readouterr().out == "zone,at_1,at_2,median\n4,150,150,149.5\n9,0,1,449.5\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zonal", "slope", "dem.tif", "parcels.tif"], "slope makes a raster, no table: tilejit run slope"),
        (["run", "zonal.mean", "dem.tif", "-o", "x.tif"], "mean makes a table, no raster: tilejit zonal zonal.mean dem.tif ZONES"),
        (["zonal", "summary", "dem.tif", "parcels.tif", "-o", "x.tif"], "a table is written as CSV"),
        (["zonal", "summary", "dem.tif", "nothing.tif"], "nothing.tif: cannot be opened"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(place, capsys, words, said):
    assert main(words) != 0
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


@pytest.fixture
def parcels(place):
    """A GeoPackage of two polygons, the lower one half of a cell wide."""
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    shapes = [shapely.box(500_000, 4_999_700, 500_900, 5_000_000), shapely.box(500_000, 4_999_400, 500_015, 4_999_700)]
    geopandas.GeoDataFrame({"owner": ["A", "B"]}, geometry=shapes, crs="EPSG:32633").to_file(place / "parcels.gpkg")


def test_zones_are_a_file_of_polygons(parcels, place, capsys):
    assert main(["zonal", "mean+maximum", "dem.tif", "parcels.gpkg", "-q"]) == 0
    assert capsys.readouterr().out.splitlines() == ["zone,mean,max,cells,nodata,outside,by_share",
                                                    "1,149.5,299.0,300,0,0.0,False", "2,435.0,570.0,10,0,0.0,False"]  # fmt: skip
    words = ["zonal", "mean", "dem.tif", "parcels.gpkg", "--cells", "fraction", "--layer", "parcels", "-q"]
    assert main([*words, "-o", "table.csv"]) == 0
    assert (place / "table.csv").read_text() == (
        "zone,owner,mean,cells,nodata,outside\n1,A,149.5,300.0,0.0,0.0\n2,B,435.0,5.0,0.0,0.0\n"
    )
    assert main([*words, "--layer", "none"]) == 1
    assert "Layer 'none' could not be opened" in capsys.readouterr().err

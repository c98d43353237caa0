"""Tables by polygons: what GDAL and exactextract find, in the order of the features, from all that holds polygons."""

import json
import types

import numpy as np
import pytest
import rasterio
import rasterio.features

import tilejit as tj
from tilejit_kernels import zonal

shapely = pytest.importorskip("shapely", reason="the extra vector is not installed")
geopandas = pytest.importorskip("geopandas")
pyogrio = pytest.importorskip("pyogrio")

GRID = tj.Grid(50, 70, (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_300_000.0), "EPSG:32633")
SUMMARY = ("count", "mean", "std", "min", "max")


def at(col, row):
    """A place by columns and rows."""
    return 500_000 + 30 * col, 5_300_000 - 30 * row


def parcel(*corners):
    return shapely.Polygon([at(*corner) for corner in corners])


def square(col, row, width, height):
    return shapely.box(*at(col, row + height), *at(col + width, row))


SHAPES = [
    parcel((3.2, 4.1), (40.7, 9.9), (25.5, 44.4), (2.2, 30.3)).difference(square(10, 15, 6.5, 5.5)),
    square(30.5, 20.25, 60, 10),  # half of it beyond the raster
    parcel((5, 5), (45, 5), (5, 45), (45, 45)),  # its sides cross
    square(7.6, 8.6, 0.25, 0.5),  # holds no centre
    square(-90, 3, 4, 4),
    None,
    shapely.MultiPolygon([square(50, 2, 5, 5), square(60.5, 40, 3, 30)]),
]
NAMES = ["pit", "half", "bow", "small", "far", "none", "two"]


@pytest.fixture(scope="module")
def values():
    cells = np.random.default_rng(2).normal(800, 60, GRID.shape).astype(np.float32)
    cells[5:12, 20:35] = np.nan
    return cells


@pytest.fixture(scope="module")
def dem(values):
    return tj.from_array(values, grid=GRID)


@pytest.fixture(scope="module")
def parcels():
    return geopandas.GeoDataFrame(
        {"name": NAMES, "mean": range(7)}, geometry=SHAPES, crs="EPSG:32633", index=[7, 5, 6, 2, 9, 1, 3]
    )


@pytest.mark.parametrize("cells", ["centre", "touched"])
def test_cells_are_those_that_gdal_burns(dem, values, cells):
    shapes = [shape for shape, name in zip(SHAPES, NAMES, strict=True) if name in {"pit", "half", "two"}]
    table = zonal.summary(dem, zones=shapes, cells=cells).compute()
    for row, shape in enumerate(shapes):
        mask = (
            rasterio.features.rasterize(
                [shape], GRID.shape, transform=(*GRID.transform, 0, 0, 1), all_touched=cells == "touched"
            )
            != 0
        )
        inside = values[mask & ~np.isnan(values)]
        assert (table["count"][row], table["nodata"][row]) == (inside.size, np.isnan(values[mask]).sum())
        assert (table["min"][row], table["max"][row]) == (inside.min(), inside.max())
        assert table["mean"][row] == pytest.approx(inside.mean(dtype=np.float64), rel=1e-12)


def test_shares_are_those_of_exactextract(dem, values, tmp_path):
    exactextract = pytest.importorskip("exactextract")
    dem.save(tmp_path / "dem.tif")
    shapes = geopandas.GeoDataFrame(geometry=[shapely.make_valid(s) for s in SHAPES if s is not None], crs="EPSG:32633")
    table = zonal.summary(tj.open(tmp_path / "dem.tif"), zones=shapes, cells="fraction").compute(tile=(16, 16))
    found = exactextract.exact_extract(
        str(tmp_path / "dem.tif"), shapes, ["count", "mean", "stdev", "min", "max"], output="pandas"
    )
    for name, other in zip(SUMMARY, ["count", "mean", "stdev", "min", "max"], strict=True):
        np.testing.assert_allclose(table[name], found[other], rtol=1e-7, err_msg=name)  # its shares are float32


def test_rows_are_the_features_in_their_order(dem, parcels):
    table = zonal.summary(dem, zones=parcels).compute()
    assert table["zone"].tolist() == [7, 5, 6, 2, 9, 1, 3]
    assert table["by_share"].tolist() == [False, False, False, True, False, False, False]
    assert table["cells"][3] == pytest.approx(0.125, rel=1e-9)
    np.testing.assert_array_equal(table["cells"][4:6], 0)
    assert np.isnan(table["mean"][4:6]).all()
    np.testing.assert_allclose(table["outside"], [0, 205, 0, 0, 16, 0, 60], rtol=1e-9)
    assert table["nodata"][0] > 0
    assert table.notes == ("1 polygon repaired by shapely.make_valid: 6 (Self-intersection)",)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"executor": "serial", "tile": (7, 70)}, {"executor": "processes", "workers": 2},
                                     {"backend": "python"}], ids=str)  # fmt: skip
def test_bits_do_not_depend_on_tiling_executor_or_backend(dem, parcels, tmp_path, options):
    dem.save(tmp_path / "dem.tif", profile={"blockxsize": 16, "blockysize": 16})
    lazy = zonal.summary(tj.open(tmp_path / "dem.tif"), zones=parcels, cells="fraction")
    cut = lazy.compute(**options)
    for name, column in lazy.compute().items():
        np.testing.assert_array_equal(cut[name], column, name)


def test_all_that_holds_polygons(dem, parcels, tmp_path):
    whole = parcels[parcels.geometry.notna()]
    expected = zonal.mean(dem, zones=whole).compute()
    whole.to_file(tmp_path / "parcels.gpkg", layer="parcels")
    whole.to_file(tmp_path / "parcels.shp")
    collection = json.loads(whole.to_json(drop_id=True))
    named = types.SimpleNamespace(__geo_interface__=collection)
    for zones in (tmp_path / "parcels.gpkg", str(tmp_path / "parcels.shp"), whole.geometry, collection, named,
                  collection["features"], [one["geometry"] for one in collection["features"]], list(whole.geometry)):  # fmt: skip
        table = zonal.mean(dem, zones=zones).compute()
        np.testing.assert_array_equal(table["mean"], expected["mean"])
    assert zonal.mean(dem, zones=tmp_path / "parcels.gpkg").compute()["zone"].tolist() == [1, 2, 3, 4, 5, 6]
    assert zonal.mean(dem, zones=SHAPES[0]).compute()["mean"] == expected["mean"][:1]
    assert zonal.mean(dem, zones=collection).compute().to_pandas()["name"].tolist() == whole["name"].tolist()


def test_other_coordinates_are_reprojected_and_the_plan_says_so(dem, parcels):
    degrees = parcels.to_crs("EPSG:4326")
    table = zonal.mean(dem, zones=degrees, cells="fraction")
    assert "reprojected from WGS 84 (EPSG:4326) to WGS 84 / UTM zone 33N (EPSG:32633)" in str(table.plan())
    expected = zonal.mean(dem, zones=parcels, cells="fraction").compute()
    np.testing.assert_allclose(table.compute()["cells"], expected["cells"], atol=1e-4)
    unsaid = zonal.mean(dem, zones=parcels.set_crs(None, allow_override=True))
    assert "their CRS is not said, taken to be WGS 84 / UTM zone 33N (EPSG:32633)" in str(unsaid.plan())
    same = zonal.mean(
        dem,
        zones=json.loads(parcels.iloc[:1].to_json())
        | {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}},
    )
    assert not same.layer.notes


def test_pages_and_files_of_a_table(dem, parcels, tmp_path):
    table = zonal.mean(dem, zones=parcels).compute()
    frame = table.to_geopandas()
    assert frame.index.tolist() == table["zone"].tolist()
    assert frame.columns.tolist() == [
        "name",
        "feature_mean",
        "mean",
        "cells",
        "nodata",
        "outside",
        "by_share",
        "geometry",
    ]
    assert frame.crs == parcels.crs
    assert frame.geometry.iloc[0].equals(SHAPES[0])
    for name in ("table.csv", "table.parquet", "table.gpkg"):
        table.save(tmp_path / name)
        with pytest.raises(tj.TilejitError, match="exists already"):
            table.save(tmp_path / name)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "zone,name,feature_mean,mean,cells,nodata,outside,by_share"
    assert lines[1].startswith("7,pit,0,798.25")
    pandas = pytest.importorskip("pandas")
    read = pandas.read_parquet(tmp_path / "table.parquet")
    np.testing.assert_array_equal(read["mean"], table["mean"])
    assert geopandas.read_file(tmp_path / "table.gpkg")["name"].tolist() == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.gpkg", "table.parquet"]


def test_a_layer_that_lies_elsewhere_is_told(dem):
    table = zonal.mean(dem, zones=[shapely.box(0, 0, 9, 9)]).compute()
    assert "none of them meets the raster" in table.notes
    assert table["cells"].tolist() == [0]


def test_mistakes_are_told(dem, parcels, tmp_path):
    def said(match, zones, **options):
        with pytest.raises(tj.TilejitError, match=match):
            zonal.mean(dem, zones=zones, **options)

    said("the zones: there are no features in it", [])
    said("feature 1 is a LineString: zones are polygons", [SHAPES[0], shapely.LineString([(0, 0), (1, 1)])])
    said("feature 0 has coordinates that are no finite numbers", [shapely.Polygon([(0, 0), (1, np.inf), (1, 1)])])
    said("feature 0 is no GeoJSON geometry", [{"type": "Polygon", "coordinates": [[1]]}])
    said("feature 1 is a str: zones are polygons, or one file of them", [SHAPES[0], "parcels.gpkg"])
    said("cells='middle': it is one of 'centre', 'fraction', 'touched'", SHAPES, cells="middle")
    said("layer='one' is a file's", SHAPES, layer="one")
    said("nothing.gpkg: cannot be opened as polygons: No such file", tmp_path / "nothing.gpkg")
    far = geopandas.GeoDataFrame(geometry=[shapely.box(-80, -89, 100, 95)], crs="EPSG:4326")
    said("feature 0 has points that are nowhere in WGS 84 / UTM", far)
    for layer in ("one", "two"):
        parcels.to_file(tmp_path / "parcels.gpkg", layer=layer)
    said("has 2 layers, one, two: choose one with layer=", tmp_path / "parcels.gpkg")
    said("cannot be read: Layer 'three' could not be opened", tmp_path / "parcels.gpkg", layer="three")
    assert zonal.mean(dem, zones=tmp_path / "parcels.gpkg", layer="two").compute()["cells"][0] > 0


def test_a_raster_that_is_stored_south_up(dem, values, parcels):
    a, b, c, d, e, f = GRID.transform
    turned = tj.Grid(*GRID.shape, (a, b, c, d, -e, f + e * GRID.height), "EPSG:32633")
    south_up = tj.from_array(np.ascontiguousarray(values[::-1]), grid=turned)
    expected = zonal.summary(dem, zones=parcels, cells="fraction").compute()
    for name, column in zonal.summary(south_up, zones=parcels, cells="fraction").compute(tile=(7, 16)).items():
        np.testing.assert_array_equal(column, expected[name], name)


@pytest.mark.parametrize("step", [1, -1])
def test_deep_overlap_is_folded_strip_by_strip(dem, values, parcels, monkeypatch, step):
    a, b, c, d, e, f = GRID.transform
    place = (a, b, c, d, -e, f + e * GRID.height) if step < 0 else GRID.transform
    raster = tj.from_array(np.ascontiguousarray(values[::step]), grid=tj.Grid(*GRID.shape, place, "EPSG:32633"))
    lazy = zonal.summary(raster, zones=parcels, cells="fraction")
    expected = lazy.compute()
    monkeypatch.setattr("tilejit.engine.polygons._STRIP", 20)
    assert len(list(lazy.layer.zones.strips(tj.Window(0, 0, *GRID.shape)))) > 5
    for name, column in lazy.compute().items():
        np.testing.assert_array_equal(column, expected[name], name)


def test_several_rasters_integers_and_computed_values():
    counts = tj.from_array(np.int16([[1, -9], [3, 5]]), nodata=-9)
    weights = tj.from_array(np.float32([[1, 1], [3, 0.5]]))
    shape = shapely.Polygon([(0, 0), (2, 0), (2, 1.5), (0, 1.5)])
    table = zonal.weighted_mean(counts, weights, zones=shape, cells="fraction").compute()
    assert table["mean"].tolist() == [(1 + 9 / 2 + 2.5 / 2) / (1 + 3 / 2 + 0.5 / 2)]
    assert (table["cells"].tolist(), table["nodata"].tolist()) == ([2.0], [1.0])


def test_what_cannot_be_written_leaves_nothing(dem, tmp_path):
    collection = {"type": "Feature", "properties": {"odd": object()}, "geometry": SHAPES[0].__geo_interface__}
    table = zonal.mean(dem, zones=collection).compute()
    with pytest.raises(tj.TilejitError, match=r"table\.parquet: cannot be written: "):
        table.save(tmp_path / "table.parquet")
    with pytest.raises(tj.TilejitError, match="a table is written as CSV, Parquet or GeoPackage"):
        table.save(tmp_path / "table.xlsx")
    plain = zonal.mean(np.ones((2, 2), np.float32), zones=np.ones((2, 2), np.uint8)).compute()
    with pytest.raises(tj.TilejitError, match="have no geometries: write"):
        plain.save(tmp_path / "table.gpkg")
    assert not list(tmp_path.iterdir())


@tj.zonal(cells_of_it="sum")
def number(value):
    return 1


def test_nothing_valid_and_nothing_read_have_rows(parcels):
    empty = tj.from_array(np.full(GRID.shape, np.nan, np.float32), grid=GRID)
    table = zonal.mean(empty, zones=parcels, cells="fraction").compute()
    assert (len(table["mean"]), np.isnan(table["mean"]).all(), table["cells"].sum()) == (7, True, 0)
    read = number(empty, zones=parcels, cells="fraction").compute()
    np.testing.assert_array_equal(read["cells_of_it"], table["nodata"])


@tj.zonal(count="sum", total="sum", low="min", high="max")
def stats(value):
    return 1, value, value, value


@pytest.mark.parametrize("cells", ["centre", "fraction", "touched"])
def test_real_zones_as_polygons_are_what_they_are_as_a_raster(test_data, cells):
    """Outlines of a raster's own zones run along the borders of cells: nothing is shared, and nothing is left out."""
    files = (test_data / "dem" / "lf_elev_220_mt_hood_utm.tif", test_data / "zones" / "lf_fbfm40_220_mt_hood_utm.tif")
    grid = tj.open(files[0]).grid.part(tj.Window(200, 300, 60, 90))
    heights, zones = (tj.open(file).read(tj.Window(200, 300, 60, 90)) for file in files)
    dem = tj.from_array(heights, grid=grid)
    outlines = list(rasterio.features.shapes(zones, transform=rasterio.Affine(*grid.transform)))
    numbers = np.array([number for _, number in outlines], int)
    table = stats(dem, zones=[shape for shape, _ in outlines], cells=cells).compute(tile=(32, 32))
    assert len(outlines) > 500
    assert not table["outside"].any()
    expected = stats(dem, zones=tj.from_array(zones, grid=dem.grid)).compute()
    for number, *row in zip(*expected.values(), strict=True):
        count, total, low, high = (table[name][numbers == number] for name in ("count", "total", "low", "high"))
        assert [count.sum(), total.sum(), low.min(), high.max()] == row

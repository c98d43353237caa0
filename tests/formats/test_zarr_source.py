"""Variables of Zarr stores and netCDF files: cells, grids and times as xarray has written them."""

import pickle

import numpy as np
import pytest

import tilejit as tj
from tilejit.errors import ReadError, SourceError
from tilejit.formats.registry import open_source
from tilejit.testing import SourceTests
from tilejit.window import Window

xarray = pytest.importorskip("xarray")
pytest.importorskip("zarr", minversion="3")
pytestmark = pytest.mark.slow

DATES = np.array(["2020-01-05", "2020-02-10", "2021-03-01T12:00"], "datetime64[ns]")
SHAPE = (3, 30, 40)


@pytest.fixture(scope="module")
def cells():
    found = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    found[1, 2, 3] = np.nan
    return found


@pytest.fixture(scope="module")
def cube(cells, tmp_path_factory):
    """The same in Zarr 3, in Zarr 2 and in netCDF, with counts and with a plane beside."""
    folder = tmp_path_factory.mktemp("cube")
    x, y = 500_015 + 30 * np.arange(40.0), 5_299_985 - 30 * np.arange(30.0)
    along = {"units": "m", "standard_name": "projection_x_coordinate"}
    across = {"units": "m", "standard_name": "projection_y_coordinate"}
    crs = tj.from_array(np.zeros((1, 1)), grid=tj.Grid(1, 1, crs="EPSG:32633")).grid.crs
    counts = np.where(np.isnan(cells), -1, cells * 100).astype(np.int16)
    made = xarray.Dataset(
        {
            "ndvi": (("time", "y", "x"), cells, {"grid_mapping": "spatial_ref", "units": "1"}),
            "counts": (("time", "y", "x"), counts, {"_FillValue": np.int16(-1), "scale_factor": 0.01}),
            "plane": (("y", "x"), cells[0]),
            "spatial_ref": ((), 0, {"crs_wkt": crs, "spatial_ref": crs}),
        },
        coords={"time": DATES, "y": ("y", y, across), "x": ("x", x, along)},
    )
    chunks = {name: {"chunks": (2, 16, 16)} for name in ("ndvi", "counts")}
    for version in (3, 2):
        made.to_zarr(folder / f"v{version}.zarr", zarr_format=version, consolidated=False, encoding=chunks)
    made.to_netcdf(folder / "cube.nc", engine="scipy")
    return folder


@pytest.mark.parametrize("name", ["v3.zarr", "v2.zarr", "cube.nc"])
def test_a_variable_is_bands_with_times(cube, cells, name):
    raster = tj.open(cube / name, variable="ndvi")
    assert raster.times.tolist() == DATES.astype("datetime64[s]").tolist()
    assert raster.grid.transform == (30, 0, 500_000, 0, -30, 5_300_000)
    assert "UTM zone 33N" in str(raster.grid)
    np.testing.assert_array_equal(raster.compute(tile=(16, 16)), cells)
    np.testing.assert_array_equal(tj.stack(raster).read(Window(3, 5, 20, 9)), cells[:, 3:23, 5:14])
    plane = tj.open(cube / name, variable="plane")
    assert (len(plane), plane.times) == (1, None)


def test_counts_have_their_nodata_and_their_scale(cube, cells):
    raster = tj.open(cube / "v3.zarr", variable="counts", scaled=True)
    counts = np.where(np.isnan(cells), np.nan, np.trunc(cells * 100))
    np.testing.assert_allclose(raster.compute(), counts * 0.01, rtol=1e-6)


def test_another_process_opens_it_by_its_name(cube, cells):
    source = open_source(f'ZARR:"{cube / "v3.zarr"}":/ndvi')
    again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    out = np.empty((2, 4, 5), np.float64)
    again.read((3, 1), Window(0, 0, 4, 5), out)
    np.testing.assert_array_equal(out, cells[[2, 0], :4, :5])


def test_what_is_no_variable(cube, tmp_path):
    for name, variable, said in [
        ("v3.zarr", "x", "give variable=, one of counts, ndvi, plane"),
        ("v3.zarr", "nothing", "there is no variable nothing: give variable=, one of counts, ndvi, plane"),
        ("cube.nc", "nothing", "cannot be opened"),
        ("gone.zarr", "ndvi", "cannot be opened as a Zarr store"),
        ("dem.tif", "ndvi", "variable='ndvi' is of a netCDF file"),
    ]:
        with pytest.raises(SourceError, match=said):
            tj.open(cube / name, variable=variable)
    uneven = xarray.Dataset({"a": (("y", "x"), np.zeros((3, 3)))}, coords={"x": [0.0, 1.0, 5.0]})
    uneven.to_zarr(tmp_path / "uneven.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(SourceError, match="the coordinate x has no even steps"):
        tj.open(tmp_path / "uneven.zarr", variable="a")


def test_a_damaged_chunk_is_an_error(cells, tmp_path):
    xarray.Dataset({"a": (("time", "y", "x"), cells)}).to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    raster = tj.open(tmp_path / "a.zarr", variable="a")
    chunk = next(path for path in (tmp_path / "a.zarr" / "a" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(ReadError, match=r"a\.zarr.*cannot read band"):
        raster.compute()


class TestSource(SourceTests):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path):
        self.store = tmp_path / "s.zarr"

    def make(self, cells, nodata):
        marks = {} if nodata is None else {"_FillValue": cells.dtype.type(nodata)}
        made = xarray.Dataset({"a": (("t", "y", "x"), cells, marks)})
        made.to_zarr(self.store, mode="w", zarr_format=3, consolidated=False)
        return open_source(f'ZARR:"{self.store}":/a')


def test_the_only_variable_of_a_store_needs_no_name(cube, cells, tmp_path):
    found = xarray.open_zarr(cube / "v3.zarr", consolidated=False)[["ndvi"]]
    found.to_zarr(tmp_path / "one.zarr", zarr_format=3, consolidated=False)
    raster = tj.open(tmp_path / "one.zarr")
    assert raster.times.tolist() == DATES.astype("datetime64[s]").tolist()
    np.testing.assert_array_equal(tj.stack([tmp_path / "one.zarr"]).compute(), cells)
    with pytest.raises(SourceError, match=r"holds the variables counts, ndvi, plane: give variable=, one of them"):
        tj.open(cube / "v3.zarr")
    found[["time"]].to_zarr(tmp_path / "none.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(SourceError, match="holds no raster"):
        tj.open(tmp_path / "none.zarr")

"""Bands that are copied say what GDAL's own copies say of them: tag by tag."""

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

import tilejit as tj
from tilejit.formats.files import BandTags, FileTags
from tilejit.formats.gdal.library import quiet
from tilejit.formats.registry import open_source
from tilejit.formats.sink import OutputProfile
from tilejit.formats.source import storage_of
from tilejit.raster.raster import Raster

TRANSFORM = rasterio.Affine(30, 0, 500_000, 0, -30, 4_000_000)
SHAPE = (40, 70)
PLACES = {"TileOffsets", "TileByteCounts"}
STATISTICS = {"STATISTICS_MINIMUM": "3", "STATISTICS_MAXIMUM": "9", "STATISTICS_MEAN": "5", "STATISTICS_STDDEV": "1"}
COLOURS = {k: (k, 255 - k, k // 2, 255) for k in range(256)}
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
RPC = {
    "HEIGHT_OFF": "300", "HEIGHT_SCALE": "500", "LAT_OFF": "40", "LAT_SCALE": "0.1", "LINE_OFF": "20",
    "LINE_SCALE": "20", "LONG_OFF": "-3", "LONG_SCALE": "0.1", "SAMP_OFF": "35", "SAMP_SCALE": "35",
    "ERR_BIAS": "1", "ERR_RAND": "0",
    **{f"{part}_COEFF": "1 " + "0 " * 18 + "0" for part in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")},
}  # fmt: skip


@tj.local
def twice(z):
    return z * 2.0


@tj.local
def four(z) -> tuple[np.uint8, np.uint8, np.uint8, np.uint8]:
    return z, z, z, z


def make(path, *, dtype="uint8", count=1, nodata=None, tags=None, band_tags=None, colours=None, interpretation=None,
         scales=None, **options):  # fmt: skip
    """A file that says a lot."""
    cells = np.random.default_rng(5).integers(3, 10, (count, *SHAPE)).astype(dtype)
    shape = {"height": SHAPE[0], "width": SHAPE[1], "count": count, "dtype": dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32630", transform=TRANSFORM, **shape, **options) as dataset:
        if interpretation:
            dataset.colorinterp = interpretation
        if colours:
            dataset.write_colormap(1, colours)
        for space, values in (tags or {}).items():
            dataset.update_tags(ns=space or None, **values)
        for index, values in (band_tags or {}).items():
            dataset.update_tags(index, **values)
        if scales:
            dataset.scales, dataset.offsets = scales
        dataset.write(cells)
    return str(path), cells


def tags_in(path):
    with tifffile.TiffFile(path) as tiff:
        return {t.name: str(t.value) for t in tiff.pages.first.tags if t.name not in PLACES}


def described(path):
    """All that rasterio tells; a warning of GDAL's is an error here."""
    with rasterio.open(path) as d:
        spaces = set(d.tag_namespaces()) - {"DERIVED_SUBDATASETS"}  # which hold the file's name
        tables = [d.colormap(1)] if d.colorinterp[0] is ColorInterp.palette else []
        bands = [(d.tags(k), d.colorinterp[k - 1], d.scales[k - 1], d.offsets[k - 1]) for k in d.indexes]
        return {s: d.tags(ns=s) for s in spaces}, d.tags(), bands, tables, str(d.profile)


def gdals_copy(source, path, like):
    """What GDAL's CreateCopy makes of a file, stored as ``like`` is."""
    kept = tags_in(like)
    options = {"tiled": "YES", "compress": "zstd", "zstd_level": "1", "bigtiff": "IF_SAFER"}
    options |= {"blockysize": kept["TileLength"], "blockxsize": kept["TileWidth"]}
    options |= {"predictor": kept["Predictor"]} if "Predictor" in kept else {}
    options |= {"interleave": "band"} if int(kept["SamplesPerPixel"]) > 1 else {}
    rasterio.shutil.copy(source, path, driver="GTiff", **options)
    return str(path)


FILES = {
    "plain": {},
    "point": {"tags": {"": {"AREA_OR_POINT": "Point"}}},
    "tags": {"tags": {"": {"TIFFTAG_SOFTWARE": "x", "TIFFTAG_DATETIME": "2020:01:01 00:00:00", "OWNER": "us"}}},
    "rational polynomials": {"tags": {"RPC": RPC}},
    "statistics": {"band_tags": {1: STATISTICS | {"OF": "a band"}}, "nodata": 3},
    "statistics of floats": {"band_tags": {1: STATISTICS}, "nodata": -9999, "dtype": "float32"},
    "table": {"colours": COLOURS, "photometric": "palette"},
    "table that does not count": {"colours": COLOURS},
    "table of 16 bits": {"colours": {k: COLOURS[k % 256] for k in range(3000)}, "dtype": "uint16"},
    "table and nodata": {"colours": COLOURS, "photometric": "palette", "nodata": 4},
    "scale": {"dtype": "int16", "scales": ((0.1,), (5.0,))},
    "scales of bands": {"dtype": "int16", "count": 2, "scales": ((0.1, 1.0), (0.0, -3.0))},
    "colours": {"count": 3, "photometric": "rgb"},
    "colours of 16 bits": {"count": 3, "dtype": "uint16", "photometric": "rgb"},
    "colours and alpha": {"count": 4, "dtype": "uint16", "interpretation": (*RGB, ColorInterp.alpha)},
    "gray and alpha": {"count": 2, "interpretation": (ColorInterp.gray, ColorInterp.alpha)},
    "infrared": {"count": 4, "interpretation": (*RGB, ColorInterp.undefined)},
    "colours the other way": {"count": 3, "dtype": "uint16", "interpretation": RGB[::-1]},
}


ODD_FILES = {
    "table beside a band": {"colours": COLOURS, "count": 2, "photometric": "palette"},
    "four plain bands": {"count": 4, "photometric": "minisblack"},
    "three plain bands": {"count": 3, "photometric": "minisblack"},
}
"""Of which GDAL's copies say what the files do not: that bands are alpha, or red, green and blue."""


@pytest.mark.parametrize("name", ODD_FILES)
def test_a_copy_says_what_its_file_says(tmp_path, name):
    source, _ = make(tmp_path / "source.tif", **ODD_FILES[name])
    tj.open(source).save(tmp_path / "copy.tif", progress=False)
    mine, theirs = tags_in(tmp_path / "copy.tif"), tags_in(source)
    names = {"PhotometricInterpretation", "ExtraSamples", "ColorMap", "GDAL_METADATA"}
    assert {n: mine.get(n) for n in names} == {n: theirs.get(n) for n in names}
    assert described(tmp_path / "copy.tif")[2:4] == described(source)[2:4]


@pytest.mark.parametrize("name", FILES)
def test_a_copy_is_gdals_copy(tmp_path, name):
    source, cells = make(tmp_path / "source.tif", **FILES[name])
    ours = str(tmp_path / "ours.tif")
    tj.open(source).save(ours, progress=False)
    gdals = gdals_copy(source, tmp_path / "gdals.tif", ours)
    assert tags_in(ours) == tags_in(gdals)
    assert described(ours) == described(gdals)
    with rasterio.open(ours) as dataset:
        np.testing.assert_array_equal(dataset.read(), cells)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gdals.tif", "ours.tif", "source.tif"]
    cog_validate = pytest.importorskip("rio_cogeo.cogeo").cog_validate
    valid, errors, _ = cog_validate(ours, quiet=True)
    assert valid, errors


def test_through_gdal_it_says_the_same(tmp_path):
    source, _ = make(tmp_path / "source.tif", colours=COLOURS, tags={"": {"AREA_OR_POINT": "Point"}},
                     band_tags={1: STATISTICS})  # fmt: skip
    tj.open(source).save(tmp_path / "direct.tif", progress=False)
    tj.open(source).save(tmp_path / "gdal.tif", profile={"compress": "packbits"}, progress=False)
    direct, through = (described(tmp_path / name)[:4] for name in ("direct.tif", "gdal.tif"))
    assert direct[1:] == through[1:]


@pytest.mark.parametrize(
    ("made", "saved", "kept"),
    [
        ({"nodata": 3}, {}, True),
        ({"nodata": 3}, {"nodata": 3}, True),
        ({"nodata": 3}, {"nodata": 200}, False),
        ({}, {"nodata": 200}, False),
        ({}, {}, True),
        ({"dtype": "float32"}, {}, True),
        ({"dtype": "float32", "nodata": float("nan")}, {}, True),
        ({"dtype": "float32", "nodata": -9999}, {"nodata": 200}, False),
    ],
)
def test_statistics_are_those_of_the_cells(tmp_path, made, saved, kept):
    source, _ = make(tmp_path / "source.tif", band_tags={1: STATISTICS | {"OF": "a band"}}, **made)
    tj.open(source).save(tmp_path / "copy.tif", progress=False, **saved)
    with rasterio.open(tmp_path / "copy.tif") as dataset:
        assert dataset.tags(1) == (STATISTICS if kept else {}) | {"OF": "a band"}


def test_statistics_of_a_masked_band_stay_behind(tmp_path):
    source, _ = make(tmp_path / "source.tif", band_tags={1: STATISTICS})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as dataset:
        dataset.write_mask(np.eye(*SHAPE, dtype=bool))
    tj.open(source).save(tmp_path / "copy.tif", progress=False)
    with rasterio.open(tmp_path / "copy.tif") as dataset:
        assert not dataset.tags(1)


def test_a_nodata_value_that_cannot_be_written_gives_way(tmp_path):
    """Of int64 rasterio writes nodata values below 2 ** 53 alone."""
    cells = np.array([[2**63 - 1, 2**63 - 2, 5]])
    tifffile.imwrite(tmp_path / "a.tif", cells, extratags=[(42113, "s", 0, str(2**63 - 1), True)])
    tj.open(tmp_path / "a.tif").save(tmp_path / "b.tif")
    copy = tj.open(tmp_path / "b.tif")
    assert copy.bands[0].info.nodata == -(2**53) + 1
    assert copy.read().tolist() == [[[-(2**53) + 1, 2**63 - 2, 5]]]


def test_estimates_stay_behind(tmp_path):
    source, _ = make(tmp_path / "source.tif", band_tags={1: STATISTICS | {"STATISTICS_APPROXIMATE": "YES"}})
    assert not storage_of(open_source(source)).tags.bands[0].tags


def test_a_band_of_many(tmp_path):
    source, _ = make(tmp_path / "source.tif", count=3, dtype="int16", scales=((1.0, 0.5, 1.0), (0.0, 2.0, 0.0)),
                     band_tags={2: {"OF": "the second"}})  # fmt: skip
    tj.open(source, band=2).save(tmp_path / "copy.tif", progress=False)
    with rasterio.open(tmp_path / "copy.tif") as dataset:
        assert (dataset.tags(1), dataset.scales, dataset.offsets) == ({"OF": "the second"}, (0.5,), (2.0,))


def test_bands_that_become_wider(tmp_path):
    """Cells are the same numbers in another type: their scale holds; their table and statistics do not go along."""
    narrow, _ = make(tmp_path / "narrow.tif", colours=COLOURS, band_tags={1: STATISTICS}, scales=((0.5,), (1.0,)))
    wide, _ = make(tmp_path / "wide.tif", dtype="int16", band_tags={1: STATISTICS})
    one, two = tj.open(narrow), tj.open(wide)
    Raster(one.grid, (*one.bands, *two.bands)).save(tmp_path / "both.tif", progress=False)
    with rasterio.open(tmp_path / "both.tif") as dataset:
        assert dataset.scales == (0.5, 1.0)
        assert [dataset.tags(1), dataset.tags(2)] == [{}, STATISTICS]
        assert dataset.colorinterp[0] is not ColorInterp.palette


def test_files_that_disagree(tmp_path):
    one, two = (
        tj.open(make(tmp_path / f"{owner}.tif", tags={"": {"OWNER": owner, "YEAR": "2020"}})[0])
        for owner in ("us", "them")
    )
    Raster(one.grid, (*one.bands, *two.bands)).save(tmp_path / "both.tif", progress=False)
    with rasterio.open(tmp_path / "both.tif") as dataset:
        assert dataset.tags() == {"AREA_OR_POINT": "Area", "YEAR": "2020"}


def test_what_kernels_make_keeps_what_is_said_of_the_grid(tmp_path):
    source, _ = make(
        tmp_path / "source.tif",
        colours=COLOURS,
        tags={"": {"AREA_OR_POINT": "Point", "OWNER": "us"}, "RPC": RPC},
        band_tags={1: STATISTICS},
        scales=((0.1,), (5.0,)),
    )
    twice(tj.open(source)).save(tmp_path / "twice.tif", progress=False)
    with rasterio.open(tmp_path / "twice.tif") as dataset:
        assert dataset.tags() == {"AREA_OR_POINT": "Point"}
        assert dataset.transform == TRANSFORM
        assert (dataset.tags(1), dataset.scales) == ({}, (1.0,))
        assert {**RPC, **dataset.tags(ns="RPC")}.keys() == RPC.keys()
        assert dataset.tags(ns="RPC")
        assert dataset.colorinterp == (ColorInterp.gray,)


ROTATED_POLE = (
    'GEOGCRS["rotated",BASEGEOGCRS["unknown",DATUM["unknown",ELLIPSOID["sphere",6371229,0]]],'
    'DERIVINGCONVERSION["pole",METHOD["PROJ ob_tran o_proj=longlat"],PARAMETER["o_lat_p",40],PARAMETER["o_lon_p",0],'
    'PARAMETER["lon_0",10]],CS[ellipsoidal,2],AXIS["longitude",east],AXIS["latitude",north],'
    'ANGLEUNIT["degree",0.0174532925199433]]'
)
PLACED = {
    "points": {"gcps": [GroundControlPoint(r, c, 10 + c / 70, 50 - r / 40, 9) for r in (0, 40) for c in (0, 70)]},
    "rotated pole": {"crs": CRS.from_wkt(ROTATED_POLE), "transform": TRANSFORM},
    "no EPSG code": {"crs": "ESRI:54035", "transform": TRANSFORM},
    "a site's own": {"crs": CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'), "transform": TRANSFORM},
    "point": {"crs": "EPSG:32630", "transform": TRANSFORM},
}
"""Where rasters lie, in ways that not every format has keys for."""


def placed(path):
    """All that rasterio tells of where cells lie, but for the text of ids and names that WKT rounds."""
    with quiet(), rasterio.open(path) as d:
        points = [(p.row, p.col, p.x, p.y, p.z) for p in d.gcps[0]]
        crs = d.crs or d.gcps[1]
        return points, crs, d.transform, d.tags().get("AREA_OR_POINT", "Area"), d.tags(ns="RPC")


@pytest.mark.parametrize("suffix", ["tif", "vrt"])
@pytest.mark.parametrize("name", PLACED)
def test_where_cells_lie_is_what_gdals_copy_says(tmp_path, name, suffix):
    source, driver = tmp_path / "source.tif", {"tif": "GTiff", "vrt": "VRT"}[suffix]
    size = {"height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8"}
    with (
        quiet(),
        rasterio.open(source, "w", driver="GTiff", **size, **({"crs": "EPSG:4326"} | PLACED[name])) as dataset,
    ):
        dataset.write(np.ones((1, *SHAPE), np.uint8))
        if name == "point":
            dataset.update_tags(AREA_OR_POINT="Point")
            dataset.update_tags(ns="RPC", **RPC)
    with quiet(), rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / f"gdals.{suffix}", driver=driver)
    expected = placed(tmp_path / f"gdals.{suffix}")
    raster = tj.open(source)
    for output, made in (("copy", raster), ("made", twice(raster))):
        path = tmp_path / f"{output}.{suffix}"
        made.save(path, progress=False)
        assert placed(path) == expected
        assert path.with_name(f"{path.name}.aux.xml").exists() == (
            suffix == "tif" and name in {"rotated pole", "no EPSG code"}
        )
        assert ("aux.xml" in str(made.plan(path))) == path.with_name(f"{path.name}.aux.xml").exists()
        made.save(path, overwrite=True, progress=False)
        assert placed(path) == expected
    if name == "points":
        assert "Zarr does not keep ground control points" in str(raster.plan(tmp_path / "a.zarr"))


@pytest.mark.parametrize(
    ("profile", "fourth"),
    [({}, ColorInterp.undefined), ({"alpha": "yes", "photometric": "rgb"}, ColorInterp.alpha)],
)
def test_a_fourth_result_of_bytes_is_no_alpha_band_unless_asked_for(tmp_path, profile, fourth):
    """GDAL takes it for one, and readers would then take its zeros for holes in all four."""
    source, _ = make(tmp_path / "source.tif")
    four(tj.open(source)).save(tmp_path / "four.tif", profile=profile, progress=False)
    with rasterio.open(tmp_path / "four.tif") as dataset:
        assert dataset.colorinterp == (*RGB, fourth)


def test_tags_are_one_per_band():
    with pytest.raises(ValueError, match="tags are one per band: 2 bands, and 1 tags"):
        OutputProfile(path="a.tif", grid=tj.from_array(np.zeros((2, 2))).grid, count=2, dtype=np.dtype("u1"),
                      tags=FileTags(bands=(BandTags(),)))  # fmt: skip


def test_real_rasters_copy_as_gdal_copies_them(tmp_path, test_data):
    for name in ("multispectral/RGB.byte.tif", "dem/lf_elev_220_mt_hood_utm.tif", "large/cog_int16.tif"):
        ours = str(tmp_path / "ours.tif")
        tj.open(test_data / name).save(ours, overwrite=True, progress=False)
        gdals = gdals_copy(test_data / name, tmp_path / "gdals.tif", ours)
        mine, theirs = tags_in(ours), tags_in(gdals)
        if name == "large/cog_int16.tif":  # of its overviews, which a copy has none of
            assert "OVR_RESAMPLING_ALG" in theirs.pop("GDAL_METADATA")
        assert mine == theirs

"""What holds no valid cell is not computed, and nothing comes out otherwise."""

from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.engine.pipeline import evaluation
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.planner import make_job
from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.formats.geotiff.block_writer import BlockEncoder
from tilejit.formats.geotiff.blocks import BlockGrid, KnownBlocks, constant_of
from tilejit.formats.registry import open_source
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid
from tilejit.kernel.nodata import constant, is_constant, is_nodata_tile
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.window import Window

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::tilejit.errors.NodataWarning"),
]
SHAPE = (48, 80)


@tj.focal
def spread(z):
    return z[0, 1] - z[0, -1] + z[-1, 0] - z[1, 0]


@tj.focal(edge=2.0)
def framed(z):
    return z[0, 1] + z[1, 0]


@tj.focal(edge="reflect")
def mirrored(z):
    return z[-2, 0] + z[0, 2]


@tj.focal(edge="wrap")
def wrapped(z):
    return z[-1, 0] + z[0, 1]


@tj.focal(nodata="kernel")
def filled(z):
    return z[0, 0] if tj.is_valid(z[0, 0]) else 5.0


@tj.local
def over(z, *, limit=3.0) -> np.uint8:
    return z > limit


@tj.local
def two(a, b):
    return a + b, a * b


@tj.local
def first(a, b):
    return a + 1.0


@tj.local
def branches(a, b):
    return a if a > 2.0 else b


@tj.local
def bits(q: np.uint8, z) -> np.int16:
    return z if q & 1 else 0


CHAINS = {
    "local": lambda a, _: over(a),
    "focal": lambda a, _: spread(a),
    "framed": lambda a, _: framed(a),
    "mirrored": lambda a, _: mirrored(a),
    "wrapped": lambda a, _: wrapped(a),
    "filled": lambda a, _: filled(a),
    "two inputs, two results": two,
    "an input that is not read": first,
    "branches": branches,
    "focal of focal": lambda a, _: spread(spread(a)),
    "a number outside what was computed": lambda a, _: framed(spread(a)),
    "a mirror of what was computed": lambda a, _: mirrored(spread(a)),
    "filled after": lambda a, _: filled(spread(a)),
    "filled between": lambda a, _: spread(filled(a)),
    "integers between": lambda a, b: two(over(a), spread(b)),
    "integers of integers": lambda a, _: over(over(a), limit=0),
}


def blocky(seed, shares, dtype, value, nodata):
    """Cells in patches of 16: whole ones of nodata, of one value, and rough ones; a few holes in these."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(1, 9, SHAPE).astype(dtype)
    cells[rng.random(SHAPE) < 0.02] = nodata
    kinds = rng.choice(3, (3, 5), p=shares)
    for (row, col), kind in np.ndenumerate(kinds):
        if kind:
            cells[16 * row : 16 * row + 16, 16 * col : 16 * col + 16] = nodata if kind == 1 else value
    return cells


@st.composite
def rasters(draw):
    """Two Rasters, which may share their nodata or have none."""
    shares = draw(st.sampled_from([(0.2, 0.7, 0.1), (0, 1, 0), (0.5, 0.3, 0.2), (0.98, 0.02, 0)]))
    made = []
    for _ in range(2):
        dtype = draw(st.sampled_from(["uint8", "int16", "float32", "float64"]))
        nodata = draw(st.sampled_from([0, 7] if dtype[0] in "ui" else [0.0, -9999.0, float("nan")]))
        cells = blocky(draw(st.integers(0, 1000)), shares, dtype, draw(st.integers(0, 9)), nodata)
        made.append(tj.from_array(cells, nodata=draw(st.sampled_from([nodata, None])) if dtype[0] in "ui" else nodata))
    return made


def computed(raster, **options):
    return [raster.band(k + 1).read(**options) for k in range(len(raster))] + [raster.read(**options)]


def never():
    """As if no kernel let nodata through."""
    return mock.patch("tilejit.engine.pipeline.evaluation._deciding", return_value=())


def same(first, second):
    """NaN equals NaN whatever its bits are: no processor promises those."""
    assert first.dtype == second.dtype
    np.testing.assert_array_equal(first, second)


@settings(max_examples=60, deadline=None)
@given(
    pair=rasters(), name=st.sampled_from(sorted(CHAINS)), tile=st.sampled_from([(16, 16), (16, 80), (7, 11), (48, 80)])
)
def test_skipping_changes_nothing(pair, name, tile):
    raster = CHAINS[name](*pair)
    skipped = computed(raster, tile=tile, workers=1)
    with never():
        expected = computed(raster, tile=tile, workers=1)
    for ours, theirs in zip(skipped, expected, strict=True):
        same(ours, theirs)


@settings(max_examples=15, deadline=None)
@given(
    pair=rasters(),
    name=st.sampled_from(sorted(CHAINS)),
    nodata=st.sampled_from([None, 77]),
    interleave=st.sampled_from(["band", "pixel"]),
    options=st.sampled_from([{"compress": c, "sparse_ok": k} for c in ("zstd", "none", "lzma") for k in (True, False)]),
)
def test_files_are_the_same(tmp_path_factory, pair, name, nodata, interleave, options):  # noqa: PLR0917
    folder = tmp_path_factory.mktemp("files")
    raster = CHAINS[name](*pair)
    # A copy beside it, so that one band of a window may be blank and the other not.
    both = Raster(raster.grid, (*raster.bands, *filled(pair[1]).bands))
    options = {"blockxsize": 16, "blockysize": 16, "interleave": interleave} | options
    read = []
    for path, how in ((folder / "skipped.tif", ExitStack()), (folder / "all.tif", never())):
        with how:
            both.save(path, tile=(16, 32), nodata=nodata, progress=False, profile=options)
        with rasterio.open(path) as dataset:
            read.append((dataset.read(), dataset.nodata, dataset.profile["dtype"]))
    same(read[0][0], read[1][0])
    assert str(read[0][1:]) == str(read[1][1:])


def launched(raster, tile):
    """How often a kernel runs."""
    calls = []
    real = evaluation.launches

    def counting(job):
        def wrap(launch):
            def called(*arguments):
                calls.append(1)
                return launch(*arguments)

            return called

        return tuple(wrap(launch) for launch in real(job))

    with mock.patch("tilejit.engine.pipeline.pipeline.launches", counting):
        raster.read(tile=tile, workers=2)
    return len(calls)


@pytest.mark.parametrize("kernel", [over, spread, framed, mirrored, wrapped])
def test_tiles_of_nodata_are_not_computed(kernel):
    """A tile's own cells decide, and neither its neighbours' nor what lies outside the raster."""
    a = np.full(SHAPE, np.nan, np.float32)
    a[16:32, 20:28] = 3
    a[20, 0] = 4
    assert launched(kernel(tj.from_array(a)), (16, 16)) == 2


def test_any_input_decides_but_one_that_is_not_read():
    a, b = np.full((2, *SHAPE), np.nan, np.float32)
    a[:16, :32] = b[:16, 16:48] = 1
    rasters = tj.from_array(a), tj.from_array(b)
    assert [launched(kernel(*rasters), (16, 16)) for kernel in (two, branches, first)] == [1, 1, 2]


def test_nothing_is_skipped_of_a_kernel_that_deals_with_nodata():
    blank = tj.from_array(np.full(SHAPE, np.nan, np.float32))
    assert launched(filled(blank), (16, 16)) == launched(filled(spread(blank)), (16, 16)) == 15


def test_a_tile_whose_own_cells_are_nodata_is_not_computed_whatever_surrounds_it():
    """Be it a number outside the raster, or valid cells of the next tile."""
    cells = np.full((16, 32), np.nan, np.float32)
    cells[:, 16:] = 1.0
    assert launched(framed(tj.from_array(cells)), (16, 16)) == 1
    result = framed(tj.from_array(cells)).read()[0]
    assert np.isnan(result[:, :16]).all()
    assert (result[:-1, 16:-1] == 2.0).all()
    assert (result[-1, -1], result[-1, 16]) == (4.0, 3.0)


def test_which_inputs_decide():
    kernels, plane = (spread, filled, two, first, branches, bits), frozenset({0})
    found = {kernel.name: tuple(k for k, layers in kernel.facts.deciding_inputs) for kernel in kernels}
    assert found == {"spread": (0,), "filled": (), "two": (0, 1), "first": (0,), "branches": (0, 1), "bits": (0, 1)}
    assert {layers for kernel in kernels for _, layers in kernel.facts.deciding_inputs} == {plane}


def test_validity_apart_is_looked_at():
    cells = np.zeros(SHAPE, np.uint8)
    z = tj.from_array(np.ones(SHAPE, np.float32))
    raster = bits(tj.from_array(cells, nodata=0), z)
    assert launched(raster, (16, 16)) == 0
    assert (raster.read() == -32768).all()
    assert launched(bits(tj.from_array(cells), z), (16, 16)) == 15


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_is_nodata_tile_is_what_a_scan_says(data):
    shape = data.draw(st.tuples(st.integers(1, 150), st.integers(1, 9)))
    cells = np.full(shape, np.nan)
    for _ in range(data.draw(st.integers(0, 2))):
        cells[data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))] = 1
    expected = bool(np.isnan(cells).all())
    assert is_nodata_tile(cells, None, None) == expected
    integers = np.nan_to_num(cells, nan=7).astype(np.int16)
    assert is_nodata_tile(integers, None, 7) == expected
    assert not is_nodata_tile(integers, None, None)
    assert is_nodata_tile(integers, (~np.isnan(cells)).astype(np.uint8), None) == expected
    assert not is_nodata_tile(cells[:0], None, None)


def test_a_constant_is_known_by_its_strides():
    pair = constant(np.int16([3, 4]), (5, 6))
    assert pair.shape == (2, 5, 6)
    assert is_constant(pair)
    assert is_constant(pair[1])
    assert not is_constant(np.ones((5, 6)))
    assert constant_of(np.broadcast_to(np.int16([3, 4]), (5, 6, 2))) == np.int16([3, 4]).tobytes()


def write(path, cells, **options):
    options = {"tiled": True, "blockxsize": 16, "blockysize": 16} | options
    shape = {"height": SHAPE[0], "width": SHAPE[1], "count": len(cells), "dtype": cells.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32630", transform=rasterio.Affine(9, 0, 0, 0, -9, 0),
                       **shape, **options) as dataset:  # fmt: skip
        dataset.write(cells)


@pytest.mark.parametrize("options", [
    {"compress": "deflate"}, {"compress": "zstd", "nodata": 0}, {"compress": "lzw", "interleave": "pixel"}, {},
    {"compress": "deflate", "tiled": False, "blockysize": 20, "nodata": 3}, {"compress": "zstd", "predictor": 2},
], ids=str)  # fmt: skip
def test_blocks_that_are_stored_alike_are_decoded_once(tmp_path, options):
    cells = np.stack([blocky(4, (0.1, 0.5, 0.4), "int16", 3, 0), blocky(5, (0.1, 0.5, 0.4), "int16", 3, 0)])
    write(tmp_path / "a.tif", cells, **options)
    source = open_source(tmp_path / "a.tif")
    assert isinstance(source, BlockSource)
    for dtype, parts in (("int16", 1), ("float32", 3), ("uint8", 2)):
        out, valid = np.empty((2, *SHAPE), dtype), np.empty((2, *SHAPE), np.uint8)
        for rows in np.array_split(np.arange(SHAPE[0]), parts):
            window = Window(int(rows[0]), 0, len(rows), SHAPE[1])
            source.read((1, 2), window, out[:, rows[0] : rows[-1] + 1], valid[:, rows[0] : rows[-1] + 1])
        nodata = options.get("nodata", -1)
        if dtype == "float32":
            np.testing.assert_array_equal(out, np.where(cells == nodata, np.nan, cells))
        else:
            np.testing.assert_array_equal(out, cells)
            np.testing.assert_array_equal(valid, cells != nodata)


def test_only_blocks_of_one_value_are_remembered():
    known = KnownBlocks(1024)
    stored, block = np.arange(8, dtype=np.uint8), np.full((16, 16, 1), 9, np.float32)
    assert known.get(stored, block.shape) is None
    known.learn(stored, block)
    np.testing.assert_array_equal(known.get(stored, block.shape), block)
    assert known.get(stored, (8, 16, 1)) is None
    assert known.get(stored + 1, block.shape) is None
    rough = block.copy()
    rough[3, 3] = 1
    known.learn(stored + 1, rough)
    assert known.get(stored + 1, block.shape) is None
    known.learn(np.arange(9, dtype=np.uint8), block)
    assert known.get(np.arange(9, dtype=np.uint8), block.shape) is None


def test_a_constant_is_encoded_once():
    profile = OutputProfile(path="a.tif", grid=Grid(8, 16), count=1, dtype=np.dtype(np.float32))
    grid, codec = BlockGrid((8, 16), (8, 8), tiled=True, planes=1), BlockCodec("NONE", 1, profile.dtype)
    encoder = BlockEncoder(profile, grid, codec, sparse=False, auto=False)
    with mock.patch.object(BlockCodec, "encode", return_value=b"abc") as encode:
        cells = np.full((1, 8, 16), 3, np.float32)
        for array in (cells, np.broadcast_to(cells[:, :1, :1], cells.shape)):
            assert [data for _, data in encoder.encode(Window(0, 0, 8, 16), array)] == [b"abc", b"abc"]
    assert encode.call_count == 1
    assert encode.call_args[0][0].flags.c_contiguous


def test_a_sparse_output_leaves_blank_tiles_out(tmp_path):
    a = np.full(SHAPE, np.nan, np.float32)
    a[:16, :16] = 2
    report = spread(tj.from_array(a)).save(tmp_path / "sparse.tif", profile={"sparse_ok": True, "blockxsize": 16,
                                           "blockysize": 16, "compress": "none"}, progress=False)  # fmt: skip
    assert report.output_bytes < 2 * 16 * 16 * 4 + 1500  # one block of 15
    with rasterio.open(tmp_path / "sparse.tif") as dataset:
        assert np.isnan(dataset.read(1)).sum() == SHAPE[0] * SHAPE[1] - 14 * 14


def test_a_job_may_have_no_kernel():
    raster = tj.from_array(np.full(SHAPE, np.nan, np.float32), grid=Grid(*SHAPE))
    job = make_job(raster.grid, [Request(raster.bands)], RunOptions().settings(raster.bands))
    assert not job.plan.steps
    assert np.isnan(raster.read()).all()

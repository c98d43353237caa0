"""Cheaper coders: files stay within 2 % of what was asked for, whatever the blocks, and their bytes come back."""

import itertools
import os
import re
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from sinks_for_tests import Written
from tilejit.errors import SinkError
from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.codecs.compression_level import MixedEncoder, SampleBlock, coders_for
from tilejit.formats.geotiff_sink import BlockSink
from tilejit.formats.output import OutputFile
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid
from tilejit.window import Window, tiles

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("TILEJIT_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
PROMISED = 1.02
ASKED = {"ZSTD": 1, "DEFLATE": 6}
UNPACK = {"ZSTD": imagecodecs.zstd_decode, "DEFLATE": zlib.decompress}
SIDE = 128


@tj.local
def halved(z):
    return z / 2


def hills(rows, cols, noise=0.1):
    y, x = np.indices((rows, cols))
    cells = 900 + 300 * np.sin(y / 90) + 200 * np.cos(x / 70) + 20 * np.sin((x + y) / 9)
    return (cells + np.random.default_rng(5).normal(scale=noise, size=cells.shape)).astype(np.float32)


def kinds():
    """Stacks of blocks of very different kinds, each of one type: float32."""
    rough, smooth = hills(8 * SIDE, 8 * SIDE), np.round(hills(8 * SIDE, 8 * SIDE, 0))
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(rough, 30))))
    few = np.random.default_rng(1).choice(np.float32([0, 1, 7.5, 1e9]), rough.shape, p=[0.9, 0.05, 0.04, 0.01])
    noise = np.random.default_rng(2).random(rough.shape, np.float32)
    sea = np.where(np.random.default_rng(3).random(rough.shape) < 0.002, rough, np.float32(0))
    return {"rough": rough, "smooth": smooth, "slope": slope, "few": few, "noise": noise, "sea": sea}


def blocks_of(cells, side=SIDE):
    rows, cols = (n // side for n in cells.shape)
    parts = (cells[r * side : (r + 1) * side, c * side : (c + 1) * side] for r, c in np.ndindex(rows, cols))
    return [np.ascontiguousarray(part[:, :, np.newaxis], np.float32) for part in parts]


STACKS = {name: blocks_of(cells) for name, cells in kinds().items()}


def assert_promise(compression, blocks, predictor=3):
    """Blocks come back, and are nearly as small in all as those of the coder that was asked for."""
    codec = BlockCodec(compression, predictor, blocks[0].dtype, 1, ASKED[compression])
    mixed = MixedEncoder(compression, ASKED[compression])
    stored = asked = 0
    for block in blocks:
        encoded = codec.encode(block, mixed.compress)
        exact = codec.encode(block)
        assert UNPACK[compression](bytes(encoded)) == UNPACK[compression](bytes(exact))
        stored, asked = stored + len(encoded), asked + len(exact)
    assert stored <= PROMISED * asked, mixed.summary()
    return mixed


@pytest.mark.parametrize("compression", ASKED)
@pytest.mark.parametrize("kind", STACKS)
def test_every_kind_keeps_the_promise(compression, kind):
    assert_promise(compression, STACKS[kind])


@pytest.mark.parametrize("compression", ASKED)
@pytest.mark.parametrize("pair", list(itertools.permutations(STACKS, 2)), ids="-".join)
def test_data_that_changes_half_way_is_noticed(compression, pair):
    first, second = (STACKS[kind] for kind in pair)
    assert_promise(compression, first[:40] + second[:40])
    assert_promise(compression, [block for both in zip(first[:30], second[:30], strict=True) for block in both])


@settings(deadline=None, max_examples=25)
@given(
    compression=st.sampled_from(sorted(ASKED)),
    runs=st.lists(st.tuples(st.sampled_from(sorted(STACKS)), st.integers(4, 20)), min_size=4, max_size=8),
)
def test_any_mixture_keeps_the_promise(compression, runs):
    assert_promise(compression, [block for kind, count in runs for block in STACKS[kind][:count]])


@pytest.mark.parametrize("compression", ASKED)
@pytest.mark.parametrize(
    "name",
    ["dem/lf_elev_220_mt_hood_utm.tif", "dem/srtm3_north_england_3601x2401.tif",
     "multispectral/LC80030172015001LGN00_B4.tiff", "multispectral/RGB.byte.tif"],
)  # fmt: skip
def test_real_rasters_keep_the_promise(compression, name):
    if not (DATA / name).exists():
        pytest.skip(f"no real rasters under {DATA}: TILEJIT_TEST_DATA says where they are")
    with rasterio.open(DATA / name) as dataset:
        cells = dataset.read(1)
    side = 256
    for stored in (cells, cells.astype(np.float32), np.hypot(*np.gradient(cells.astype(np.float32)))):
        predictor = 3 if stored.dtype.kind == "f" else 2
        rows, cols = (n - n % side for n in stored.shape)
        blocks = [
            np.ascontiguousarray(stored[r : r + side, c : c + side, np.newaxis])
            for r, c in itertools.product(range(0, rows, side), range(0, cols, side))
        ]
        assert_promise(compression, blocks, predictor)


def test_deflate_6_of_terrain_goes_to_a_cheaper_coder():
    mixed = assert_promise("DEFLATE", STACKS["slope"] * 2)
    assert "ISA-L" in mixed.summary()
    assert "in size" in mixed.summary()


@pytest.mark.parametrize(("compression", "level"), [("ZSTD", 9), ("DEFLATE", 9), ("DEFLATE", None), ("LZW", None)])
def test_who_asks_for_the_smallest_gets_exactly_that(compression, level):
    mixed = MixedEncoder(compression, level)
    codec = BlockCodec(compression, 3, np.dtype(np.float32), 1, level)
    for block in STACKS["rough"][:4]:
        assert bytes(codec.encode(block, mixed.compress)) == bytes(codec.encode(block))
    assert len(coders_for(compression, level)) == 1
    assert mixed.summary() == ""


@pytest.mark.parametrize("level", range(1, 7))
@pytest.mark.parametrize("compression", ASKED)
def test_all_coders_of_a_format_write_it(compression, level):
    data = np.ascontiguousarray(STACKS["rough"][0]).reshape(-1).view(np.uint8)
    coders = coders_for(compression, level)
    for coder in coders:
        for size in (1, 100, 5000, data.size):
            assert UNPACK[compression](bytes(coder.encode(data[:size]))) == data[:size].tobytes()
    assert [c.cost for c in coders] == sorted(c.cost for c in coders) or len(coders) == 1


def test_threads_share_one_without_losing_a_block():
    blocks = [b for kind in ("rough", "sea", "slope", "few") for b in STACKS[kind][:32]]
    codec, mixed = BlockCodec("DEFLATE", 3, np.dtype(np.float32), 1, 6), MixedEncoder("DEFLATE", 6)
    together = threading.Barrier(4)

    def encode(part):
        together.wait()
        return [(block, bytes(codec.encode(block, mixed.compress))) for block in part]

    with ThreadPoolExecutor(4) as pool:
        done = [pair for pairs in pool.map(encode, [blocks[k::4] for k in range(4)]) for pair in pairs]
    out = np.empty_like(blocks[0])
    for block, data in done:
        codec.decode(data, out)
        assert out.tobytes() == block.tobytes()
    assert sum(len(data) for _, data in done) <= PROMISED * sum(len(codec.encode(block)) for block in blocks)
    assert mixed._blocks.total() == len(blocks)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("options", "level"), [({"COMPRESS": "ZSTD"}, 1), ({"COMPRESS": "DEFLATE"}, 6)], ids=str)
def test_a_file_reads_back_and_is_small(tmp_path, options, level):
    cells = hills(1024, 1024)
    profile = OutputProfile(
        path=str(tmp_path / "a.tif"), grid=Grid(1024, 1024), count=1, dtype=cells.dtype,
        options=options | {"BLOCKXSIZE": "128", "BLOCKYSIZE": "128"},
    )  # fmt: skip
    sink = Written(BlockSink(OutputFile(profile)))
    for window in tiles(1024, 1024, 256, 256):
        sink.write(window, np.ascontiguousarray(cells[np.newaxis, *window.slices(Window(0, 0, 1024, 1024))]))
    assert "%" in sink.coding
    sink.publish()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(1), cells)
    codec = BlockCodec(options["COMPRESS"], 3, cells.dtype, 1, level)
    exact = sum(len(codec.encode(block)) for block in blocks_of(cells))
    assert (tmp_path / "a.tif").stat().st_size <= PROMISED * exact + 4096


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_report_says_who_encoded(tmp_path):
    profile = {"COMPRESS": "DEFLATE", "BLOCKXSIZE": 128, "BLOCKYSIZE": 128}
    report = halved(tj.from_array(hills(600, 600))).save(tmp_path / "half.tif", profile=profile)
    assert "coding    half.tif: " in str(report)
    assert "in size" in str(report)


def test_a_file_of_few_blocks_is_encoded_as_asked():
    mixed = MixedEncoder("DEFLATE", 6, blocks=15)
    codec = BlockCodec("DEFLATE", 3, np.dtype(np.float32), 1, 6)
    for block in STACKS["slope"][:15]:
        assert bytes(codec.encode(block, mixed.compress)) == bytes(codec.encode(block))
    assert mixed.summary() == ""


def test_a_pair_is_the_fastest_that_keeps_the_limit():
    costs = (1.0, 4.0, 10.0)
    assert SampleBlock({0: 0.5, 2: 0.5}, costs).pair(1.015) == (0, 0)
    # Half a percent of room beyond coder 1 is worth less than what coder 0 saves there.
    assert SampleBlock({0: 0.52, 1: 0.505, 2: 0.5}, costs).pair(1.015) == (0, 1)
    assert SampleBlock({0: 0.9, 1: 0.51, 2: 0.5}, costs).pair(1.015) == (1, 2)
    assert SampleBlock({0: 0.9, 1: 0.8, 2: 0.5}, costs).pair(1.015) == (2, 2)


EXACT = {
    "DEFLATE": lambda data, level: imagecodecs.deflate_encode(data, level=level),
    "ZSTD": lambda data, level: imagecodecs.zstd_encode(data, level=level),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("profile", "level"),
    [
        ({"compress": "zstd", "zstd_level": 1}, 1),
        ({"compress": "zstd", "level": 3}, 3),
        ({"compress": "deflate", "zlevel": 6}, 6),
        ({"compress": "deflate", "zlevel": "1"}, 1),
    ],
)
@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_a_level_that_is_given_is_obeyed_to_the_bit(tmp_path, profile, level, suffix):
    """Every block is what libdeflate or ZSTD make of it at that level, however many there are."""
    cells = hills(600, 600)
    raster = halved(tj.from_array(cells))
    profile = profile | {"predictor": 1, "blockxsize": 128, "blockysize": 128}
    plan = str(raster.plan(tmp_path / f"half{suffix}", profile=profile))
    assert "blocks by" not in plan
    report = raster.save(tmp_path / f"half{suffix}", profile=profile)
    assert "coding" not in str(report)
    path = tmp_path / "half.tif" if suffix == ".tif" else next((tmp_path / "half.tiles").glob("*.tif"))
    with tifffile.TiffFile(path) as tiff:
        page, found = tiff.pages.first, path.read_bytes()
        assert len(page.dataoffsets) == 25
        decode = UNPACK[profile["compress"].upper()]
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            stored = found[offset : offset + count]
            assert stored == EXACT[profile["compress"].upper()](decode(stored), level)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("given", [{}, {"zlevel": "auto"}, {"level": "AUTO"}])
def test_where_no_level_is_given_the_plan_and_the_report_name_who_encodes(tmp_path, given):
    raster, profile = (
        halved(tj.from_array(hills(600, 600))),
        {"compress": "deflate", "blockxsize": 128, "blockysize": 128},
    )
    plan = str(raster.plan(tmp_path / "half.tif", profile=profile | given))
    assert "ZLEVEL=AUTO" in plan
    assert "; blocks by DEFLATE level 6, or by ISA-L level 1 or DEFLATE level 1 or DEFLATE level 3 where" in plan
    report = raster.save(tmp_path / "half.tif", profile=profile | given)
    # Which of them is the fastest is measured, and so not the same everywhere.
    assert re.search(r"coding +half\.tif: .*(ISA-L|DEFLATE) level \d", str(report))


def test_a_level_of_what_has_none_is_refused(tmp_path):
    with pytest.raises(SinkError, match="LEVEL is for COMPRESS=DEFLATE and ZSTD, not LZW"):
        halved(tj.from_array(hills(64, 64))).save(tmp_path / "half.tif", profile={"compress": "lzw", "level": 6})

"""Blocks of TIFFs: GDAL writes the same bytes before compression, and what is encoded is decoded again."""

import itertools
import os
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tilejit.errors import CodecError
from tilejit.formats.codecs.block_codec import COMPRESSIONS, BlockCodec

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
CODES = list(itertools.product(COMPRESSIONS, DTYPES, (1, 2, 3)))
CODES = [(c, d, p) for c, d, p in CODES if (p == 1 or c != "NONE") and (p != 3 or d[0] == "f")]
UNPACK = {
    "NONE": bytes,
    "DEFLATE": zlib.decompress,
    "ZSTD": imagecodecs.zstd_decode,
    "LZW": imagecodecs.lzw_decode,
}


def random_block(shape, dtype, seed=0):
    """Any bits: floats with NaN of every payload among them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).view(dtype).reshape(shape)


def assert_same_bits(got, expected):
    assert got.tobytes() == expected.tobytes()


# The first block of each type waits for its loops to be compiled.
@settings(deadline=None)
@given(
    code=st.sampled_from(CODES),
    order=st.sampled_from("<>"),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 21), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
def test_a_block_comes_back(code, order, shape, seed):
    compression, dtype, predictor = code
    codec = BlockCodec(compression, predictor, np.dtype(order + dtype), shape[2])
    block = random_block(shape, dtype, seed)
    out = np.empty_like(block)
    codec.decode(codec.encode(block), out)
    assert_same_bits(out, block)


@settings(deadline=None)
@given(
    dtype=st.sampled_from(["f4", "f8"]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_predictor_3_is_the_libtiff_authors_loop(dtype, shape, seed):
    block = random_block(shape, dtype, seed)
    encoded = BlockCodec("DEFLATE", 3, np.dtype(dtype), shape[2]).encode(block)
    rows = []
    for row in block.reshape(shape[0], -1):
        planes = np.frombuffer(row.astype(f">{dtype}").tobytes(), np.uint8).reshape(row.size, -1).T.ravel()
        rows.append([*planes[: shape[2]], *(planes[shape[2] :] - planes[: -shape[2]])])
    assert zlib.decompress(encoded) == np.array(rows, np.uint8).tobytes()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
@pytest.mark.parametrize("code", CODES, ids=str)
def test_gdal_writes_the_same_before_compression(tmp_path, code, interleave, order):
    compression, dtype, predictor = code
    cells = random_block((3, 40, 70), dtype)
    options = {"PREDICTOR": predictor, "ENDIANNESS": order, "INTERLEAVE": interleave, "COMPRESS": compression}
    options |= {"TILED": "YES", "BLOCKXSIZE": 32, "BLOCKYSIZE": 16}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=3, height=40, width=70, dtype=cells.dtype.name, **options
    ) as dataset:
        dataset.write(cells)
    samples = 3 if interleave == "PIXEL" else 1
    codec = BlockCodec(compression, predictor, np.dtype("<>"[order == "BIG"] + dtype), samples)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        spans = list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))
    file = (tmp_path / "a.tif").read_bytes()
    blocks = [file[offset : offset + count] for offset, count in spans]
    places = list(
        itertools.product([[0, 1, 2]] if samples == 3 else [[0], [1], [2]], range(0, 40, 16), range(0, 70, 32))
    )
    assert len(blocks) == len(places)
    for data, (bands, row, col) in zip(blocks, places, strict=True):
        out = np.empty((16, 32, samples), dtype)
        codec.decode(data, out)
        expected = np.moveaxis(cells[bands, row : row + 16, col : col + 32], 0, 2)
        assert_same_bits(out[: expected.shape[0], : expected.shape[1]], expected)
        assert UNPACK[compression](bytes(codec.encode(out))) == UNPACK[compression](data)


def test_a_level_is_passed_on():
    block = np.arange(4096, dtype=np.int32).reshape(64, 64, 1) % 977
    for compression in ("ZSTD", "DEFLATE"):
        sizes = [len(BlockCodec(compression, 1, block.dtype, 1, level).encode(block)) for level in (1, 9)]
        assert sizes[0] != sizes[1]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("change", ["cut", "empty", "other size"])
def test_short_data_is_an_error(compression, change):
    codec = BlockCodec(compression, 1, np.dtype("u1"))
    block = random_block((16, 16, 1), "u1")
    data = bytes(codec.encode(block[:-1] if change == "other size" else block))
    data = {"cut": data[: len(data) // 2], "empty": b"", "other size": data}[change]
    with pytest.raises(CodecError, match=compression):
        codec.decode(data, np.empty_like(block))


@settings(deadline=None)
@given(compression=st.sampled_from(COMPRESSIONS), predictor=st.sampled_from([1, 2, 3]), data=st.binary(max_size=80))
def test_no_data_writes_beside_the_block(compression, predictor, data):
    codec = BlockCodec(compression, 1 if compression == "NONE" else predictor, np.dtype("f4"))
    around = np.full((3, 4, 4, 1), 7, np.float32)
    try:
        codec.decode(data, around[1])
    except CodecError as error:
        assert compression in str(error)  # noqa: PT017 - it may also decode
    assert (around[[0, 2]] == 7).all()


def test_a_bomb_fills_no_more_than_its_block():
    bombs = {
        c: BlockCodec(c, 1, np.dtype("u1")).encode(np.zeros((4096, 4096, 1), np.uint8)) for c in ("ZSTD", "DEFLATE")
    }
    around = np.ones((3, 4, 4, 1), np.uint8)
    for compression, bomb in bombs.items():
        around[1] = 1
        BlockCodec(compression, 1, np.dtype("u1")).decode(bomb, around[1])
        assert (around[1] == 0).all()
        assert (around[[0, 2]] == 1).all()


@pytest.mark.parametrize("compression", ["DEFLATE", "ZSTD"])
def test_a_longer_stream_is_held_to_its_end(compression):
    """A last strip may be stored whole, and then its stream, too, is whole: cut short, or with a bit flipped, it is not."""
    codec = BlockCodec(compression, 1, np.dtype("u1"))
    whole = np.random.default_rng(0).integers(0, 4, (64, 64, 1), np.uint8)
    data, out = bytes(codec.encode(whole)), np.empty((16, 64, 1), np.uint8)
    codec.decode(data + b"what follows", out)
    assert_same_bits(out, whole[:16])
    for damaged in (data[:-8], data[:40], bytes([*data[:-3], data[-3] ^ 4, *data[-2:]])):
        with pytest.raises(CodecError, match=f"corrupt {compression}"):
            codec.decode(damaged, out)


@pytest.mark.parametrize("bits", ["100000000_100101100", "100000000_000000111_100000011", "000000111"])
def test_a_code_of_lzw_that_is_in_no_table(bits):
    """256 clears the table; 300 comes before there is a string, 259 before it is made, and nothing before 256."""
    data = int(bits.replace("_", "").ljust(72, "0"), 2).to_bytes(9, "big")
    with pytest.raises(CodecError, match="in no table"):
        BlockCodec("LZW", 1, np.dtype("u1")).decode(data, np.empty((4, 4, 1), np.uint8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("LERC", 1, np.dtype("u1")), "LERC"),
        (("ZSTD", 4, np.dtype("u1")), "predictors are"),
        (("ZSTD", 3, np.dtype("i4")), "floats of 32"),
        (("NONE", 2, np.dtype("i4")), "needs a compression"),
        (("NONE", 1, np.dtype("c8")), "complex64"),
    ],
)
def test_what_cannot_be_coded_is_refused(fields, message):
    with pytest.raises(CodecError, match=message):
        BlockCodec(*fields)


@pytest.mark.parametrize(
    "block",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.float32),
        np.zeros((4, 4, 1), np.float64),
        np.zeros((4, 4, 1), ">f4"),
        np.zeros((4, 8, 1), np.float32)[:, ::2],
        np.zeros((0, 4, 1), np.float32),
    ],
)
def test_what_is_no_block_is_refused(block):
    codec = BlockCodec("ZSTD", 3, np.dtype(">f4"))
    with pytest.raises(CodecError, match="a block is C-contiguous"):
        codec.encode(block)
    with pytest.raises(CodecError, match="a block is C-contiguous"):
        codec.decode(b"", block)


@pytest.mark.slow
def test_the_second_process_compiles_nothing(tmp_path):
    program = """if True:
        import sys
        import numpy as np
        from tilejit.formats.codecs.block_codec import BlockCodec
        block = np.ones((4, 4, 1), np.float32)
        for predictor in (2, 3):
            codec = BlockCodec("ZSTD", predictor, block.dtype)
            codec.decode(codec.encode(block), block)
        print("numba" in sys.modules)
    """
    environment = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path / "cache")}
    made = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        made.append({file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("loops_*.o")})
    assert len(made[0]) == 4
    assert made[1] == made[0]
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("code", [c for c in CODES if c[2] > 1 or c[0] == "LZW"], ids=str)
@pytest.mark.parametrize("samples", [1, 3])
def test_what_is_compiled_is_known_before_a_block_is_coded(code, samples):
    codec = BlockCodec(code[0], code[2], np.dtype(code[1]), samples)
    known = [*codec.encoders, *codec.decoders]
    for function, types in known:
        function.load(types)
    before = [set(function._calls) for function, _ in known]
    block = random_block((5, 7, samples), code[1])
    data, out = np.frombuffer(codec.encode(block), np.uint8), np.empty_like(block)
    codec.decode(data, out)
    codec.decode_run(data, np.int64([[0, len(data)]]), out)
    assert_same_bits(out, block)
    assert [set(function._calls) for function, _ in known] == before

"""What goes wrong is said by name, and nothing is lost or left half written."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
from rasterio import Affine

import tilejit as tj
from tilejit.errors import (
    MemoryLimitError,
    ParameterError,
    PlanError,
    ReadError,
    SinkError,
    SourceError,
    TilejitError,
)
from tilejit.formats.source import BandInfo, SourceStorage
from tilejit.grid import Grid
from tilejit.raster.raster import Raster, SourceBand

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


@tj.focal
def steep(z):
    return z[0, 1] - z[0, -1]


@tj.local
def doubled(z):
    return z * 2


def write(path, array, **profile):
    profile = {"driver": "GTiff", "transform": Affine(30, 0, 0, 0, -30, 0), "crs": "EPSG:32633"} | profile
    count, height, width = array.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=array.dtype, **profile) as dataset:
        dataset.write(array)
    return path


@pytest.fixture
def dem(tmp_path):
    cells = np.random.default_rng(0).random((1, 1500, 1500), np.float32)
    return write(tmp_path / "dem.tif", cells, tiled=True, blockxsize=256, blockysize=256, compress="deflate")


@contextmanager
def nothing_changes(folder):
    """Asserts that a folder holds the same files, with the same bytes, and that no thread stays behind."""
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    threads = threading.active_count()
    yield
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert threading.active_count() <= threads


def damage(path, at, length=400):
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + length] = b"\x55" * length
    path.write_bytes(data)


def test_a_missing_file():
    with pytest.raises(SourceError, match=r"nowhere\.tif: cannot be opened"):
        tj.open("nowhere.tif")


def test_a_corrupt_block_names_file_and_window(dem, tmp_path):
    damage(dem, 0.5)
    old = write(tmp_path / "old.tif", np.ones((1, 4, 4), np.uint8))
    raster = doubled(tj.open(dem))
    with nothing_changes(tmp_path), pytest.raises(ReadError, match=r"dem\.tif: cannot read band 1, rows \d+:\d+, cols"):
        raster.save(old, overwrite=True)
    with nothing_changes(tmp_path), pytest.raises(ReadError):
        steep(raster).save(tmp_path / "new.tif", tile=(512, 512), workers=3)


def test_a_truncated_file(dem, tmp_path):
    dem.write_bytes(dem.read_bytes()[:-200_000])
    with nothing_changes(tmp_path), pytest.raises(TilejitError, match=r"dem\.tif"):
        steep(tj.open(dem)).save(tmp_path / "new.tif")


@pytest.mark.parametrize(
    ("array", "profile", "cause"),
    [
        (np.ones((1, 4, 4), np.complex64), {}, "complex"),
        (np.ones((1, 4, 4), np.uint8), {"transform": Affine(1, 1, 0, 1, -1, 0)}, "rotated"),
    ],
)
def test_rasters_that_are_not_read(tmp_path, array, profile, cause):
    path = write(tmp_path / "odd.tif", array, **profile)
    with pytest.raises(SourceError, match=rf"(?s)odd\.tif.*{cause}"):
        tj.open(path)


def test_outputs_that_cannot_be(dem, tmp_path):
    slope = steep(tj.open(dem))
    (tmp_path / "there.tif").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"")
    with nothing_changes(tmp_path):
        with pytest.raises(SinkError, match="exists"):
            slope.save(tmp_path / "there.tif")
        with pytest.raises(SinkError, match="missing"):
            slope.save(tmp_path / "missing" / "out.tif")
        with pytest.raises(SinkError, match="file"):
            slope.save(tmp_path / "file" / "out.tif")
        with pytest.raises(SinkError, match="is an input"):
            slope.save(dem, overwrite=True)
        with pytest.raises(SinkError, match="one file"):
            tj.save({tmp_path / "a.tif": slope, tmp_path / "x" / ".." / "a.tif": slope})
        with pytest.raises(SinkError, match="COMPRESS"):
            slope.save(tmp_path / "out.tif", profile={"compress": "squash"})


def test_a_full_disk_leaves_nothing(dem, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False, capture_output=True
    ).returncode:
        pytest.skip("this machine lets nothing be mounted")
    try:
        (small / "out.tif").write_bytes(b"old")
        with nothing_changes(small), pytest.raises(SinkError, match=r"out\.tif.*(?i:space|bytes left)"):
            steep(tj.open(dem)).save(small / "out.tif", overwrite=True)
        # Two outputs, of which one does not fit: neither appears.
        with nothing_changes(small), nothing_changes(tmp_path), pytest.raises(SinkError):
            tj.save({tmp_path / "fits.tif": steep(tj.open(dem)), small / "not.tif": doubled(tj.open(dem))})
    finally:
        subprocess.run(["umount", small], check=True)


class Unreadable:
    """A source that stops whoever reads it."""

    def __init__(self, height, width, block):
        self.name, self.grid, self.block = "huge.tif", Grid(height, width), block
        self.storage = SourceStorage("through GDAL", 4 * block[0] * block[1], 1)
        self.bands = (BandInfo(1, np.dtype(np.float32)),)

    def raster(self):
        return Raster(self.grid, (SourceBand(self, self.bands[0]),))

    def read(self, *_):
        raise AssertionError("a pixel was read")

    def close(self):
        pass


@pytest.mark.parametrize(
    ("height", "width", "block"), [(65535, 65535, (65535, 65535)), (1, 2147483647, (1, 2147483647))]
)
def test_absurd_sizes_are_refused_with_both_values(tmp_path, height, width, block):
    raster = Unreadable(height, width, block).raster()
    with nothing_changes(tmp_path), pytest.raises(MemoryLimitError, match=r"needs at least .* and 500 MB were given"):
        steep(raster).save(tmp_path / "out.tif", memory="500MB")


def test_memory_is_refused_before_a_pixel_is_read(tmp_path):
    raster = Unreadable(10_000, 10_000, (512, 512)).raster()
    with nothing_changes(tmp_path), pytest.raises(MemoryLimitError, match=r"(?s)out\.tif.*100 MB were given.*memory"):
        steep(raster).save(tmp_path / "out.tif", memory="100MB")
    plan = steep(raster).plan(tmp_path / "out.tif", memory="300MB", workers=2)
    assert plan.memory <= 300e6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "much"}, "'much' is no size of memory"),
        ({"workers": 0}, "workers=0"),
        ({"tile": (100, 100)}, "cuts the output's blocks"),
        ({"backend": "gpu"}, "no backend 'gpu'"),
        ({"nodata": "x"}, "nodata"),
    ],
)
def test_options_that_make_no_sense(dem, tmp_path, options, message):
    with nothing_changes(tmp_path), pytest.raises(TilejitError, match=message):
        steep(tj.open(dem)).save(tmp_path / "out.tif", **options)


def test_a_raster_can_be_saved_again_after_a_failure(dem, tmp_path):
    slope = steep(tj.open(dem))
    good, times = dem.read_bytes(), (dem.stat().st_atime_ns, dem.stat().st_mtime_ns)
    damage(dem, 0.5)
    os.utime(dem, ns=times)  # a disk that loses bits does not tell
    with pytest.raises(ReadError, match="cannot read"):
        slope.save(tmp_path / "out.tif")
    dem.write_bytes(good)
    os.utime(dem, ns=times)
    slope.save(tmp_path / "out.tif")
    first = rasterio.open(tmp_path / "out.tif").read()
    np.testing.assert_array_equal(first, slope.read())


def test_a_window_outside(dem):
    with pytest.raises(ParameterError, match=r"rows 0:10, cols 1495:1505 is not inside 1500 rows x 1500 columns"):
        tj.open(dem).read(tj.Window(0, 1495, 10, 10))


def test_a_quantity_that_the_grid_does_not_have(tmp_path):
    @tj.focal
    def gradient(z, *, dx=tj.GROUND_WIDTH):
        return (z[0, 1] - z[0, -1]) / dx

    path = write(tmp_path / "plain.tif", np.ones((1, 8, 8), np.float32), crs=None)
    with pytest.raises(ParameterError, match="CRS"):
        gradient(tj.open(path)).plan()
    with pytest.raises(ParameterError, match="plain arrays have none: give dx="):
        gradient(np.ones((8, 8), np.float32))


SLOW_RUN = textwrap.dedent("""
    import sys, time
    import numpy as np
    import tilejit as tj
    from tilejit.formats.in_memory import ArraySource
    from tilejit.engine.planning.graph import SourceBand

    class Slow(ArraySource):
        def read(self, *arguments):
            time.sleep(0.2)  # 64 tiles on 2 threads: 6 s, in which a busy machine finds time to interrupt
            super().read(*arguments)

    @tj.focal
    def steep(z):
        return z[0, 1] - z[0, -1]

    cells = np.random.default_rng(0).random((1, 4096, 4096), np.float32)
    whole = ArraySource.of(cells)
    source = Slow(whole.array, whole.grid, whole.bands, "slow", (512, 512))
    raster = tj.Raster(source.grid, (SourceBand(source, source.bands[0]),))
    print("starts", flush=True)
    steep(raster).save(sys.argv[1], overwrite=True, tile=(512, 512), workers=2)
""")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_the_old_file(tmp_path, number):
    old = tmp_path / "out.tif"
    old.write_bytes(b"old")
    script = tmp_path / "run.py"
    script.write_text(SLOW_RUN)
    process = subprocess.Popen([sys.executable, script, old], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "starts\n"
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out*.tmp.tif")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert old.read_bytes() == b"old"
    if number is signal.SIGINT:
        assert error.rstrip().endswith("KeyboardInterrupt")
        assert list(tmp_path.glob(".out*")) == []


def test_different_grids_are_shown(tmp_path):
    @tj.local
    def difference(a, b):
        return a - b

    first = write(tmp_path / "a.tif", np.ones((1, 8, 8), np.float32))
    second = write(tmp_path / "b.tif", np.ones((1, 8, 8), np.float32), transform=Affine(30, 0, 15, 0, -30, 0))
    with pytest.raises(tj.errors.GridMismatchError) as caught:
        difference(tj.open(first), tj.open(second))
    text = str(caught.value)
    assert "a.tif: 8 rows x 8 cols" in text
    assert "b.tif: 8 rows x 8 cols" in text
    assert "warp one" in text


def test_a_kernel_takes_one_band(tmp_path):
    path = write(tmp_path / "rgb.tif", np.ones((3, 8, 8), np.uint8))
    with pytest.raises(ParameterError, match=r"choose one with \.band\(1\)"):
        doubled(tj.open(path))
    with pytest.raises(ParameterError, match="bands 1 to 3, not 4"):
        tj.open(path, band=4)


def test_wrap_after_a_kernel_is_refused(dem):
    @tj.focal(edge="wrap")
    def around(z):
        return z[0, -1] + z[0, 1]

    with pytest.raises(PlanError, match="save steep to a file first"):
        around(steep(tj.open(dem))).plan()


def test_the_hosts_warning_filters_stay(dem, tmp_path):
    """Workers that opened files while the main thread imported Numba used to leave "ignore" behind."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, warnings\n"
        "import tilejit as tj\n"
        "@tj.focal\n"
        "def steep(z):\n"
        "    return z[0, 1] - z[0, -1]\n"
        "before = list(warnings.filters)\n"
        "steep(tj.open(sys.argv[1])).save(sys.argv[2], tile=(512, 512), workers=4)\n"
        "assert warnings.filters == before or warnings.filters[-len(before):] == before, warnings.filters\n"
        "assert ('ignore', None, Warning, None, 0) not in warnings.filters[: len(warnings.filters) - len(before)]\n"
    )
    for k in range(3):
        subprocess.run([sys.executable, script, dem, tmp_path / f"{k}.tif"], check=True)


@pytest.mark.parametrize("shape", [(100_000, 100_000), (1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_window_of_an_absurd_size_is_read_and_the_whole_is_planned(tmp_path, shape):
    huge = steep(tj.from_array(np.broadcast_to(np.float32(1), shape)))
    window = tj.Window(shape[0] // 2, shape[1] // 2, 1, 1)
    assert huge.read(window, memory="300MB").shape == (1, 1, 1)
    plan = huge.plan(tmp_path / "out.tif", memory="600MB", workers=2)
    assert plan.memory <= 600e6
    with pytest.raises(MemoryLimitError, match=r"needs at least \d+\.\d GB of memory, and 600 MB were given"):
        huge.read(memory="600MB")


def test_thousands_of_bands_are_refused_in_a_few_lines(tmp_path):
    many = tj.from_array(np.broadcast_to(np.uint8(1), (65535, 600, 600)))
    with pytest.raises(MemoryLimitError, match=r"bands 1-65535 as uint8") as caught:
        many.save(tmp_path / "out.tif", memory="2GB")
    assert len(str(caught.value)) < 2000
    assert many.read(tj.Window(3, 3, 2, 2)).shape == (65535, 2, 2)


def test_a_full_disk_is_one_line_of_ours(dem, tmp_path):
    """GDAL tries every block that is left, and libtiff says of each that it failed."""
    program = """if True:
        import resource, signal, sys
        from tilejit.cli import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        sys.exit(main(["run", "slope", sys.argv[1], "-o", sys.argv[2], "-q", "--profile", "compress=lerc"]))
    """
    words = [sys.executable, "-c", program, str(dem), str(tmp_path / "out.tif")]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    # GDAL finds out as it writes a block or as it closes the file, by when it writes what it has cached.
    first = run.stderr.partition(": TIFFAppendToStrip:Write error")[0]
    assert re.fullmatch(
        rf"tilejit: {tmp_path / 'out.tif'}: cannot (be completed|write rows \d+:\d+, cols \d+:\d+)", first
    )
    assert run.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["dem.tif"]

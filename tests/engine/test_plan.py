"""Plans: values made without touching a pixel."""

import dataclasses

import numpy as np
import pytest

import tilejit as tj
from tilejit.engine.planning.plan import BASE_BYTES, COMPILER_BYTES, GDAL_BYTES
from tilejit.formats.source import Decoding, SourceStorage
from tilejit.grid import Grid
from tilejit.window import Window


class Untouched:
    """A source whose pixels must not be read."""

    def __init__(self, height, width, block=(512, 512), dtype=np.float32, nodata=None):
        from tilejit.formats.source import BandInfo

        self.name, self.grid, self.block = "dem.tif", Grid(height, width), block
        self.storage = SourceStorage("through GDAL", block[0] * block[1] * np.dtype(dtype).itemsize, 10)
        self.bands = tuple(BandInfo(k, np.dtype(dtype), nodata) for k in (1, 2))

    def raster(self):
        from tilejit.raster.raster import SourceBand

        return tj.Raster(self.grid, tuple(SourceBand(self, b) for b in self.bands))

    def read(self, *_):
        raise AssertionError("a pixel was read")

    def close(self):
        pass


@tj.focal
def steep(z, *, scale=2.0):
    return (z[1, 1] - z[-1, -1]) * scale


@tj.focal(nodata="kernel", radius=2)
def smooth(z):
    return z[0, 0] if tj.is_valid(z[0, 0]) else z[0, 2]


@tj.local
def ratio(a, b):
    return a / b


@tj.local
def flag(q: np.int16) -> np.uint8:
    return q & 1


@tj.local
def iterated(c, *, steps=100):
    x = 0.0
    for _ in range(steps):
        x = x * x + c
    return x


@pytest.mark.parametrize(
    ("kernel", "shape", "workers", "tasks", "pixels"),
    [
        (steep, (1200, 1500), 16, 9, 512 * 512),  # every worker gets one, where the blocks allow
        (steep, (1200, 1500), 2, 3, 512 * 1536),
        (steep, (30_000, 30_000), 4, 885, 512 * 2048),  # what is large and cheap stays in large pieces
        (iterated, (30_000, 30_000), 4, 3481, 512 * 512),  # whoever loops may take long
    ],
)
def test_tasks_for_all_workers_and_small_ones_where_a_pixel_may_take_long(kernel, shape, workers, tasks, pixels):
    plan = kernel(Untouched(*shape).raster().band(1)).plan("out.tif", workers=workers, memory="60GB")
    assert plan.tile_count == tasks
    assert plan.tile[0] * plan.tile[1] == pixels


def test_a_plan_is_a_value():
    raster = Untouched(5000, 7000).raster().band(1)
    plan = steep(raster).plan("out.tif", workers=2)
    assert plan == steep(raster).plan("out.tif", workers=2)
    assert plan != steep(raster, scale=3.0).plan("out.tif", workers=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.workers = 3


def test_halos_add_up_and_inputs_are_read_once():
    raster = Untouched(5000, 7000).raster().band(1)
    plan = ratio(smooth(steep(raster)), raster).plan("out.tif")
    assert [(r.bands, r.halo) for r in plan.reads] == [((1,), (3, 3))]
    assert [s.halo for s in plan.steps] == [(2, 2), (0, 0), (0, 0)]
    assert plan.halo == (3, 3)


def test_bands_of_a_file_are_read_together():
    raster = Untouched(5000, 7000).raster()
    plan = ratio(raster.band(2), raster.band(1)).plan("out.tif")
    assert [r.bands for r in plan.reads] == [(2, 1)]


@pytest.mark.parametrize(
    ("dtype", "nodata", "read_as"),
    [
        (np.uint16, None, "uint16"),
        (np.uint16, 0, "float32"),
        (np.int32, 7, "float64"),
        (np.float64, None, "float64"),
    ],
)
def test_integers_without_nodata_stay_integers(dtype, nodata, read_as):
    raster = Untouched(100, 100, dtype=dtype, nodata=nodata).raster()
    assert [r.dtype.name for r in ratio(raster.band(1), raster.band(2)).plan().reads] == [read_as]


def test_tasks_are_whole_blocks_of_input_and_output():
    plan = steep(Untouched(3000, 5000, (256, 256)).raster().band(1)).plan("out.tif")
    assert plan.tile[0] % 512 == plan.tile[1] % 512 == 0
    assert "each block decoded once" in str(plan)
    windows = [window for _, window in plan.tiles()]
    assert len(windows) == plan.tile_count
    assert sum(w.height * w.width for w in windows) == 3000 * 5000


def test_blocks_that_are_cut_are_told():
    plan = steep(Untouched(5000, 5000, (5000, 5000)).raster().band(1)).plan("out.tif", memory="550MB", workers=2)
    assert "decoded more than once" in str(plan)


def test_tiles_share_blocks_that_are_large_and_the_plan_counts_what_is_held():
    source = Untouched(16384, 16384, (8192, 2048))
    shared = Decoding((8192, 2048), 1 << 26, 30_000_000, is_apart=False, by_rows=False)
    source.storage = dataclasses.replace(source.storage, decoding=shared)
    plan = steep(source.raster().band(1)).plan("out.tif", workers=2, memory="60GB")
    assert "each block decoded once" in str(plan)
    assert 8192 % plan.tile[0] == 2048 % plan.tile[1] == 0
    assert plan.blocks_held(plan.reads[0]) == 2
    assert plan.decoding_bytes == 2 * ((1 << 26) + 30_000_000)
    assert plan.memory < 700e6
    indices = [index for index, _ in plan.tiles()]
    assert len(set(map(plan.group_of, indices[: plan.group[0] * plan.group[1]]))) == 1


def test_blocks_that_memory_does_not_hold_are_decoded_again():
    source = Untouched(8192, 100_000, (1, 100_000))
    shared = Decoding((1, 100_000), 400_000, 400_000, is_apart=False, by_rows=False)
    source.storage = dataclasses.replace(source.storage, decoding=shared)
    raster = steep(source.raster().band(1))
    assert "each block decoded once" in str(raster.plan("out.tif", workers=2, memory="2GB"))
    plan = raster.plan("out.tif", workers=2, memory="600MB")
    assert "decoded more than once" in str(plan)
    assert plan.memory <= 600e6


def test_what_compiles_nothing_takes_less():
    raster = Untouched(5000, 5000).raster().band(1)
    copied, computed = (made.plan("out.tif", profile={"predictor": 1}) for made in (raster, steep(raster)))
    assert computed.fixed_bytes - copied.fixed_bytes == COMPILER_BYTES


@pytest.mark.parametrize("block", [(1, 4096), (8, 4096), (3, 4096), (512, 512), (64, 128)])
def test_memory_does_not_grow_with_the_raster(block):
    small = steep(Untouched(16384, 4096, block).raster().band(1)).plan("out.tif", workers=2)
    large = steep(Untouched(65536, 4096, block).raster().band(1)).plan("out.tif", workers=2)
    assert large.memory == small.memory
    sizes = (16384, 32768, 65536, 1 << 20)
    wide = [steep(Untouched(n, n).raster().band(1)).plan("out.tif", workers=2) for n in sizes]
    assert max(p.memory for p in wide[:3]) - wide[0].memory < 5e6
    assert wide[3].memory - wide[0].memory < 3e7
    # One column of float32 of each row waits at a boundary for the panel to its right.
    assert [p.boundary_bytes for p in wide] == [0, 4 * 32768, 4 * 65536, 4 << 20]
    assert ", boundaries 262 kB, decoding" in str(wide[2])
    assert [-(-p.tile_counts[1] // p.panel_tiles) for p in wide] == [1, 2, 3, 41]
    assert "in 3 panels" in str(wide[2])
    assert "blocks at the boundaries of panels are decoded more than once" in str(wide[2])


@pytest.mark.parametrize(("compress", "blocks"), [("ZSTD", 9), ("LERC", 3 * 3)])
def test_memory_is_the_sum_of_what_the_plan_says(compress, blocks):
    profile = {"compress": compress}
    plan = steep(Untouched(9000, 9000).raster().band(1)).plan("out.tif", workers=2, profile=profile)
    decoding = 2 * 512 * 512 * 4
    encoding = blocks * 512 * 512 * 4
    buffers = plan.tile_buffers * plan.tile_buffer_bytes + 2 * plan.worker_bytes
    assert plan.memory == BASE_BYTES + COMPILER_BYTES + GDAL_BYTES + buffers + decoding + encoding
    rows, cols = plan.tile
    assert plan.tile_buffer_bytes == 4 * (rows + 2) * (cols + 2)
    assert plan.worker_bytes == 4 * rows * cols


def test_the_text_says_what_will_happen():
    text = str(steep(Untouched(5000, 7000).raster().band(1)).plan("out.tif", workers=2, backend="cpu", memory="2GB"))
    for part in (
        "5000 rows x 7000 cols",
        "dem.tif[1]",
        "as float32, halo 1",
        "steep(dem.tif[1])",
        "out.tif: float32, nodata nan",
        "140 MB before compression, blocks written directly",
        "COMPRESS=ZSTD",
        "of 2.0 GB given",
        "cpu on 2 threads: asked for",
    ):
        assert part in text


def test_the_text_says_why_gdal_writes():
    profile = {"compress": "LERC", "max_z_error": 0.1}
    text = str(steep(Untouched(500, 700).raster().band(1)).plan("out.tif", profile=profile))
    assert "before compression, through GDAL: COMPRESS=LERC, MAX_Z_ERROR=0.1; COMPRESS=LERC" in text


def test_a_window_is_planned_on_the_grids_own_tile_lines():
    from tilejit.engine.planning.demands import Request
    from tilejit.engine.planning.planner import make_job
    from tilejit.raster.options import RunOptions

    raster = steep(Untouched(5000, 7000).raster().band(1))
    settings = RunOptions(tile=(512, 512)).settings(raster.bands)
    plan = make_job(raster.grid, [Request(raster.bands)], settings, Window(500, 600, 100, 1000)).plan
    assert next(str(w) for _, w in plan.tiles()) == "rows 500:512, cols 600:1024"
    assert sum(w.height * w.width for _, w in plan.tiles()) == 100_000
    assert plan.has_boundaries


def test_annotated_integers_must_hold_the_bands_values():
    with pytest.raises(tj.errors.PlanError, match=r"takes q as int16, and dem\.tif\[1\] holds float32"):
        flag(Untouched(10, 10).raster().band(1)).plan()
    assert flag(Untouched(10, 10, dtype=np.uint8).raster().band(1)).plan().reads[0].valid


def test_backend_auto_says_why():
    plan = steep(Untouched(10, 10).raster().band(1)).plan()
    assert (plan.backend, plan.reason[:6]) == ("cpu", "no GPU") or plan.reason.startswith("about")
    assert steep(Untouched(10, 10).raster().band(1)).plan(backend="python").reason == "asked for"


def test_what_is_decoded_again_is_told():
    raster = Untouched(5000, 5000).raster().band(1)

    @tj.focal(edge="wrap")
    def around(z):
        return z[0, 1] - z[0, -1]

    assert "blocks at the raster's edges are decoded again" in str(around(raster).plan("out.tif"))
    whole = Untouched(5000, 5000, dtype=np.uint8).raster().band(1)
    two = tj.Raster(whole.grid, (*steep(whole).bands, *whole.bands))
    assert "dem.tif is decoded once for each form" in str(two.plan("out.tif"))
    assert "nothing to decode" in str(steep(tj.from_array(np.zeros((5, 5)))).plan())


def test_thin_strips_are_taken_together():
    plan = steep(Untouched(8000, 4000, (3, 4000)).raster().band(1)).plan(workers=2)
    rows, cols = plan.tile
    assert (rows % 3, cols) == (0, 4000)
    assert rows * cols > 1 << 20
    assert plan.tile_count >= 8


def test_one_row_of_tiles_waits_for_no_row_below():
    plan = steep(tj.from_array(np.broadcast_to(np.float32(0), (1, 2**31 - 1)))).plan("out.tif", workers=2)
    assert plan.tile_buffers == 6

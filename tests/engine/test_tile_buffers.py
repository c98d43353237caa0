"""Tile buffers and the schedule: each tile once, each cell read once, never more buffers than planned, never stuck."""

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_raster import grid_of, rasters, soon, tilings

import tilejit as tj
from raster_kernels import FIVE, MEAN, by_numpy, plus_one, same_bits
from tilejit.engine.pipeline import schedule, tile_buffers
from tilejit.formats.in_memory import ArraySource
from tilejit.formats.source import SourceStorage
from tilejit.raster.raster import SourceBand
from tilejit.window import Window, tiles

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


class Counting(ArraySource):
    """An array that counts how often each of its cells is read, and pretends to be decoded."""

    def __init__(self, array, block=(1, 1), block_bytes=4):
        whole, storage = ArraySource.of(array, grid_of(*array.shape)), SourceStorage(block_bytes=block_bytes)
        super().__init__(whole.array, whole.grid, whole.bands, "counted.tif", block, storage)
        object.__setattr__(self, "counts", np.zeros(array.shape, int))
        object.__setattr__(self, "lock", threading.Lock())

    __slots__ = ("counts", "lock")

    def read(self, bands, window, out, valid=None):
        with self.lock:
            self.counts[window.slices(Window(0, 0, *self.grid.shape))] += len(bands)
        super().read(bands, window, out, valid)

    def raster(self):
        return tj.Raster(self.grid, (SourceBand(self, self.bands[0]),))


@pytest.fixture
def watched(monkeypatch):
    """What the schedule hands out, and the most buffers that are open at a time."""
    seen = {"read": Counter(), "compute": Counter(), "open": 0, "buffers": 0}

    class Watched(schedule.Schedule):
        def take(self):
            work = super().take()
            if work is not None:
                seen[work.kind][work.index] += 1
                seen["open"] = max(seen["open"], len(self._open))
            return work

    class TileMemory(tile_buffers.TileMemory):
        def __init__(self, plan):
            super().__init__(plan)
            seen["buffers"] += 1

    monkeypatch.setattr("tilejit.engine.pipeline.pipeline.Schedule", Watched)
    monkeypatch.setattr("tilejit.engine.pipeline.schedule.TileMemory", TileMemory)
    return seen


@pytest.fixture(scope="module")
def cells():
    return np.random.default_rng(5).random((57, 43), np.float32)


@pytest.mark.parametrize("kernels", [(plus_one,), (FIVE["nodata"],), (FIVE["reflect"], MEAN["nodata"], MEAN["nodata"])])
@pytest.mark.parametrize("tile", [(1, 43), (57, 1), (3, 7), (16, 16), (57, 43), (100, 100)])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_tile_and_each_cell_once(watched, cells, kernels, tile, workers):
    source = Counting(cells)
    raster = source.raster()
    for kernel in kernels:
        raster = kernel(raster)
    plan = raster.plan(tile=tile, workers=workers)
    soon(raster.read, tile=tile, workers=workers)
    indices = {index for index, _ in plan.tiles()}
    assert watched["read"] == watched["compute"] == Counter(indices)
    assert watched["open"] <= plan.tile_buffers
    assert watched["buffers"] == plan.tile_buffers
    assert source.counts.min() == source.counts.max() == 1


@pytest.mark.slow
@SLOW
@given(st.data())
def test_nothing_gets_stuck_or_out_of_order(data):
    """Workers that sleep now and then take tiles in every order."""
    raster, cells = data.draw(rasters(("float32",), most=30))
    source = Counting(cells.array)
    pauses = data.draw(st.lists(st.sampled_from((0, 0, 0, 0.001, 0.003)), min_size=20, max_size=20))
    turn = iter(range(10**9))

    class Slow(Counting):
        __slots__ = ()

        def read(self, *arguments):
            threading.Event().wait(pauses[next(turn) % 20])
            super().read(*arguments)

    source = Slow(raster.bands[0].source.array[0])
    # The source itself has no nodata value, so NaN alone marks what is invalid.
    plain = type(cells).of(cells.array, None)
    chain, wanted = MEAN["reflect"](FIVE["nearest"](source.raster())), by_numpy(FIVE["nearest"], [plain], raster.grid)
    wanted = by_numpy(MEAN["reflect"], wanted, raster.grid)[0].array
    options = data.draw(tilings(raster.grid.shape))
    assert same_bits(soon(chain.read, **options)[0], wanted)
    assert source.counts.max() == 1


def test_a_window_reads_its_halo_and_no_more(cells):
    source = Counting(cells)
    FIVE["nodata"](source.raster()).read(Window(10, 10, 5, 6), tile=(100, 100))
    assert source.counts.sum() == 7 * 8
    assert source.counts[9:16, 9:17].min() == 1


@pytest.mark.parametrize("kernels", [(FIVE["nodata"],), (FIVE["reflect"], MEAN["nodata"], MEAN["nodata"])])
@pytest.mark.parametrize("window", [None, Window(10, 7, 31, 30)])
@pytest.mark.parametrize("options", [{"tile": t, "workers": n} for t in ((5, 4), (2, 3), (57, 6)) for n in (1, 3)])
def test_panels_give_the_same_bits_and_read_twice_right_of_seams_only(monkeypatch, cells, kernels, window, options):
    def chained(raster):
        for kernel in kernels:
            raster = kernel(raster)
        return raster

    expected = chained(tj.from_array(cells, grid=grid_of(*cells.shape))).read(window, workers=1)
    monkeypatch.setattr("tilejit.engine.planning.tiles.PANEL_BYTES", 500)
    monkeypatch.setattr("tilejit.engine.planning.tiles.BOUNDARY_SHARE", 1.0)
    source = Counting(cells)
    plan = chained(source.raster()).plan(**options)
    assert (plan.panel_tiles < plan.tile_counts[1]) == (plan.tile_counts[0] > 1)
    assert same_bits(soon(chained(source.raster()).read, window, **options), expected)
    if window is None and len(kernels) == 1:
        # The panel before leaves what is left of a boundary; of several threads one may come too early for it.
        boundaries = len({plan.panel((0, col)) for col in range(plan.tile_counts[1])}) - 1
        again = source.counts.sum() - cells.size
        assert again == boundaries * len(cells) if options["workers"] == 1 else again <= 2 * boundaries * len(cells)


@pytest.mark.slow
@SLOW
@given(st.data())
def test_tiles_come_group_by_group_and_frames_suffice(data):
    """Any block, tile, window and halo: each tile once, blocks one after the other, and nothing gets stuck."""
    sides = [data.draw(st.integers(1, 40)) for _ in range(6)]
    (height, width), block, tile = sides[:2], tuple(sides[2:4]), tuple(sides[4:])
    cells = np.arange(height * width, dtype=np.float32).reshape(height, width)
    source, workers = Counting(cells, block), data.draw(st.integers(1, 3))
    made = MEAN["nodata"](FIVE["reflect"](source.raster())) if data.draw(st.booleans()) else plus_one(source.raster())
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = data.draw(st.sampled_from((None, Window(row, col, height - row, width - col))))
    wanted = made.read(window, tile=(height, width), workers=1)
    assert same_bits(soon(made.read, window, tile=tile, workers=workers), wanted)
    plan = made.plan(tile=tile, workers=workers)
    indices = [index for index, _ in plan.tiles()]
    assert len(set(indices)) == len(indices) == plan.tile_count
    groups = [plan.group_of(index) for index in indices]
    if plan.panel_tiles == plan.tile_counts[1]:
        assert len([k for k, g in enumerate(groups) if not k or g != groups[k - 1]]) == len(set(groups))
    assert _most_open(plan) <= max(plan.tile_buffers - 2 * workers, 1) or plan.tile_buffers == plan.tile_count


def _most_open(plan):
    """The most tiles that are decoded and not computed, where one worker does all in order."""
    (down, across), (rows, cols) = plan.reach, plan.tile_counts
    if not plan.exchanges:
        return 1
    seen, is_open, most = set(), set(), 0
    for index, _ in plan.tiles():
        seen.add(index)
        is_open.add(index)
        most = max(most, len(is_open))
        for row, col in list(is_open):
            around = {
                (r, c)
                for r in range(max(0, row - down), min(rows, row + down + 1))
                for c in range(max(0, col - across), min(cols, col + across + 1))
            }
            if around <= seen:
                is_open.discard((row, col))
    return most


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_what_a_panel_leaves_is_taken_once(monkeypatch, dtype):
    """Also where validity goes along; nothing of it stays behind."""
    monkeypatch.setattr("tilejit.engine.planning.tiles.PANEL_BYTES", 500)
    monkeypatch.setattr("tilejit.engine.planning.tiles.BOUNDARY_SHARE", 1.0)
    kept = []

    class Watched(tile_buffers.Boundaries):
        def __init__(self):
            super().__init__()
            kept.append(self)

    monkeypatch.setattr("tilejit.engine.pipeline.schedule.Boundaries", Watched)
    array = np.random.default_rng(0).integers(-3, 100, (40, 60)).astype(dtype)
    raster = tj.from_array(array, nodata=-1, grid=grid_of(*array.shape))
    kernel = MEAN["nodata"]
    wanted = kernel(raster).read(tile=(40, 60), workers=1)
    del kept[:]
    assert same_bits(kernel(raster).read(tile=(5, 4), workers=1), wanted)
    assert [len(boundaries._strips) for boundaries in kept] == [0]


def test_wrapping_reads_the_other_side_again(cells):
    source = Counting(cells)
    FIVE["wrap"](source.raster()).read(tile=(19, 43), workers=2)
    assert source.counts[1:-1, 1:-1].max() == 1
    assert source.counts[0].max() > 1


@pytest.mark.parametrize(
    ("block", "tile", "ratio"), [((8, 43), (8, 43), 1), ((8, 43), (16, 43), 1), ((57, 43), (57, 11), 4)]
)
def test_the_report_counts_whole_blocks(tmp_path, cells, block, tile, ratio):
    source = Counting(cells, block)
    report = _report(FIVE["nodata"](source.raster()), tile)
    assert report.read_ratio == ratio
    assert ("decoded more than once" in str(FIVE["nodata"](source.raster()).plan(tile=tile))) == (ratio > 1)


def test_a_band_in_two_forms_is_decoded_twice_and_the_plan_says_so(tmp_path):
    source = Counting(np.arange(2000, dtype=np.uint8).reshape(40, 50), (16, 16))
    both = tj.Raster(source.grid, (*FIVE["nodata"](source.raster()).bands, *plus_one(source.raster()).bands))
    assert "counted.tif is decoded once for each form that it is read in" in str(both.plan())
    assert _report(both, (16, 64)).read_ratio == 1.25


def _report(raster, tile):
    """The report of a run into memory, which `read` keeps to itself."""
    from tilejit.engine.pipeline.run import run_job
    from tilejit.engine.planning.demands import Request
    from tilejit.engine.planning.planner import make_job
    from tilejit.formats.in_memory import ArraySink
    from tilejit.raster.options import RunOptions

    job = make_job(raster.grid, [Request(raster.bands)], RunOptions(tile=tile, workers=2).settings(raster.bands))
    array = np.empty((len(raster), *raster.grid.shape), job.plan.writes[0].dtype)
    return run_job(job, [ArraySink(array, raster.grid)])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_frames_are_enough_and_no_more_than_tasks(height, width, rows, cols, workers):
    raster = FIVE["nodata"](tj.from_array(np.broadcast_to(np.float32(0), (height, width))))
    plan = raster.plan(tile=(rows, cols), workers=workers)
    assert [window for _, window in plan.tiles()] == list(tiles(height, width, *plan.tile))
    down, across = plan.reach
    assert plan.tile_buffers == plan.tile_count or plan.tile_buffers > down * plan.tile_counts[1] + across

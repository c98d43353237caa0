"""Runs in an event loop: the same results, a loop that stays responsive, and nothing left when a task is cancelled."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.engine.pipeline import evaluation
from tilejit.engine.pipeline.pipeline import Cancellation
from tilejit.engine.planning.graph import SourceBand
from tilejit.errors import ParameterError, RunStoppedError, SinkError, TilejitError
from tilejit.formats.geotiff_sink import BlockSink
from tilejit.formats.in_memory import ArraySource
from tilejit.raster.options import RunOptions
from tilejit.raster.running import tiles_job

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]

SMALL = {"profile": {"blockxsize": 16, "blockysize": 16}, "tile": (32, 32), "workers": 3}


@tj.focal
def steep(z):
    return z[0, 1] - z[0, -1]


@tj.local
def doubled(z):
    return z * 2


@tj.local
def both(z) -> tuple[np.int16, np.int16]:
    return z, z + 1


class Watched(ArraySource):
    """An array that says when it is read."""

    __slots__ = ("on_read", "reads")

    def read(self, bands, window, out, valid=None):
        self.reads.append(window)
        self.on_read(len(self.reads))
        return super().read(bands, window, out, valid)


def watched(array, on_read=lambda _: None):
    whole = ArraySource.of(array)
    source = Watched(whole.array, whole.grid, whole.bands, "mine.dat")
    object.__setattr__(source, "reads", [])
    object.__setattr__(source, "on_read", on_read)
    return tj.Raster(source.grid, (SourceBand(source, source.bands[0]),)), source.reads


def cells(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("tilejit")]


def left(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


async def no_threads():
    """Waits for the threads of a run that was left, and has nobody to wait for it."""
    for _ in range(500):
        if not threads():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"still running: {threads()}")


def test_the_same_file_as_save(tmp_path):
    raster = steep(tj.from_array(cells(100, 100)))
    expected = raster.save(tmp_path / "one.tif", **SMALL)
    report = asyncio.run(raster.asave(tmp_path / "two.tif", **SMALL))
    assert (report.pixels, report.tiles) == (expected.pixels, expected.tiles)
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(tmp_path / "two.tif") as two:
        np.testing.assert_array_equal(one.read(), two.read())
        assert str(one.profile) == str(two.profile)


def test_several_outputs_in_one_pass(tmp_path):
    source, reads = watched(cells(100, 100))
    asyncio.run(tj.asave({tmp_path / "a.tif": doubled(source), tmp_path / "b.tif": steep(source)}, **SMALL))
    assert len(reads) == 16
    for name, kernel in (("a.tif", doubled), ("b.tif", steep)):
        with rasterio.open(tmp_path / name) as dataset:
            np.testing.assert_array_equal(dataset.read(), kernel(source).compute())


def test_the_same_array_as_compute():
    raster = both(tj.from_array(np.arange(10_000, dtype=np.int16).reshape(100, 100)))
    np.testing.assert_array_equal(asyncio.run(raster.acompute(tile=(17, 19))), raster.compute())


def test_runs_at_the_same_time():
    rasters = [steep(tj.from_array(cells(60 + k, 70))) for k in range(4)]

    async def together():
        return await asyncio.gather(*(raster.acompute(tile=(16, 16), workers=2) for raster in rasters))

    for raster, found in zip(rasters, asyncio.run(together()), strict=True):
        np.testing.assert_array_equal(found, raster.compute())


async def received(raster, **options):
    return [tile async for tile in raster.tiles(**options)]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    workers=st.integers(1, 4),
)
def test_tiles_make_the_whole(shape, tile, workers):
    raster = both(tj.from_array(np.arange(shape[0] * shape[1], dtype=np.int16).reshape(shape)))
    whole, count = np.zeros((2, *shape), np.int16), np.zeros(shape, int)
    for part in asyncio.run(received(raster, tile=tile, workers=workers)):
        rows, cols = part.window.slices(tj.Window(0, 0, *shape))
        whole[:, rows, cols] = part.array
        count[rows, cols] += 1
    assert (count == 1).all()
    np.testing.assert_array_equal(whole, raster.compute())
    assert threads() == []


def test_tiles_are_the_receivers_own():
    array = cells(64, 64)

    async def overwrite():
        kept = []
        async for tile in doubled(tj.from_array(array)).tiles(tile=(8, 8), workers=2):
            kept.append((tile, tile.array.copy()))
            tile.array[...] += 1000
        return kept

    for tile, before in asyncio.run(overwrite()):
        assert tile.array.flags.owndata
        np.testing.assert_array_equal(tile.array, before + 1000)
        rows, cols = tile.window.slices(tj.Window(0, 0, 64, 64))
        np.testing.assert_array_equal(before[0], array[rows, cols] * 2)
    with pytest.raises(AttributeError):
        tile.window = None


def test_nodata_of_tiles():
    raster = tj.from_array(np.array([[1, -5], [3, 4]], np.int32), nodata=-5)
    (tile,) = asyncio.run(received(raster, nodata=-9))
    assert tile.array.tolist() == [[[1, -9], [3, 4]]]


def test_a_slow_receiver_stops_the_run_from_running_ahead():
    raster, reads = watched(cells(320, 320))
    workers, ahead = 2, []

    async def slowly():
        taken = 0
        async for _ in doubled(raster).tiles(tile=(16, 16), workers=workers):
            taken += 1
            await asyncio.sleep(0.01 if taken < 30 else 0)
            ahead.append(len(reads) - taken)
        return taken

    assert asyncio.run(slowly()) == 400
    # One tile waits for each worker, and each worker waits with one more.
    assert max(ahead) <= 2 * workers


def test_the_loop_goes_on_ticking():
    raster, reads = watched(cells(160, 160), lambda _: time.sleep(0.02))
    raster = steep(raster)
    raster.plan()

    async def tick(gaps):
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    async def ticking():
        gaps = []
        ticker = asyncio.create_task(tick(gaps))
        start = time.perf_counter()
        await raster.acompute(tile=(16, 16), workers=1)
        ticker.cancel()
        return gaps, time.perf_counter() - start

    gaps, seconds = asyncio.run(ticking())
    assert len(reads) == 100
    assert max(gaps) < seconds / 4
    assert len(gaps) > 100


def reaching(loop, event, at):
    """Tells an event of the loop that a read has begun."""

    def on_read(number):
        if number == at:
            loop.call_soon_threadsafe(event.set)
        time.sleep(0.005)

    return on_read


@pytest.mark.parametrize("at", [1, 2, 7, 40])
def test_cancelling_a_save(tmp_path, at):
    (tmp_path / "old.tif").write_bytes(b"old")
    before = left(tmp_path)

    async def cancelled():
        reached = asyncio.Event()
        raster, reads = watched(cells(640, 640), reaching(asyncio.get_running_loop(), reached, at))
        task = asyncio.create_task(steep(raster).asave(tmp_path / "old.tif", overwrite=True, **SMALL))
        await reached.wait()
        task.cancel()
        begun = len(reads)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert threads() == []
        return len(reads) - begun

    # Each worker may have been about to read one more.
    assert asyncio.run(cancelled()) <= SMALL["workers"]
    assert left(tmp_path) == before


def test_cancelling_before_anything_happens(tmp_path):
    raster, reads = watched(cells(64, 64))

    async def cancelled():
        task = asyncio.create_task(steep(raster).asave(tmp_path / "new.tif"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert threads() == []

    asyncio.run(cancelled())
    assert reads == []
    assert left(tmp_path) == {}


@pytest.mark.parametrize(("owner", "stage"), [("tilejit.engine.pipeline.pipeline", "launches"), (BlockSink, "prepare")])
def test_cancelling_while_a_kernel_compiles_or_an_output_is_completed(tmp_path, monkeypatch, owner, stage):
    owner = sys.modules[owner] if isinstance(owner, str) else owner
    original = getattr(owner, stage)
    go_on = threading.Event()

    async def cancelled():
        loop, reached = asyncio.get_running_loop(), asyncio.Event()

        def slow(*arguments):
            loop.call_soon_threadsafe(reached.set)
            assert go_on.wait(60)
            return original(*arguments)

        monkeypatch.setattr(owner, stage, slow)
        raster = tj.from_array(cells(64, 64))
        task = asyncio.create_task(
            tj.asave({tmp_path / "a.tif": steep(raster), tmp_path / "b.tif": doubled(raster)}, **SMALL)
        )
        await reached.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # a second time, as of a person who is in a hurry: it still waits for the threads
        loop.call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert threads() == []

    asyncio.run(cancelled())
    assert left(tmp_path) == {}


def test_a_time_limit(tmp_path):
    raster, _ = watched(cells(640, 640), lambda _: time.sleep(0.01))

    async def limited():
        await asyncio.wait_for(steep(raster).asave(tmp_path / "new.tif", **SMALL), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(limited())
    assert left(tmp_path) == {}
    assert threads() == []


async def by_break(tiles):
    async for _ in tiles:
        break


async def by_exception(tiles):
    async def fail():
        async for _ in tiles:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def by_closing(tiles):
    await anext(tiles)
    await tiles.aclose()
    assert threads() == []


async def by_cancelling(tiles, pause=60):
    begun = asyncio.Event()

    async def wait():
        async for _ in tiles:
            begun.set()
            await asyncio.sleep(pause)

    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_a_wait(tiles):
    """Cancelled where it waits for a tile, in all likelihood."""
    await by_cancelling(tiles, pause=0)


@pytest.mark.parametrize("leave", [by_break, by_exception, by_closing, by_cancelling, by_cancelling_a_wait])
def test_leaving_the_loop_early_stops_the_run(leave):
    raster, reads = watched(cells(1600, 1600), lambda _: time.sleep(0.002))

    async def leaving():
        await leave(doubled(raster).tiles(tile=(16, 16), workers=3))
        await no_threads()

    asyncio.run(leaving())
    assert 0 < len(reads) < 5000


def test_a_loop_that_ends_first_stops_the_run():
    raster, reads = watched(cells(1600, 1600), lambda _: time.sleep(0.002))
    loop = asyncio.new_event_loop()
    tiles = doubled(raster).tiles(tile=(16, 16), workers=3)

    async def first():
        return await anext(tiles)

    loop.run_until_complete(first())
    assert threads() != []
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert threads() == []
    assert len(reads) < 5000


def test_a_tile_that_fails_ends_the_loop_with_the_error():
    error = OSError("gone")

    def fails(number):
        if number == 50:
            raise error

    raster, _ = watched(cells(320, 320), fails)
    taken = []

    async def take():
        async for tile in doubled(raster).tiles(tile=(16, 16), workers=2):
            taken.append(tile)  # noqa: PERF401 - kept when it fails

    with pytest.raises(TilejitError, match=r"read of mine\.dat failed at rows .*gone") as caught:
        asyncio.run(take())
    assert caught.value.__cause__ is error
    assert 40 < len(taken) < 50
    assert threads() == []


def test_a_kernel_that_fails(tmp_path, monkeypatch):
    class Broken(evaluation.Evaluator):
        def run(self, buffer, _control, _places):
            raise FloatingPointError(buffer.window)

    monkeypatch.setattr("tilejit.engine.pipeline.pipeline.Evaluator", Broken)
    with pytest.raises(TilejitError, match=r"compute of .*FloatingPointError"):
        asyncio.run(steep(tj.from_array(cells(64, 64))).asave(tmp_path / "new.tif"))
    assert left(tmp_path) == {}


def test_what_is_refused(tmp_path):
    raster = steep(tj.from_array(cells(64, 64)))
    (tmp_path / "there.tif").write_bytes(b"old")
    with pytest.raises(SinkError, match="exists"):
        asyncio.run(raster.asave(tmp_path / "there.tif"))
    with pytest.raises(TypeError, match="tiel"):
        asyncio.run(received(raster, tiel=(16, 16)))
    with pytest.raises(ParameterError, match="workers=0"):
        asyncio.run(raster.acompute(workers=0))
    assert threads() == []


def test_a_collision_is_told_to_the_task(tmp_path):
    raster = doubled(tj.from_array(np.array([[1, 2]], np.float32)))
    with pytest.warns(tj.NodataWarning, match=r"out\.tif: 1 valid pixel"):
        asyncio.run(raster.asave(tmp_path / "out.tif", nodata=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(raster.asave(tmp_path / "other.tif", nodata=5))


def test_a_trace_of_tiles(tmp_path):
    raster = doubled(tj.from_array(cells(64, 64)))
    asyncio.run(received(raster, tile=(32, 32), trace=tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert sum(event["name"] == "encode" for event in events) == 4


def test_the_plan_counts_the_tiles_in_hand():
    raster = doubled(tj.from_array(cells(640, 640)))
    job, _ = tiles_job(raster, RunOptions(tile=(16, 16), workers=2))
    assert job.plan.array_bytes == (2 + 2) * 16 * 16 * 4
    assert "tiles, one by one" in str(job.plan)
    assert raster.plan().array_bytes == 640 * 640 * 4


def test_a_cancellation_stops_what_comes_after_it():
    from tilejit.raster.running import read_window

    raster, reads = watched(cells(64, 64))
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(RunStoppedError, match="cancelled"):
        read_window(steep(raster), None, RunOptions(), cancellation)
    assert reads == []


IN_A_PROCESS = textwrap.dedent("""
    import asyncio, json, os, signal, sys, threading
    import numpy as np
    import tilejit as tj

    @tj.focal
    def steep(z):
        return z[0, 1] - z[0, -1] + z[1, 0]

    async def slowly(raster):
        async for tile in raster.tiles(workers=2):
            await asyncio.sleep(0.05)

    async def stopped(raster):
        asyncio.get_running_loop().call_later(0.7, os.kill, os.getpid(), signal.SIGINT)
        for k in range(1000):
            await raster.asave("out.tif", overwrite=True)

    raster = steep(tj.open("in.tif"))
    from tilejit.raster.options import RunOptions
    from tilejit.raster.running import tiles_job
    planned = tiles_job(raster, RunOptions(workers=2))[0].plan.memory
    asyncio.run(globals()[sys.argv[1]](raster))
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({"planned": planned, "peak": peak}))
""")


def in_a_process(folder, size, name):
    doubled(tj.from_array(cells(size, size))).save(folder / "in.tif", profile={"compress": "zstd"})
    (folder / "run.py").write_text(IN_A_PROCESS)
    environment = os.environ | {"PYTHONPATH": str(Path(tj.__file__).parents[1])}
    return subprocess.run([sys.executable, "run.py", name], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=120, env=environment)  # fmt: skip


def test_memory_of_tiles_stays_within_the_plan(tmp_path):
    if not Path("/proc/self/status").is_file():
        pytest.skip("reads its peak from /proc")
    done = in_a_process(tmp_path, 6000, "slowly")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] <= found["planned"]


def test_ctrl_c_leaves_whole_files_only(tmp_path):
    done = in_a_process(tmp_path, 2048, "stopped")
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode in {1, 130, -signal.SIGINT}
    assert {p.name for p in tmp_path.iterdir()} - {"out.tif"} == {"in.tif", "run.py"}
    if (tmp_path / "out.tif").exists():
        with rasterio.open(tmp_path / "out.tif") as dataset:
            dataset.read()


def test_asyncio_comes_with_the_first_use():
    code = textwrap.dedent("""
        import sys
        import numpy as np
        import tilejit as tj
        tj.from_array(np.ones((4, 4), np.float32)).compute()
        assert "tilejit.raster.asynchronous" not in sys.modules
    """)
    subprocess.run([sys.executable, "-c", code], check=True)

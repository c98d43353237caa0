"""Ctrl-C, cancelled tasks and time-outs end a run in the middle of a tile, wherever its workers are."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import rasterio

import tilejit as tj
from kernels_for_tests import write_module
from tilejit.backends import ROWS, STOP, get_backend, interruptible, new_control
from tilejit.engine.executors.base import SerialExecutor
from tilejit.system import signals
from tilejit.system.signals import ends_heard

pytestmark = pytest.mark.slow

SLOW = """
import asyncio
import signal
import sys
import warnings

@tj.local
def slow(z, *, steps=200_000):
    for k in range(steps):
        z = math.sin(z) + k * 1e-9
    return z

@tj.local
def endless(z):
    while z < 9.0:
        z = z * 0.5
    return z

async def two(raster, output):
    await asyncio.gather(raster.asave(output, workers=1), raster.asave(output + ".tif", workers=1))

def main(way, source, output):
    raster = slow(tj.open(source))
    endless(np.full((9, 9), 9, np.float32))
    slow(np.ones((9, 9), np.float32), steps=1)  # compiled, so that it is the loop that is stopped
    cells = np.ones((6000, 3000), np.float32)
    print("ready", flush=True)
    if way == "endless":
        endless(cells)
    elif way == "array":
        slow(cells, steps=20_000, workers=2)
    elif way == "event loop":
        asyncio.run(two(raster, output))
    else:
        raster.save(output, executor=way, workers=1 if way == "serial" else 2)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
"""
"""A run of minutes, in rows of milliseconds."""
HANGS = 30
"""Seconds after which a run has not stopped; to its end it would take minutes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("slow")
    profile = {"driver": "GTiff", "width": 1500, "height": 1000, "count": 1, "dtype": "float32", "tiled": True,
               "blockxsize": 256, "blockysize": 256, "crs": "EPSG:32632",
               "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)}  # fmt: skip
    with rasterio.open(made / "z.tif", "w", **profile) as file:
        file.write(np.ones((1, 1000, 1500), np.float32))
    return made


@pytest.fixture(scope="module")
def slow(folder):
    return write_module(folder, SLOW, name="slow_kernels").slow


ENDED = [
    ("array", signal.SIGINT),
    ("serial", signal.SIGINT),
    ("threads", signal.SIGTERM),
    ("event loop", signal.SIGHUP),
]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is a signal here")
@pytest.mark.parametrize(("way", "number"), ENDED)
def test_a_signal_stops_a_slow_kernel(folder, slow, tmp_path, way, number):
    script = [sys.executable, str(folder / "slow_kernels.py"), way, str(folder / "z.tif"), str(tmp_path / "out.tif")]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(2)
        assert len(list(tmp_path.iterdir())) == {"array": 0, "event loop": 2}.get(way, 1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == -number, errors
    assert errors.strip().endswith("KeyboardInterrupt") if number == signal.SIGINT else not errors
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ended(monkeypatch):
    """The signals by which this process would have ended; it is then like the first one of a container."""
    numbers = []
    monkeypatch.setattr(signal, "raise_signal", numbers.append)
    yield numbers
    for number in (signal.SIGTERM, signal.SIGHUP):
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signals.told_to_end() is None


needs_signals = pytest.mark.skipif(os.name == "nt", reason="signals")


@needs_signals
@pytest.mark.parametrize("patience", [60, 0])
def test_a_program_is_told_once_to_end_but_by_who_is_tired_of_waiting(ended, monkeypatch, patience):
    monkeypatch.setattr(signals, "_PATIENCE", patience)
    cleaned = []
    with pytest.raises(SystemExit) as error, ends_heard(), ends_heard():  # noqa: PT012 - what happens at its end counts
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(5)
        finally:
            assert signals.told_to_end() == signal.SIGHUP
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append("all")
    first, code = (signal.SIGHUP, 129) if patience else (signal.SIGTERM, 143)
    assert (ended, error.value.code, cleaned) == ([first], code, ["all"] if patience else [])


@needs_signals
def test_a_run_that_swallows_its_end_ends_all_the_same(ended):
    with pytest.raises(SystemExit) as error, ends_heard():  # noqa: PT012
        with contextlib.suppress(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert ended == []
    assert (ended, error.value.code) == ([signal.SIGTERM], 143)


@needs_signals
def test_handlers_of_the_program_and_nohup_are_obeyed(ended):
    heard = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        with ends_heard():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
    assert (heard, ended) == ([signal.SIGTERM], [])


@needs_signals
def test_an_event_loop_keeps_its_handlers_and_other_threads_have_none(ended, slow, tmp_path):
    found = []

    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, found.append, "theirs")
        run = asyncio.create_task(slow(tj.from_array(np.ones((4, 4), np.float32)), steps=1).asave(tmp_path / "a.tif"))
        os.kill(os.getpid(), signal.SIGTERM)
        await run

    def in_a_thread():
        with ends_heard():
            found.append(signal.getsignal(signal.SIGTERM))

    asyncio.run(main())
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert found == ["theirs", signal.SIG_DFL]
    assert (tmp_path / "a.tif").exists()


@needs_signals
def test_a_forked_child_ends_as_if_nothing_went_on():
    program = """if True:
        import os, signal, time
        from tilejit.system.signals import ends_heard

        with ends_heard():
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
    """
    subprocess.run([sys.executable, "-c", program], check=True)


@needs_signals
def test_a_second_ctrl_c_gives_up_on_a_pixel_that_never_ends(folder, slow, tmp_path):
    script = [sys.executable, folder / "slow_kernels.py", "endless", folder / "z.tif", tmp_path / "out.tif"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            time.sleep(1)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT, errors
    assert "the kernel does not stop: it runs until this process ends" in errors


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is a signal here")
def test_a_call_has_returned_when_ctrl_c_raises():
    """Python takes a thread whose join is interrupted for one that has ended."""
    control, told = new_control(), []

    def call():
        while not control[STOP]:
            time.sleep(0.01)
        time.sleep(0.2)
        told.append("ended")

    threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(call, control)
    assert told == ["ended"]


@pytest.mark.parametrize("executor", ["threads", "serial", "pool", "processes of others", "in this thread"])
def test_a_time_out_stops_a_slow_kernel(folder, slow, tmp_path, executor):
    raster = slow(tj.open(folder / "z.tif"))
    raster.read(tj.Window(0, 0, 1, 1))  # compiled

    async def limited(given):
        await asyncio.wait_for(raster.asave(tmp_path / "out.tif", executor=given), 1)

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool, ProcessPoolExecutor(2, get_context("spawn")) as processes:
        own = {"pool": pool, "processes of others": processes, "in this thread": SerialExecutor()}
        given = own.get(executor, executor)
        with pytest.raises(TimeoutError):
            asyncio.run(limited(given))
    assert time.monotonic() - started < HANGS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["python", "cpu"])
def test_a_launch_hears_and_tells(slow, backend):
    """Nothing is computed after the word is given, and the rows that are done are counted."""
    signature = slow.signature([np.dtype(np.float32)])
    launch = get_backend(backend).compile(slow, signature)
    z, out, control = np.ones((5, 7), np.float32), np.full((5, 7), 77, np.float32), new_control()
    launch([z], [out], [np.float32(np.nan)], [3], control)
    assert (out != 77).all()
    assert control[ROWS] == 5
    out[...], control[STOP] = 77, 1
    launch([z], [out], [np.float32(np.nan)], [3], control)
    assert (out == 77).all()


@tj.focal(edge="nearest")
def placed(z, q: np.uint8, *, row=tj.ROW):
    return z[1, 0] - z[0, -1] + row * q[-1, 0]


def test_arrays_come_out_the_same_in_pieces(monkeypatch):
    """Also with more threads than rows, and where another thread asks."""
    rng = np.random.default_rng(5)
    z, q = rng.normal(size=(50, 40)).astype(np.float32), rng.integers(0, 9, (50, 40)).astype(np.uint8)
    z[7:9, 3] = np.nan
    at_once = placed(z, q, workers=1)
    monkeypatch.setattr("tilejit.arrays._OPERATIONS", 10)
    for workers in (1, 3, 99):
        np.testing.assert_array_equal(placed(z, q, workers=workers), at_once)
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda workers: placed(z, q, workers=workers), (2, 3)):
            np.testing.assert_array_equal(result, at_once)


def test_the_progress_bar_moves_within_a_tile_and_says_what_else_goes_on(slow, tmp_path, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def bar(_label, *, show):
        assert show is None
        yield lambda *told: shown.append(told)

    monkeypatch.setattr("tilejit.raster.running.progress_bar", bar)
    raster = slow(tj.from_array(np.ones((256, 512), np.float32)), steps=600)
    raster.save(tmp_path / "out.tif", tile=(256, 512), workers=1)
    assert shown[0] == (0, 1, "compiling")
    done = [d for d, _, _ in shown]
    assert done == sorted(done)
    assert any(0 < d < 1 for d in done)
    assert {(total, doing) for _, total, doing in shown[1:]} == {(1, "")}

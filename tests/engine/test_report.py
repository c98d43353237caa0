"""Reports: time by stage, what it adds up to, and what a person reads."""

import re
import threading
import time

import numpy as np
import pytest

import tilejit as tj
from tilejit.engine.pipeline.report import Report
from tilejit.engine.pipeline.stopwatch import STAGES, WORKER_STAGES, StageTime, Stopwatch
from tilejit.kernel.counts import Counts

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@tj.focal
def steep(z):
    return z[0, 1] - z[0, -1]


STAGE_TIMES = {
    "decode": StageTime(1.0, 0.9),
    "compute": StageTime(0.5, 0.5),
    "encode": StageTime(2.0, 1.9),
    "wait": StageTime(0.25, 0.0),
    "compile": StageTime(0.4, 0.3),
    "finish": StageTime(0.1, 0.01),
}


def report_of(**changes):
    values = {
        "seconds": 2.0, "stages": STAGE_TIMES, "cpu_seconds": 4.0, "pixels": 4_000_000, "tiles": 8, "workers": 2,
        "backend": "cpu", "reason": "asked for", "peak_memory": 10**8, "planned_memory": 2 * 10**8,
        "bytes_read": 16_000_000, "source_bytes": 16_000_000, "output_bytes": 9_000_000, "results": (Counts(),),
    }  # fmt: skip
    return Report(**values | changes)


def test_sums_and_shares():
    report = report_of()
    assert report.total.wall == pytest.approx(4.25)
    assert report.total.cpu == pytest.approx(3.61)
    assert report.share("encode") == pytest.approx(50)
    assert report_of(seconds=0.0).share("encode") == 0


def test_a_small_raster_has_a_speed_too():
    assert str(report_of()).startswith("4.0 Mpx in 2.00 s: 2.0 Mpx/s, 8 tiles")
    assert str(report_of(seconds=0.02)).startswith("4.0 Mpx in 0.02 s: 200 Mpx/s, 8 tiles")


def test_the_text():
    lines = str(report_of()).splitlines()
    assert lines[1:4] == [
        "stages    decode 1.00 s (25 %), compute 0.50 s (12 %), encode 2.00 s (50 %), wait 0.25 s (6 %) over 2 workers",
        "once      compile 0.40 s, finish 0.10",
        "cpu       4.00 core seconds: decode 0.90, compute 0.50, encode 1.90, compile 0.30, finish 0.01, elsewhere 0.39",
    ]
    assert all(len(line) < 120 for line in lines)
    assert "elsewhere 0.00" in str(report_of(cpu_seconds=3.6))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_spend_no_more_than_there_is(tmp_path, workers):
    raster = tj.from_array(np.random.default_rng(0).random((300, 300), np.float32))
    report = steep(raster).save(
        tmp_path / "out.tif", workers=workers, tile=(64, 64), profile={"blockxsize": 64, "blockysize": 64}
    )
    assert list(report.stages) == list(STAGES)
    assert sum(report.stages[s].wall for s in WORKER_STAGES) <= workers * report.seconds
    assert sum(report.share(s) for s in WORKER_STAGES) <= 100
    for name, one in report.stages.items():
        assert one.wall > 0, name
        # Both clocks tick in nanoseconds, and are read one after the other.
        assert 0 <= one.cpu <= one.wall + 1e-3, name
    assert report.stages["compile"].wall + report.stages["finish"].wall <= report.seconds
    assert report.cpu_seconds > 0
    assert re.search(rf"over {workers} workers?$", str(report), re.MULTILINE)


def test_a_stage_that_fails_is_timed_too():
    watch = Stopwatch()

    def fail():
        with watch.stage("compute"):
            time.sleep(0.002)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert watch.stages()["compute"].wall >= 0.002
    assert watch.stages()["decode"] == StageTime()


def test_threads_add_up():
    watch = Stopwatch(keep_spans=True)

    def work():
        for _ in range(200):
            with watch.stage("decode", (1, 2)) as timing:
                timing.size = 3

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(watch.spans) == 800
    assert watch.stages()["decode"].wall == sum(s.wall for s in watch.spans) / 1e9
    assert {(s.tile, s.size) for s in watch.spans} == {((1, 2), 3)}

"""Hundreds of files read together, with few open at once."""

import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import tilejit as tj
from tilejit.formats import files as open_files
from tilejit.formats.files import OpenFile

GRID = tj.Grid(8, 8, (30.0, 0, 0, 0, -30.0, 0), "EPSG:32633")

SCRIPT = """
import resource, sys
import numpy as np
import tilejit as tj
import stack_kernels

limit = 128
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
if __name__ == "__main__":
    paths, output = sys.argv[2:], sys.argv[1]
    stack = tj.stack(paths)
    plan = stack_kernels.mean(stack).plan()
    assert "stack of 300 dates" in str(plan), plan
    assert sum(line.startswith("read ") for line in str(plan).splitlines()) == 1, plan
    report = stack_kernels.mean(stack).save(output)
    assert report.bytes_read == report.source_bytes, report
"""
KERNEL = """
import tilejit as tj


@tj.local
def mean(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total += t[k]
    return total / len(t)
"""


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(open_files, "most", lambda: 3)


class Things:
    """What is open, by numbers."""

    def __init__(self):
        self.open, self.times = set(), 0

    def opened(self, number):
        self.open.add(number)
        self.times += 1
        return number


def test_that_which_was_held_longest_ago_is_closed_for_another(few):
    before = [held() for held in open_files._order.values()]
    for file in before:
        if file is not None:
            file.close()
    things = Things()
    files = [OpenFile(things.open.discard) for _ in range(4)]
    for number in (0, 1, 2, 0, 3):
        with files[number].held(lambda number=number: things.opened(number)) as opened:
            assert opened == number
    assert things.open == {0, 2, 3}
    assert things.times == 4
    with files[1].held(lambda: things.opened(1)):
        assert things.open == {0, 1, 3}
    del files
    assert not things.open


def test_what_is_held_stays_open(few):
    things = Things()
    files = [OpenFile(things.open.discard) for _ in range(6)]
    with files[0].held(lambda: things.opened(0)):
        for number in range(1, 6):
            with files[number].held(lambda number=number: things.opened(number)):
                pass
        files[0].close()
        assert 0 in things.open
    files[0].close()
    assert 0 not in things.open


def test_threads_open_a_file_once():
    things, file, together = Things(), OpenFile(lambda _: None), threading.Barrier(4)

    def work():
        together.wait()
        with file.held(lambda: things.opened(7)) as opened:
            assert opened == 7

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert things.times == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="its limit is another")
def test_three_hundred_files_where_a_process_may_have_few_open(tmp_path):
    paths = [str(tmp_path / f"{number:03}.tif") for number in range(300)]
    tj.save({path: tj.from_array(np.full((8, 8), k, np.float32), grid=GRID) for k, path in enumerate(paths[:3])})
    for number, path in enumerate(paths[3:]):
        shutil.copy(paths[number % 3], path)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "stack_kernels.py").write_text(KERNEL)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "mean.tif"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tj.open(tmp_path / "mean.tif").compute() == 1).all()

"""What killed runs leave is removed by the next run to that folder; what lives, is finished or somebody else's is not."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tilejit as tj
from tilejit.formats import publishing
from tilejit.formats.publishing import finished, remove_folder, sweep
from tilejit.formats.target import temporary_of
from tilejit.system import identity
from tilejit.system.identity import ORIGIN, has_ended, origin

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")]

WRITES = """
import sys, time
from pathlib import Path
import numpy as np
import tilejit as tj
from tilejit.engine.distribution.task import Sentinel
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile

def sinks(folder):
    grid = tj.from_array(np.zeros((32, 48), np.float32)).grid
    cells = np.ones((1, 16, 48), np.float32)
    for number, (kind, options) in enumerate({"tif": {}, "tiff": {"COMPRESS": "LERC"}, "vrt": {}, "zarr": {}}.items()):
        options = options | {"BLOCKXSIZE": "16", "BLOCKYSIZE": "16"}
        path = str(Path(folder, f"out{number}.{kind}"))
        profile = OutputProfile(path=path, grid=grid, count=1, dtype=np.dtype("f4"), options=options)
        sink = open_sink(profile)
        sink.writer().write(tj.Window(0, 0, 16, 48), cells)
        yield sink

if __name__ == "__main__":
    kept = [*sinks(sys.argv[1])]
    with Sentinel.of("0123456789abcdef", sys.argv[1] + "/out.tif", local=False).shown():
        print("writes", flush=True)
        time.sleep(600)
"""
STAYS = {".out.1a2b3c4d.resume.jsonl", ".out.1a2b3c4d.resume.tif", ".out.0123456789abcdef.finished.tif", ".out.tif",
         ".out.4711-0123456789abcdef.tmp.tif", "out.4711-1f-0123456789ab-0123456789abcdef.tmp.tif"}  # fmt: skip
"""What is gone on with, finished, of other programs, or was left by older versions."""


@pytest.fixture(scope="module")
def dead():
    """The origin of a process that has ended."""
    done = subprocess.run(
        [sys.executable, "-c", "from tilejit.system.identity import origin; print(origin())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def hidden(folder):
    return {place.name for place in folder.iterdir() if place.name.startswith(".")}


def test_what_a_killed_process_has_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "writes.py").write_text(WRITES)
    writers = []
    try:
        for _ in range(2):
            command = [sys.executable, tmp_path / "writes.py", tmp_path]
            writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in writers:
            assert process.stdout.readline() == "writes\n"
        killed, living = writers
        killed.kill()
        for name in STAYS:
            (tmp_path / name).touch()
        left = {p: {n for n in hidden(tmp_path) if re.search(rf"\.{p.pid}{ORIGIN[3:]}", n)} for p in writers}
        assert [len(names) for names in left.values()] == [5, 5]
        maker, deadline = re.search(ORIGIN, min(left[killed]))[0], time.monotonic() + 20
        while not has_ended(maker):  # though nobody has asked yet how it ended
            assert time.monotonic() < deadline
            time.sleep(0.01)
        tj.from_array(np.ones((4, 4), np.float32)).save(tmp_path / "other.tif")
        assert hidden(tmp_path) == left[living] | {name for name in STAYS if name.startswith(".")}
        assert {*STAYS} <= {place.name for place in tmp_path.iterdir()}
    finally:
        for process in writers:
            process.kill()
            process.communicate()


def test_only_what_ended_here_and_is_this_users_goes(tmp_path, dead):
    number, begin, place = dead.split("-")
    mine = origin().split("-")
    end = "0123456789abcdef.tmp.tif"
    names = {
        dead: True,
        f"{mine[0]}-{int(mine[1], 16) + 1:x}-{place}": True,  # an earlier process of this number
        f"{'9' * 30}-{begin}-{place}": True,
        origin(): False,
        f"{number}-{begin}-{'f' * 12}": False,
        f"{number}-{begin}-{'0' * 12}": False,
        f"1-{begin}-{place}": True,
    }
    for name, ended in names.items():
        assert has_ended(name) is ended, name
        (tmp_path / f".out.{name}-{end}").touch()
    thesis = tmp_path / "thesis"
    thesis.touch()
    others = [tmp_path / f".{what}.{dead}-{end}" for what in ("link", "two", "user")]
    others[0].symlink_to(thesis)
    others[1].hardlink_to(thesis)
    if os.geteuid() == 0:
        others[2].touch()
        os.chown(others[2], 12345, 12345)
    there = {place.name for place in others if os.path.lexists(place)}
    sweep(tmp_path)
    assert hidden(tmp_path) == {f".out.{name}-{end}" for name, ended in names.items() if not ended} | there


def test_a_finished_output_has_no_process_in_its_name_and_a_folder_that_goes_has(tmp_path):
    place = temporary_of(tmp_path / "out.zarr")
    place.mkdir()
    named = finished(place)
    assert re.fullmatch(r"\.out\.[0-9a-f]{16}\.finished\.zarr", named.name)
    assert named.is_dir()
    assert finished(named) == named
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilejit.formats.target.shutil.rmtree", lambda folder, **_: seen.append(folder))
        remove_folder(named)
    assert publishing._NAME.fullmatch(seen[0].name)[1] == origin()


def test_another_namespace_is_another_place(dead):
    command = "from tilejit.system.identity import origin; print(origin())"
    places = []
    for option in ("--mount-proc", "--mount-proc=/nowhere"):
        words = ["unshare", "--pid", "--fork", *([option] if "=" not in option else []), sys.executable, "-c", command]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip("no namespaces may be made here")
        places.append(done.stdout.strip().split("-")[2])
    assert places[0] not in {dead.split("-")[2], "0" * 12}
    assert places[1] == "0" * 12  # which sees the files of this one


def test_without_proc_nobody_is_known_to_have_ended(monkeypatch, dead):
    monkeypatch.setattr(identity, "_stat", lambda _: None)
    monkeypatch.setattr(identity, "_place", lambda _: "")
    assert re.fullmatch(ORIGIN, origin())
    assert not has_ended(dead)
    assert not has_ended(origin())


def test_looking_takes_a_hundredth_of_the_time(tmp_path, monkeypatch, dead):
    own, looks = os.scandir, []

    def slowly(folder):
        looks.append(folder)
        time.sleep(0.02)
        return own(folder)

    monkeypatch.setattr(publishing.os, "scandir", slowly)
    for _ in range(3):
        sweep(tmp_path)
    assert looks == [tmp_path]
    monkeypatch.setitem(publishing._due, tmp_path, time.monotonic())
    left = Path(tmp_path, f".out.{dead}-0123456789abcdef.tmp.zarr")
    left.mkdir()
    sweep(tmp_path)
    assert looks[:2] == [tmp_path, tmp_path]
    assert not left.exists()
    sweep(tmp_path / "nowhere")

"""Runs with a journal that are killed at random moments, and gone on with until they end.

    python resume_run.py moments DEM FOLDER SUFFIX KILLS SEED
    python resume_run.py names DEM FOLDER OVERWRITE

Each run is a process that is forked from one that has imported and compiled everything: 50 of them take seconds.
The first command prints, as JSON, how many lines the journal had at each kill. The second kills at each name that
outputs are given, and prints how many of the four were there then, and what the next run did.
"""

import json
import math
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import tilejit as tj
from executor_kernels import scaled, smooth
from tilejit.engine.pipeline import journal
from tilejit.formats import publishing

OPTIONS = {"tile": (64, 128), "profile": {"blockxsize": 64, "blockysize": 64}, "progress": False}
SHARE = 0.8
"""A run is killed at the latest after this share of what a whole one takes, however busy the machine is."""


def raster(dem):
    return scaled(smooth(tj.open(dem)), factor=3)


def run(dem, path, **options):
    return raster(dem).save(path, resume=True, **OPTIONS, **options)


def forked(function, *arguments):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        function(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - a forked process tells what was wrong, and ends here
        traceback.print_exc()
    finally:
        os._exit(status)


def killed(child, delay):
    """Kills a run, unless it has ended before; whether it was killed."""
    end = time.monotonic() + delay
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0, "a run failed"
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def outputs(dem, folder):
    return {folder / name: raster(dem) for name in ("a.tif", "b.vrt", "c.zarr")}


def killed_at(number, dem, folder, overwrite):
    """Saves three outputs, and is killed before so many renames, or before the journal goes if there are fewer."""
    note = journal.Journal.note_complete
    left = iter(range(number))

    def dying(function):
        def wrapper(*arguments):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return wrapper

    def noted(self):
        note(self)
        Path.rename, Path.replace = dying(Path.rename), dying(Path.replace)
        publishing.rename_new = dying(publishing.rename_new)
        journal.Journal.remove = lambda _: os.kill(os.getpid(), signal.SIGKILL)

    journal.Journal.note_complete = noted
    tj.save(outputs(dem, folder), resume=True, overwrite=overwrite, **OPTIONS)


def at_names(dem, folder, overwrite):
    raster(dem).save(folder / "first.tif", executor="serial", **OPTIONS)
    (folder / "first.tif").unlink()
    runs = []
    for number in range(9 if overwrite else 5):
        place = folder / f"run{number}"
        place.mkdir()
        if overwrite:
            tj.save({path: tj.open(dem) for path in outputs(dem, place)}, **OPTIONS)
        child = forked(killed_at, number, dem, place, overwrite)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        there = len([path for path in place.iterdir() if not path.name.startswith(".")])
        report = tj.save(outputs(dem, place), resume=True, overwrite=overwrite, **OPTIONS)
        runs.append({"there": there, "tasks": report.tiles, "resumed": report.resumed})
    sys.stdout.write(json.dumps(runs))


def at_moments(dem, folder, suffix, kills, seed):
    journal.SECONDS = 0.01
    rng, lines, done = random.Random(seed), [], 0  # noqa: S311 - moments, no secrets
    begun = time.monotonic()
    raster(dem).save(folder / f"first{suffix}", executor="serial", **OPTIONS)
    longest = SHARE * (time.monotonic() - begun)
    while len(lines) < kills:
        path = folder / f"run{done}{suffix}"
        # The last of the kills was enough: this run may end.
        while killed(forked(run, dem, path), rng.uniform(0, longest) if len(lines) < kills else math.inf):
            left = list(folder.glob(".*.jsonl"))
            assert len(left) <= 1, left
            if path.exists() and not left:
                break  # killed when all was done
            lines.append(left[0].read_bytes().count(b"\n") if left else 0)
        assert path.exists()
        done += 1
    sys.stdout.write(json.dumps({"lines": lines, "runs": done}))


if __name__ == "__main__":
    what, dem, folder, *rest = sys.argv[1:]
    if what == "names":
        at_names(dem, Path(folder), rest == ["1"])
    else:
        at_moments(dem, Path(folder), rest[0], *map(int, rest[1:]))

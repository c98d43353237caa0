"""Runs with a journal that are killed at random moments, and gone on with until they end.

    python resume_run.py DEM FOLDER SUFFIX KILLS SEED

Each run is a process that is forked from one that has imported and compiled everything: 50 of them take seconds.
Prints, as JSON, how often it killed, and how many lines the journal had each time.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import tilejit as tj
from executor_kernels import scaled, smooth
from tilejit.pipeline import journal

OPTIONS = {"tile": (64, 128), "profile": {"blockxsize": 64, "blockysize": 64}, "progress": False}
LONGEST = 0.25
"""Seconds after which a run is killed at the latest."""


def raster(dem):
    return scaled(smooth(tj.open(dem)), factor=3)


def run(dem, path, **options):
    return raster(dem).save(path, resume=True, **OPTIONS, **options)


def forked(dem, path):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        run(dem, path)
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


def main(dem, folder, suffix, kills, seed):
    journal.SECONDS = 0.02
    rng, lines, done = random.Random(seed), [], 0  # noqa: S311 - moments, no secrets
    raster(dem).save(folder / f"first{suffix}", executor="serial", **OPTIONS)
    while len(lines) < kills:
        path = folder / f"run{done}{suffix}"
        while killed(forked(dem, path), rng.uniform(0, LONGEST)):
            left = list(folder.glob(".*.jsonl"))
            assert len(left) <= 1, left
            if path.exists():  # killed between giving the output its name and dropping the journal
                for file in left:
                    file.unlink()
                break
            lines.append(left[0].read_bytes().count(b"\n") if left else 0)
        assert path.exists()
        done += 1
    sys.stdout.write(json.dumps({"lines": lines, "runs": done}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

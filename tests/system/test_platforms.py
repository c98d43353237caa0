"""Systems that are not Linux, as far as they can be had here: what they lack is taken away."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio import Affine

import tilejit as tj
from tilejit_kernels.terrain import slope

pytestmark = pytest.mark.slow

zarr = pytest.importorskip("zarr")

PROGRAM = '''
import asyncio, builtins, concurrent.futures.thread, ctypes, errno, io, os, shutil, signal, sys, types
import click, imagecodecs, llvmlite.binding, multiprocessing.popen_fork, multiprocessing.spawn, numba, rasterio.shutil, rich.console, tempfile, tifffile
# What has been imported has looked for what its system has, and goes on.

UNIX = {os: """getuid geteuid getgid pread pwrite preadv pwritev pathconf sysconf statvfs sync fork fchmod killpg uname
    O_NOFOLLOW O_CLOEXEC O_NONBLOCK O_DIRECTORY""", signal: "SIGKILL SIGHUP SIGQUIT SIGUSR1 SIGPIPE pthread_sigmask"}
LINUX = {os: "sched_getaffinity sched_setaffinity memfd_create posix_fadvise posix_fallocate copy_file_range O_DIRECT O_PATH O_TMPFILE"}
# A process that does not end by itself is killed without a signal there.
multiprocessing.popen_fork.signal = types.SimpleNamespace(SIGTERM=signal.SIGTERM, SIGKILL=signal.SIGKILL)
taken = {}
for module, names in [*UNIX.items(), *LINUX.items()]:
    for name in names.split():
        if hasattr(module, name):
            taken[module, name] = getattr(module, name)
            delattr(module, name)
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None

os_open, io_open, shutil._use_fd_functions, tempfile._O_TMPFILE_WORKS = os.open, io.open, False, False
shutil._rmtree_impl = getattr(shutil, "_rmtree_unsafe", None)
os.process_cpu_count = os.cpu_count
shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40)

class Library(ctypes.CDLL):
    def __init__(self, name, *more, **named):
        if name is None:
            raise TypeError("no library stands for all")
        super().__init__(name, *more, **named)

def no_folder(path, *more, **named):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return os_open(path, *more, **named)

def no_proc(file, *more, **named):
    if str(file).startswith(("/proc", "/sys")):
        raise FileNotFoundError(errno.ENOENT, "No such file", file)
    return io_open(file, *more, **named)

ctypes.CDLL, os.open, io.open, builtins.open = Library, no_folder, no_proc, no_proc

import tilejit as tj
from tilejit.cli import main
from tilejit_kernels.terrain import slope

def run(name):
    steep = slope(tj.open("dem.tif"))
    print(steep.save(f"{name}.tif", backend="cpu"))
    steep.save(f"{name}.vrt", backend="cpu")
    steep.save(f"{name}.zarr", backend="cpu")
    steep.save(f"{name}-by-gdal.tif", backend="cpu", profile={"compress": "lerc"})
    np.save(f"{name}.npy", steep.compute(backend="cpu", executor="processes", workers=1))
    assert main(["run", "slope", "dem.tif", "-o", f"{name}-cli.tif", "--backend", "cpu"]) == 0
    assert main(["plan", "slope", "dem.tif", "--backend", "cpu"]) == 0
    assert main(["info"]) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "tilejit-flusher"]

def run_with_a_journal():
    slope(tj.open("dem.tif")).save("journal.zarr", backend="cpu", resume=True)

if __name__ == "__main__":
    import threading
    import numpy as np

    run("windows")
    try:
        run_with_a_journal()
    except tj.TilejitError as error:
        assert "no fcntl" in str(error)
    else:
        raise AssertionError("a journal was kept without a lock")
    for (module, name), value in taken.items():
        if module in UNIX and name in UNIX[module].split():
            setattr(module, name, value)
    for name in ("resource", "fcntl", "pwd", "grp", "termios"):
        del sys.modules[name]
    os.open = os_open
    print("macOS")
    run("macos")
    run_with_a_journal()
'''


def test_the_main_job_runs_where_there_is_only_what_windows_and_macos_have(tmp_path):
    profile = {"crs": "EPSG:32633", "transform": Affine(30, 0, 5e5, 0, -30, 5e6), "tiled": True, "blockxsize": 64}
    with rasterio.open(tmp_path / "dem.tif", "w", driver="GTiff", width=200, height=300, count=1, dtype="float32",
                       blockysize=64, **profile) as file:  # fmt: skip
        file.write(np.random.default_rng(5).random((1, 300, 200), np.float32) * 900)
    expected = slope(tj.open(tmp_path / "dem.tif")).compute(backend="cpu")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    windows, macos = run.stdout.split("macOS\n")
    for told in ("this system has no pwrite", "this system has no preadv", "memory    not told by this system"):
        assert told in windows, windows
        assert told not in macos, macos
    for name in ("windows", "macos"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), expected)
        np.testing.assert_array_equal(zarr.open_array(tmp_path / f"{name}.zarr" / "slope", mode="r")[...], expected[0])
        for end in (".tif", ".vrt", "-by-gdal.tif", "-cli.tif"):
            found = tj.open(tmp_path / f"{name}{end}").read()
            np.testing.assert_array_equal(found, expected, err_msg=f"{name}{end}")

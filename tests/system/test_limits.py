"""What this process may use of its machine: trees of control groups made here, as containers and clusters have them."""

import os
from types import SimpleNamespace

import pytest
from test_plan import Untouched, steep

from tilejit.cli import main
from tilejit.engine.executors.dask import DaskExecutor
from tilejit.engine.executors.processes import ProcessesExecutor
from tilejit.engine.planning import tiling
from tilejit.raster import options
from tilejit.system import limits
from tilejit.system.limits import Limit, asked_cores, core_quotas, memory_left, memory_limit

MB = 1_000_000
OWN = 1024 * 50_000
"""What the process holds itself: of 600 MB, others have the rest."""
UNLIMITED = "9223372036854771712"
V1 = "34 30 0:1 {top} /sys/fs/cgroup/{name} rw shared:9 - cgroup cgroup rw,{name}"
V2 = "34 30 0:1 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"


def machine(folder, mounts, groups, files):
    """A folder that looks like ``/``."""
    meminfo = f"MemTotal: {64_000_000} kB\nMemAvailable: {32_000_000} kB\n"
    told = {"proc/self/mountinfo": "\n".join(mounts), "proc/self/cgroup": groups, "proc/meminfo": meminfo}
    told["proc/self/status"] = f"Name: python\nVmRSS: 90000 kB\nRssAnon: {OWN // 1024} kB\n"
    for name, text in {**told, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    return folder


def v1(top="/"):
    return ["23 1 8:1 / / rw - ext4 /dev/sda rw", *(V1.format(top=top, name=n) for n in ("cpu,cpuacct", "memory"))]


QUOTAS = {
    "version 1": (v1(), "3:cpu,cpuacct:/a", {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
    }, Limit(3, "quota of /sys/fs/cgroup/cpu,cpuacct/a")),
    "version 1, the mount is the container's own group": (v1("/docker/1"), "3:cpu,cpuacct:/docker/1/inner", {
        "cpu,cpuacct/cpu.cfs_quota_us": "350000", "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/inner/cpu.cfs_quota_us": "150000", "cpu,cpuacct/inner/cpu.cfs_period_us": "100000",
    }, Limit(2, "quota of /sys/fs/cgroup/cpu,cpuacct/inner")),
    "version 2, the group around is held lower": ([V2.format(top="/")], "0::/job.slice/step/task", {
        "job.slice/cpu.max": "150000 100000", "job.slice/step/cpu.max": "max 100000",
        "job.slice/step/task/cpu.max": "400000 100000",
    }, Limit(2, "quota of /sys/fs/cgroup/job.slice")),
    "version 2, less than a core": ([V2.format(top="/")], "0::/", {"cpu.max": "20000 100000"},
        Limit(1, "quota of /sys/fs/cgroup")),
    "version 2, a group outside of the namespace": ([V2.format(top="/")], "0::/../other", {"cpu.max": "200000 100000"},
        Limit(2, "quota of /sys/fs/cgroup")),
    "version 2, a blank in its name": ([V2.format(top=r"/a\040b")], "0::/a b/c", {"c/cpu.max": "200000 100000"},
        Limit(2, "quota of /sys/fs/cgroup/c")),
}  # fmt: skip


@pytest.mark.parametrize("case", QUOTAS)
def test_the_least_quota_of_all_groups_around_holds(tmp_path, case):
    *tree, limit = QUOTAS[case]
    found = core_quotas(machine(tmp_path, *tree))
    assert min(found, key=lambda one: one.value) == limit


def test_no_quota_is_none(tmp_path):
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": UNLIMITED,
    }
    root = machine(tmp_path, v1(), "4:memory:/\n3:cpu,cpuacct:/", files)
    assert core_quotas(root) == ()
    assert memory_left(root) == []
    assert memory_limit(root) == Limit(32_000_000 * 1024 + OWN, "this machine")


MEMORY = {
    "version 1": (v1(), "4:memory:/a/b", {
        "memory/memory.limit_in_bytes": UNLIMITED, "memory/a/b/memory.limit_in_bytes": UNLIMITED,
        "memory/a/memory.limit_in_bytes": str(800 * MB), "memory/a/memory.usage_in_bytes": str(500 * MB + OWN),
        "memory/a/memory.stat": f"inactive_file 1\nactive_file 1\ntotal_inactive_file {200 * MB}\ntotal_active_file {100 * MB}",
    }, Limit(600 * MB, "memory.limit_in_bytes of /sys/fs/cgroup/memory/a")),
    "version 2": ([V2.format(top="/")], "0::/a/b", {
        "a/memory.max": str(700 * MB), "a/memory.current": str(100 * MB + OWN),
        "a/b/memory.max": "max", "a/b/memory.high": str(900 * MB), "a/b/memory.current": str(10 * MB),
    }, Limit(600 * MB, "memory.max of /sys/fs/cgroup/a")),
    "version 2, where it gets slow": ([V2.format(top="/")], "0::/a", {
        "a/memory.max": str(900 * MB), "a/memory.high": str(700 * MB), "a/memory.current": str(300 * MB + OWN),
        "a/memory.stat": f"anon {100 * MB}\ninactive_file {150 * MB}\nactive_file {50 * MB}",
    }, Limit(600 * MB, "memory.high of /sys/fs/cgroup/a")),
    "both versions at once": (
        [*v1(), V2.format(top="/").replace("cgroup rw,", "cgroup/unified rw,")], "0::/\n4:memory:/a", {
        "memory/a/memory.limit_in_bytes": str(600 * MB), "memory/a/memory.usage_in_bytes": str(OWN), "unified/cgroup.procs": "",
    }, Limit(600 * MB, "memory.limit_in_bytes of /sys/fs/cgroup/memory/a")),
}  # fmt: skip


@pytest.mark.parametrize("case", MEMORY)
def test_a_run_is_planned_for_the_memory_that_its_groups_leave(tmp_path, monkeypatch, case):
    *tree, limit = MEMORY[case]
    root = machine(tmp_path, *tree)
    assert memory_limit(root) == limit
    monkeypatch.setattr(tiling, "memory_limit", lambda: memory_limit(root))
    planned, roomy = (wide().plan("out.tif", workers=1, memory=memory).memory for memory in (None, "9GB"))
    assert planned <= 600 * MB < roomy


def wide():
    return steep(Untouched(7000, 7000, (7000, 7000)).raster().band(1))


def test_variables_say_how_many_cores_are_asked_for():
    environment = {
        "SLURM_CPUS_PER_TASK": "6", "PYTHON_CPU_COUNT": "default", "OMP_NUM_THREADS": " 3,2", "NUMBA_NUM_THREADS": "0",
    }  # fmt: skip
    assert asked_cores(environment) == [Limit(6, "SLURM_CPUS_PER_TASK"), Limit(3, "OMP_NUM_THREADS")]
    assert asked_cores({}) == []


@pytest.fixture
def one_core(monkeypatch):
    """An environment that allows one core; it is read once in a process."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    limits._asked_once.cache_clear()
    yield
    limits._asked_once.cache_clear()


@pytest.mark.parametrize(("asked", "ranks", "threads"), [(4, 8, 4), (32, 8, 4), (1, 8, 1), (4, 64, 1)])
def test_what_a_launcher_asks_for_holds_for_each_rank(monkeypatch, asked, ranks, threads):
    monkeypatch.setattr(options, "available_cores", lambda: asked)
    monkeypatch.setattr(options, "allowed_cores", lambda: 32)
    assert options.RunOptions()._threads(SimpleNamespace(name="mpi", local=True, workers=ranks)) == threads


def test_no_more_workers_run_than_are_asked_for(one_core, capsys):
    """Files, arrays, processes and Dask ask one function; what is asked for by name goes before it."""
    assert limits.available_cores() == 1
    assert [wide().plan("out.tif", workers=workers).workers for workers in (None, 3)] == [1, 3]
    assert ProcessesExecutor().workers == DaskExecutor().workers == 1
    assert main(["info"]) == 0
    machine = "1" if os.cpu_count() == 1 else f"1 of {os.cpu_count()}, by SLURM_CPUS_PER_TASK"
    assert f"cores     {machine}\n" in capsys.readouterr().out

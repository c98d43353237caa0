"""Kernels in other processes: by name where one leads to them, else as text; the same there as here."""

import copy
import ctypes
import enum
import functools
import linecache
import multiprocessing
import pickle
import runpy
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import rasterio
from test_executors import ENVIRONMENT, MPIEXEC, needs_dask, needs_mpi

import tilejit as tj
from executor_kernels import scaled, smooth
from kernels_for_tests import write_module
from tilejit.errors import KernelError
from tilejit.kernel.crossing import Name, crossing_of

pytestmark = pytest.mark.slow

CELLS = np.random.default_rng(7).random((40, 24), np.float32)


class Size(enum.IntEnum):
    SMALL = 2


def grown(z, by=Size.SMALL):
    return z * by


def closure(factor):
    class Shift:
        class Of:
            VALUES = (0.5, 1.5)

    def helped(z, *, gain=factor):
        return grown(z) * gain + Shift.Of.VALUES[1]

    @tj.local
    def inner(z, *, again: bool = True):
        return helped(z) * Size.SMALL + again

    return inner


def chaining():
    hidden = closure(4.0)

    @tj.chain
    def inner(z, *, times=2):
        return inner(hidden(smooth(z), again=False), times=times - 1) if times else z

    return inner


by_three = closure(3.0)
KERNELS = {
    "module": scaled,
    "edge": smooth.with_edge("nearest"),
    "named": by_three,
    "closure": closure(2.0),
    "chain": chaining(),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_copy_is_the_kernel_itself(name):
    kernel = KERNELS[name]
    cloudpickle = pytest.importorskip("cloudpickle")
    for made in (pickle.loads(pickle.dumps(kernel)), pickle.loads(cloudpickle.dumps(kernel)), copy.deepcopy(kernel)):  # noqa: S301
        assert made == kernel
        assert hash(made) == hash(kernel)
    is_named = isinstance(crossing_of(kernel), Name)
    assert is_named == (name not in {"closure", "chain"})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_map_kernels_over_arrays(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        for kernel in (functools.partial(kernel, backend="python") for kernel in KERNELS.values()):
            for found in pool.map(kernel, [CELLS[:9], CELLS[:5]]):
                np.testing.assert_array_equal(found, kernel(CELLS[: len(found)]))


def test_a_plan_equals_its_copy():
    raster = smooth(tj.from_array(CELLS))
    plan = raster.plan()
    found = pickle.loads(pickle.dumps(plan))  # noqa: S301
    assert np.isnan(found.writes[0].nodata)
    assert found == plan
    assert hash(found) == hash(plan)
    assert {found, raster.plan()} == {plan}
    assert plan not in {raster.plan(nodata=-1), smooth(tj.from_array(CELLS), edge="nearest").plan()}


def test_a_lazy_raster_is_copied(dem):
    made = pickle.loads(pickle.dumps(closure(5.0)(tj.open(dem))))  # noqa: S301
    assert made.compute().tobytes() == closure(5.0)(tj.open(dem)).compute().tobytes()


c_library = ctypes.CDLL(None)
c_root = c_library.cbrt
c_root.argtypes, c_root.restype = [ctypes.c_double], ctypes.c_double


@tj.local
def rooted(z):
    return c_root(z)


def calling_c():
    @tj.local
    def inner(z):
        return c_library.labs(z)

    return inner


def opening():
    lines = sys.__stderr__

    @tj.chain
    def inner(z):
        return scaled(z) if lines else z

    return inner


def making():
    class Maker:
        pass

    @tj.chain
    def inner(z):
        return scaled(z) if Maker() else z

    return inner


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (calling_c, r"inner \(test_crossing.py:\d+\) uses a C function, whose address is this process's own"),
        (opening, r"uses what cannot be pickled \(TypeError: cannot pickle '(_io\.)?TextIOWrapper' .*\), and no name"),
        (making, r"uses the class making.<locals>.Maker for more than constants.*: define it on the top level"),
    ],
)
def test_what_cannot_cross_says_why(make, why):
    with pytest.raises(KernelError, match=why):
        pickle.dumps(make())
    assert pickle.loads(pickle.dumps(rooted)) is rooted  # noqa: S301


def test_a_constant_that_was_changed_since_it_was_used_is_refused(tmp_path):
    text = "GAIN = 2.0\ndef make():\n    @tj.local\n    def mine(z):\n        return z * GAIN\n    return mine\n"
    module = write_module(tmp_path, text)
    used, new, sent = module.make(), module.make(), module.make()
    used(CELLS[:3], backend="python")
    crossed = pickle.dumps(sent)
    module.GAIN = 3.0
    with pytest.raises(KernelError, match=r"mine: a constant .* was changed since it was first used(.|\n)*again"):
        pickle.dumps(used)
    assert pickle.dumps(sent) == crossed
    assert pickle.loads(pickle.dumps(new)) is new  # noqa: S301


@pytest.fixture(scope="module")
def dem(tmp_path_factory):
    path = tmp_path_factory.mktemp("dem") / "dem.tif"
    profile = {
        "height": 40,
        "width": 24,
        "count": 1,
        "dtype": "float32",
        "transform": rasterio.Affine(30, 0, 0, 0, -30, 0),
    }
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        dataset.write(CELLS, 1)
    return str(path)


HELPERS = "GAIN = 3.0\ndef helped(z):\n    return z * GAIN\n"
PROGRAM = textwrap.dedent("""
    import pickle, sys
    import tilejit as tj
    {helpers}

    class Shift:
        HERE = 1.5

    @tj.focal
    def mine(z, *, gain=2.0):
        return helped(z[0, 1]) * gain - z[0, -1] + Shift.HERE

    def main(*executors):
        raster = mine(tj.open(sys.argv[1]))
        wanted = raster.compute(backend="python")  # which imports no Numba
        for name in executors:
            workers = {{}} if name == "mpi" else {{"workers": 1}}
            assert raster.compute(executor=name, backend="python", **workers).tobytes() == wanted.tobytes()
            print(name, "ok", flush=True)

    def send():
        from tilejit.engine.distribution.task import JobSpec
        from tilejit.engine.executors import open_executor
        from tilejit.raster.options import RunOptions
        from tilejit.raster.running import plan_job
        open_executor("processes").close()
        job = plan_job(mine(tj.open(sys.argv[1])), None, RunOptions())
        with open(sys.argv[2], "wb") as file:
            pickle.dump(JobSpec.of(job), file)

""")
ALONE, RELATIVE = PROGRAM.format(helpers=HELPERS), PROGRAM.format(helpers="from .helpers import helped")
GUARDED = 'if __name__ == "__main__":\n    {}\n'
CELL = textwrap.dedent("""
    import linecache
    text = {text!r}
    linecache.cache["<cell>"] = len(text), None, text.splitlines(True), "<cell>"
    exec(compile(text, "<cell>", "exec"), {names})
""")
"""How a notebook runs a cell."""


def zipped(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace(".", "/") + ".py", text)


@pytest.fixture
def places(tmp_path):
    """One program in many places: name -> how it is run."""
    package = tmp_path / "places_package"
    package.mkdir()
    texts = {
        "script.py": ALONE + GUARDED.format("send()"),
        "script": ALONE + GUARDED.format("send()"),
        "cell.py": CELL.format(text=ALONE, names="globals()") + GUARDED.format("send()"),
        "exec.py": CELL.format(text=ALONE, names='made := {"__name__": "made"}') + GUARDED.format('made["send"]()'),
        "places_package/helpers.py": HELPERS,
        "places_package/inner.py": RELATIVE,
        "places_package/module.py": RELATIVE + GUARDED.format("send()"),
        "places_package/other.py": "from .inner import send\n" + GUARDED.format("send()"),
        "places_package/__main__.py": RELATIVE + "send()\n",
        "zip_import.py": "import sys\nsys.path.insert(0, {!r})\nfrom zipped_package.inner import send\n{}".format(
            str(tmp_path / "inner.pyz"), GUARDED.format("send()")
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    zipped(tmp_path / "alone.pyz", __main__=ALONE + "send()\n")
    run = "from zipped_package.inner import send\nsend()\n"
    inner = {"zipped_package.__init__": "", "zipped_package.helpers": HELPERS, "zipped_package.inner": RELATIVE}
    zipped(tmp_path / "inner.pyz", __main__=run, **inner)
    modules = ["places_package", "places_package.module", "places_package.other"]
    files = ["script.py", "script", "cell.py", "exec.py", "zip_import.py", "alone.pyz", "inner.pyz"]
    return dict.fromkeys(modules, runpy.run_module) | {str(tmp_path / name): runpy.run_path for name in files}


def test_workers_find_the_kernel_wherever_the_program_lies(places, dem, tmp_path, monkeypatch):
    """A package without __init__.py, scripts, archives, cells: what they send is opened by one bare process."""
    monkeypatch.chdir(tmp_path)
    for number, (name, run) in enumerate(places.items()):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["", dem, str(tmp_path / f"{number}.spec")])
            patch.setattr(sys, "path", ["", *sys.path] if run is runpy.run_module else list(sys.path))
            run(name, run_name="__main__", **({"alter_sys": True} if run is runpy.run_module else {}))
        for module in [m for m in sys.modules if m.startswith(("places_package", "zipped_package"))]:
            del sys.modules[module]
    code = textwrap.dedent("""
        import pickle, sys
        import numpy as np
        wanted = None
        for path in sys.argv[1:]:
            job = pickle.load(open(path, "rb")).job()
            found = job.kernels[0](np.eye(9, dtype="f4"), backend="python").tobytes()
            assert found == (wanted or found), path
            wanted = found
        assert job.kernels[0](np.eye(9, dtype="f4")).tobytes() == wanted
        print("ok")
    """)
    specs = [str(tmp_path / f"{number}.spec") for number in range(len(places))]
    done = subprocess.run([sys.executable, "-c", code, *specs], cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr
    linecache.cache.pop("<cell>", None)


@pytest.mark.parametrize("executor", ["processes", pytest.param("dask", marks=needs_dask)])
def test_what_python_is_handed_as_text_has_workers(executor, dem, tmp_path):
    """`python - <file`, and `python -c`: Python does not keep their text before 3.13."""
    program = f"{ALONE}main('{executor}')\n"
    (tmp_path / "program").write_text(program)
    with (tmp_path / "program").open() as file:
        command = [sys.executable, *(["-", dem] if executor == "processes" else ["-c", program, dem])]
        done = subprocess.run(
            command, stdin=file, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.stdout == f"{executor} ok\n", done.stderr


@needs_mpi
def test_ranks_find_the_kernels_of_a_package_that_is_run(places, dem, tmp_path):
    (tmp_path / "places_package" / "__main__.py").write_text(RELATIVE + "main('mpi')\n")
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py.futures", "-m", "places_package", dem]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "mpi ok\n", done.stderr

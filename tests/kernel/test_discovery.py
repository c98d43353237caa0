"""Kernels by name."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tilejit.errors import KernelError
from tilejit.kernel import discovery
from tilejit.kernel.discovery import Collection, collections, find_kernel, kernels_in

TEXT = """
import tilejit as tj

@tj.local
def {name}(z):
    return z + 1
"""


class Points:
    """Entry points that a test registers beside the installed ones."""

    def __init__(self, monkeypatch):
        self.extra = {}
        self.real = importlib.metadata.entry_points
        monkeypatch.setattr(importlib.metadata, "entry_points", self)

    def __call__(self, *, group):
        points = [*self.real(group=group)]
        return points + [importlib.metadata.EntryPoint(name, value, group) for name, value in self.extra.items()]

    def add(self, **lines):
        self.extra.update(lines)
        sys.path.append(str(Path.cwd()))  # where an installed package's modules would be found
        forget()


def forget():
    for function in (discovery.collections, discovery._collection, discovery._loaded):
        function.cache_clear()


@pytest.fixture
def points(monkeypatch):
    yield Points(monkeypatch)
    forget()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with kernel files; what they load is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    forget()
    for name in ("one", "two"):
        (tmp_path / f"{name}_file.py").write_text(TEXT.format(name=name), encoding="utf-8")
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]
    forget()


@pytest.mark.parametrize("name", ["slope", "terrain.slope", "tilejit_kernels.terrain:slope"])
def test_a_shipped_kernel_has_three_names(name):
    kernel = find_kernel(name)
    assert (kernel.name, kernel.module) == ("slope", "tilejit_kernels.terrain")


@pytest.mark.parametrize("name", ["one_file.py:one", "one_file.py", "one_file:one"])
def test_a_file_in_the_working_folder(folder, name):
    assert (folder / "one_file.py").exists()
    assert find_kernel(name).name == "one"


def test_a_file_elsewhere_imports_the_files_beside_it(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "helpers_beside.py").write_text("STEP = 2\n", encoding="utf-8")
    text = "from helpers_beside import STEP\n" + TEXT.format(name="deep")
    (folder / "deep" / "deep_file.py").write_text(text, encoding="utf-8")
    assert find_kernel("deep/deep_file.py:deep").name == "deep"


def test_a_file_of_a_loaded_modules_name_is_its_own(folder):
    (folder / "json.py").write_text(TEXT.format(name="mine"), encoding="utf-8")
    assert find_kernel("json.py:mine").module == "json_2"
    assert not hasattr(sys.modules["json"], "mine")


def test_every_shipped_collection_loads():
    found = {c.name: c for c in collections()}
    assert {"terrain", "indices", "filters", "masks"} <= set(found)
    for name in ("terrain", "indices", "filters", "masks"):
        assert found[name].problem is None
        assert found[name].kernels
        assert found[name].package.startswith("tilejit ")


def test_imported_kernels_are_not_listed_again(folder):
    text = "from tilejit_kernels.terrain import slope\n" + TEXT.format(name="own")
    (folder / "borrows.py").write_text(text, encoding="utf-8")
    assert list(kernels_in("borrows.py")) == ["own"]


def test_an_entry_point_may_name_a_module_a_file_or_one_kernel(folder, points):
    points.add(mine="one_file", theirs=str(folder / "two_file.py"), single="tilejit_kernels.terrain:slope")
    found = {c.name: c for c in collections()}
    assert list(found["mine"].kernels) == ["one"]
    assert list(found["theirs"].kernels) == ["two"]
    assert list(found["single"].kernels) == ["slope"]
    assert find_kernel("mine.one").name == "one"
    assert find_kernel("two").name == "two"


def test_a_name_in_two_collections_is_ambiguous(points, folder):
    (folder / "other_slope.py").write_text(TEXT.format(name="slope"), encoding="utf-8")
    points.add(other="other_slope")
    with pytest.raises(KernelError, match=r"'slope' is ambiguous: write other\.slope or terrain\.slope"):
        find_kernel("slope")
    assert find_kernel("other.slope").module == "other_slope"
    assert find_kernel("terrain.slope").module == "tilejit_kernels.terrain"


BROKEN = {
    "missing": ("no_such_module_here", "no module 'no_such_module_here'"),
    "missing_file": ("/no/such/file.py", "no file /no/such/file.py"),
    "raises": ("raises", r"raises.py:1: importing raises failed: ZeroDivisionError"),
    "syntax": ("syntax", r"syntax.py:1: "),
    "kernel": ("kernel", r"kernel.py:4: f: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_entry_point_is_told_and_harms_no_other(points, folder, name):
    value, problem = BROKEN[name]
    (folder / "raises.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "syntax.py").write_text("def f(:\n", encoding="utf-8")
    (folder / "kernel.py").write_text("import tilejit as tj\n@tj.local\ndef f(z):\n    print(z)\n", encoding="utf-8")
    points.add(**{name: value})
    broken = next(c for c in collections() if c.name == name)
    assert isinstance(broken, Collection)
    assert not broken.kernels
    assert problem in (broken.problem or "")
    assert find_kernel("slope").name == "slope"
    with pytest.raises(KernelError, match="cannot be loaded"):
        find_kernel(f"{name}.anything")
    with pytest.raises(KernelError, match=f"{name} .* cannot be loaded"):
        find_kernel("nothing_like_it")


MESSAGES = {
    "slop": r"no kernel 'slop'; did you mean slope\? \(tilejit list shows all\)",
    "Hillshade": r"did you mean hillshade",
    "terrain.slop": r"did you mean terrain\.slope",
    "terrain": r"terrain is a collection of 9 kernels: choose one, as terrain\.slope \(tilejit list terrain shows all\)",
    "qqqq": r"no kernel 'qqqq'; a file's is named as my_kernels\.py:name",
    "one_file.py:on": r"one_file\.py has no kernel 'on'; did you mean one\?",
    "one_file.py:qqqq": r"one_file\.py has no kernel 'qqqq'; it holds one",
    "on_file.py:one": r"no file on_file\.py; did you mean one_file\.py\?",
    "no/where.py:one": r"no file no/where\.py: check the path",
    "math:sqrt": r"math: sqrt is a builtin_function_or_method, no kernel: put @tj\.local",
    "no_such_module:f": r"no module 'no_such_module': check the name, or install it",
    "tilejit_kernels.terain:f": r"no module 'tilejit_kernels\.terain'",
    "tilejit_kernels.terrain:": r"holds 9 kernels \(slope, aspect, .*choose one, as tilejit_kernels\.terrain:name",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_not_found_is_told(folder, name):
    assert folder
    with pytest.raises(KernelError, match=MESSAGES[name]):
        find_kernel(name)


def test_the_kernels_of_a_name(folder):
    """A collection's, a file's, a module's, and a kernel's own."""
    assert folder
    assert [*kernels_in("terrain")] == [*kernels_in("tilejit_kernels.terrain")]
    assert [*kernels_in("terrain.slope")] == ["terrain.slope"]
    assert [*kernels_in("slope")] == ["slope"]
    assert [*kernels_in("one_file.py")] == ["one"]
    assert [*kernels_in("two_file")] == ["two"]
    assert [*kernels_in("one_file.py:one")] == ["one_file.py:one"]
    for name, message in (("no_such_thing", "no kernel 'no_such_thing'"), ("no_file.py", r"no file no_file\.py")):
        with pytest.raises(KernelError, match=message):
            kernels_in(name)


PLANTED = ("boto3", "coverage", "pickle", "random", "ipdb", "colorsys")
"""What Python, Numba, rasterio or GDAL's bindings would import from the current folder, and a sibling's name."""


SCRIPT, MODULE = ["-c", "import sys; del sys.path[0]; from tilejit.cli import main; main()"], ["-m", "tilejit"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "name", "executor"),
    [
        (SCRIPT, "slope", []),
        (MODULE, "kernels_here.py:twice", []),
        (MODULE, "slope", ["--executor", "processes", "--workers", "1"]),
        (SCRIPT, "kernels_here.py:twice", ["--executor", "processes", "--workers", "1"]),
    ],
)
def test_files_of_the_current_folder_are_not_imported(tmp_path, launcher, name, executor):
    """A run over a folder of data executes nothing that lies there; the file of a kernel may import its siblings."""
    with rasterio.open(tmp_path / "dem.tif", "w", driver="GTiff", height=8, width=8, count=1, dtype="float32",
                       crs="EPSG:32630", transform=rasterio.Affine(30, 0, 5e5, 0, -30, 4e6)) as file:  # fmt: skip
        file.write(np.ones((1, 8, 8), np.float32))
    for module in PLANTED:
        (tmp_path / f"{module}.py").write_text(f"open('ran-{module}', 'w')", encoding="utf-8")
    (tmp_path / "sibling_of_kernels.py").write_text("STEP = 2\n", encoding="utf-8")
    text = (
        "import tilejit as tj\nfrom sibling_of_kernels import STEP\n\n@tj.local\ndef twice(z):\n    return z * STEP\n"
    )
    (tmp_path / "kernels_here.py").write_text(text, encoding="utf-8")
    command = [sys.executable, *launcher, "run", name, "dem.tif", "-o", "out.tif", *executor]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("ran-*"))
    assert (tmp_path / "out.tif").exists()


def test_the_current_folder_comes_last_and_where_a_module_is_named(folder):
    (folder / "named_here.py").write_text(TEXT.format(name="named"), encoding="utf-8")
    find_kernel("terrain.slope")
    kernels_in("slope")
    find_kernel(f"{folder}/one_file.py:one")
    assert str(folder) not in sys.path
    assert find_kernel("named_here:named").name == "named"
    assert sys.path[-1] == str(folder)

"""The floors of docs/architecture.md: imports point only down, and heavy packages stay where they belong."""

import ast
import importlib
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE, KERNELS = ROOT / "src" / "tilejit", ROOT / "kernels" / "tilejit_kernels"

FLOORS = {
    5: ["__init__", "__main__", "cli", "testing"],
    4: ["comparison", "raster"],
    3: ["arrays", "engine"],
    2: ["backends", "formats", "kernel"],
    1: ["compiler"],
    0: ["callers", "errors", "grid", "math", "sizes", "system", "text", "window"],
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}

HEAVY = {
    "asyncio": {"raster", "formats"},
    "cffi": set(),
    "numba": {"backends", "compiler"},
    "numba_cuda": {"backends"},
    "llvmlite": {"backends", "compiler"},
    "cuda": {"backends"},
    "rasterio": {"formats"},
    "tifffile": {"formats"},
    "imagecodecs": {"formats"},
    "isal": {"formats"},
    "zstandard": {"formats"},
    "zarr": {"formats"},
    "distributed": {"engine"},
    "mpi4py": {"engine"},
}
"""Package -> the only folders and modules that import it."""
LAZY = {*HEAVY, "rich", "scipy"}
"""Packages that are imported inside functions only."""
APART = [("formats", "backends"), ("backends", "formats")]
"""Siblings that import nothing from each other."""


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    name: str
    """The module, in full."""
    lazy: bool
    """Whether it happens inside a function."""

    @property
    def package(self):
        return self.name.partition(".")[0]

    @property
    def module(self):
        """The part of tilejit that is imported: a module or a folder right under it."""
        return [*self.name.split("."), "__init__"][1]

    def __str__(self):
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def imports_of(file):
    """Every import that happens when the program runs: not those for type checkers."""
    found = []

    def visit(node, lazy):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            children = node.orelse
        else:
            children = ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found.extend(Import(file, node.lineno, alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            found.extend(Import(file, node.lineno, name, lazy) for name in imported_names(node))
        for child in children:
            visit(child, lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    visit(ast.parse(file.read_text("utf-8")), lazy=False)
    return found


def imported_names(node):
    """``from tilejit import math`` imports ``tilejit.math``; other names are what a module holds."""
    if node.module != "tilejit":
        return [node.module]
    return [f"tilejit.{a.name}" if is_module(a.name) else "tilejit" for a in node.names]


def is_module(name):
    return (SOURCE / f"{name}.py").exists() or (SOURCE / name).is_dir()


def module_of(file):
    """The module or folder right under tilejit that a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))
IMPORTS = [one for file in FILES for one in imports_of(file)]


def test_there_is_something_to_read():
    assert len(FILES) > 30
    assert len(IMPORTS) > 200


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_every_module_has_a_floor(file):
    assert module_of(file) in FLOOR, f"give {module_of(file)} a floor, here and in docs/architecture.md"


def test_imports_point_down():
    wrong = [
        f"{one}: floor {FLOOR[module_of(one.file)]} to {FLOOR[one.module]}"
        for one in IMPORTS
        if one.package == "tilejit" and FLOOR[one.module] > FLOOR[module_of(one.file)] and not is_door(one)
    ]
    assert not wrong, "\n".join(wrong)


def is_door(one):
    """A call of a kernel with Rasters goes up to where Rasters are made, when it happens."""
    return one.lazy and module_of(one.file) == "__init__"


def test_siblings_are_apart():
    wrong = [str(one) for one in IMPORTS if (module_of(one.file), one.module) in APART and one.package == "tilejit"]
    assert not wrong, "\n".join(wrong)


def test_executors_are_apart():
    folder = SOURCE / "engine" / "executors"
    engines = {f"tilejit.engine.executors.{file.stem}" for file in folder.glob("*.py")} - {
        "tilejit.engine.executors.base"
    }
    wrong = [
        str(one) for one in IMPORTS if one.file.parent == folder and one.name in engines and one.file.stem != "__init__"
    ]
    assert len(engines) > 4
    assert not wrong, "\n".join(wrong)


def test_floor_0_is_standard_library_and_numpy():
    wrong = [
        str(one)
        for one in IMPORTS
        if FLOOR[module_of(one.file)] == 0 and one.package not in {*sys.stdlib_module_names, "numpy", "tilejit"}
    ]
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_stay_in_their_folder():
    wrong = [str(one) for one in IMPORTS if one.package in HEAVY and module_of(one.file) not in HEAVY[one.package]]
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_are_imported_on_first_use():
    wrong = [str(one) for one in IMPORTS if one.package in LAZY and not one.lazy]
    assert not wrong, "\n".join(wrong)


def test_click_is_the_command_lines_alone():
    wrong = [str(one) for one in IMPORTS if one.package == "click" and module_of(one.file) != "cli"]
    assert not wrong, "\n".join(wrong)


def test_modules_form_no_cycle():
    """Modules that import each other when they load fail for whoever starts at the other end."""
    graph = {}
    for one in IMPORTS:
        if one.package == "tilejit" and not one.lazy and one.name != "tilejit":
            graph.setdefault(name_of(one.file), set()).add(one.name)
    assert_no_cycle(graph)


def test_folders_form_no_cycle():
    """Within a floor too, each folder can be understood with those below it alone."""
    graph = {}
    for one in IMPORTS:
        if one.package == "tilejit" and not is_door(one):
            graph.setdefault(module_of(one.file), set()).add(one.module)
    assert_no_cycle(graph)


def assert_no_cycle(graph):
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        path.append(name)
        for other in sorted(graph.get(name, set()) - {name}):
            visit(other)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)


def name_of(file):
    return ".".join(["tilejit", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def test_shipped_kernels_stand_on_the_public_door():
    allowed = {"tilejit", "numpy", "math"}
    files = sorted(KERNELS.glob("*.py"))
    assert files
    wrong = [str(one) for file in files for one in imports_of(file) if one.name not in allowed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["tilejit", "tilejit.errors", "tilejit.math", "tilejit.testing"])
def test_public_modules_show_what_is_public(name):
    """Names that a module needs itself, for types or lazily, are no part of what a person looks through."""
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == name and inspect.isclass(v))
    assert set(own) <= set(module.__all__)


def test_importing_tilejit_is_light():
    code = "import sys, tilejit; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {*LAZY, "click", "importlib_metadata", "tilejit_kernels"}


def test_the_command_line_starts_light():
    code = "import sys; from tilejit.cli import main; main(['--version']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & {*LAZY, "tilejit_kernels"}

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
    0: ["errors", "grid", "math", "sizes", "system", "times", "window"],
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}

HEAVY = {
    "asyncio": {"raster", "formats"},
    "cffi": set(),
    "numba": {"backends", "comparison"},
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
    "matplotlib": {"comparison"},
    "pyproj": {"formats"},
}
"""Package -> the only folders and modules that import it."""
LAZY = {*HEAVY, "rich", "scipy"}
"""Packages that are imported inside functions only."""
APART = [("formats", "backends"), ("backends", "formats")]
"""Siblings that import nothing from each other."""

LIMIT = 350
"""Lines of a file."""

# What was there when it was first looked for. These lists only become shorter: mend one, and take it out.
CIRCLES = set()
"""A module and one that it imports, from which a way leads back."""
FOLDER_CIRCLES = set()
UPWARD = set()
LONG = set()
"""Files over the limit."""


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    name: str
    """The module, in full."""
    lazy: bool
    """Whether it happens inside a function."""
    typing: bool
    """Whether it is for type checkers alone."""

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
    """Every import, those for type checkers among them."""
    found = []

    def visit(node, lazy, typing):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names = imported_names(node)
        found.extend(Import(file, node.lineno, name, lazy, typing) for name in names)
        lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        block = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else ()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr):  # which most nodes are, and which hold no imports
                visit(child, lazy, typing or child in block)

    visit(ast.parse(file.read_text("utf-8")), lazy=False, typing=False)
    return found


def imported_names(node):
    """``from tilejit import math`` imports ``tilejit.math``; other names are what a module holds."""
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    return sorted({name if is_module(name) else node.module for name in names})


def is_module(name):
    path = SOURCE.joinpath(*name.split(".")[1:])
    return name.partition(".")[0] == "tilejit" and (path.with_suffix(".py").exists() or path.is_dir())


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
    found = {
        pair(name_of(one.file), one.name)
        for one in IMPORTS
        if one.package == "tilejit" and FLOOR[one.module] > FLOOR[module_of(one.file)] and not is_door(one)
    }
    assert_no_more(UPWARD, found, "UPWARD")


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
    assert len(engines) > 3
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
    generated = "tilejit.compiler.jit.operations"  # which the text of modules imports, and nobody else
    early = [one for one in IMPORTS if not (one.lazy or one.typing)]
    wrong = [str(one) for one in early if one.package in LAZY]
    wrong += [str(one) for one in IMPORTS if one.name.startswith(generated)]
    assert not wrong, "\n".join(wrong)


def test_click_is_the_command_lines_alone():
    wrong = [str(one) for one in IMPORTS if one.package == "click" and module_of(one.file) != "cli"]
    assert not wrong, "\n".join(wrong)


def test_modules_load_without_a_circle():
    """Modules that import each other when they load fail for whoever starts at the other end."""
    loads = (one for one in IMPORTS if not one.lazy and not one.typing and one.name != "tilejit")
    assert not circles(graph_of(loads, by=lambda one: (name_of(one.file), one.name)))


def test_files_form_no_circle():
    """Each file can be understood with those below it alone: values lie below what uses them."""
    graph = graph_of((one for one in IMPORTS if one.name != "tilejit"), by=lambda one: (name_of(one.file), one.name))
    graph.pop("tilejit")  # the door to all of it
    assert_no_more(CIRCLES, {pair(*one) for one in circles(graph)}, "CIRCLES")


def test_folders_form_no_circle():
    """Within a floor too, each folder can be understood with those below it alone."""
    graph = graph_of((one for one in IMPORTS if not is_door(one)), by=lambda one: (module_of(one.file), one.module))
    assert_no_more(FOLDER_CIRCLES, {pair(*one) for one in circles(graph)}, "FOLDER_CIRCLES")


def test_no_file_is_too_long():
    lines = {str(file.relative_to(SOURCE)): file.read_text("utf-8").count("\n") for file in FILES}
    assert_no_more(LONG, {name for name, count in lines.items() if count > LIMIT}, "LONG")


def assert_no_more(known, found, title):
    """What is found is known: what was not there before is wrong, and what is gone leaves the list."""
    new = [
        f"{one}: this was not so before, and {title} in test_floors.py only shrinks" for one in sorted(found - known)
    ]
    gone = [f"{one}: mended, take it out of {title} in test_floors.py" for one in sorted(known - found)]
    assert not new + gone, "\n".join(new + gone)


def graph_of(imports, by):
    """Name -> the names that it imports."""
    graph = {}
    for user, used in map(by, (one for one in imports if one.package == "tilejit")):
        graph.setdefault(user, set()).add(used)
    return graph


def circles(graph):
    """The imports that lie on a circle: from what is imported a way leads back."""

    def reached(start):
        seen, ahead = set(), [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead.extend(new)
        return seen

    way = {name: reached(name) for name in graph}
    return sorted((a, b) for a, used in graph.items() for b in used if a != b and a in way.get(b, ()))


def pair(user, used):
    return f"{user.removeprefix('tilejit.')} imports {used.removeprefix('tilejit.')}"


def name_of(file):
    return ".".join(["tilejit", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def test_shipped_kernels_stand_on_the_public_door():
    allowed = {"tilejit", "numpy", "math"}
    files = sorted(KERNELS.rglob("*.py"))
    assert files
    wrong = [str(one) for file in files for one in imports_of(file)
             if one.name not in allowed and not one.name.startswith(f"tilejit_kernels.{file.parent.name}.")]  # fmt: skip
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

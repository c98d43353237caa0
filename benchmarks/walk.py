"""The depth of the house: ``walk.py`` counts what ``slope(tj.open(a)).save(b)`` passes through, and what there is.

``--list`` names the files and modules. The slope is compiled before, and the process that is watched is a fresh one.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from terrain import write_terrain

SOURCE = Path(__file__).resolve().parents[1] / "src"
LIMIT = 350
WATCHED = """
import json, sys, threading
import tilejit as tj
from tilejit_kernels.terrain import slope

source, target = sys.argv[1:]
files = set()


def watch(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & 1:  # a function: bodies of modules and classes have no fast locals
        files.add(code.co_filename)


threading.setprofile(watch)
sys.setprofile(watch)
slope(tj.open(source)).save(target, overwrite=True)
sys.setprofile(None)
print(json.dumps([sorted(files), sorted(name for name in sys.modules if name.partition(".")[0] == "tilejit")]))
"""


@dataclass(frozen=True)
class Count:
    """One row: things counted by name, and how many there shall be."""

    what: str
    names: list[str]
    target: str
    number: int

    @classmethod
    def of(cls, what: str, names: list[str], target: str) -> Count:
        """Count names."""
        return cls(what, names, target, len(names))


def walked(size: int) -> tuple[list[str], list[str]]:
    """Files of ``src/`` whose functions ran from the opening to the finished file, and modules that were imported."""
    import tilejit

    home = Path(tilejit.__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        dem = Path(folder, "dem.tif")
        write_terrain(dem, size)
        for _ in range(2):  # the first compiles
            command = [sys.executable, "-c", WATCHED, dem, Path(folder, "slope.tif")]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise SystemExit(run.stderr)
    files, modules = json.loads(run.stdout.splitlines()[-1])
    ours = [str(Path(file).relative_to(home)) for file in files if Path(file).is_relative_to(home / "tilejit")]
    return sorted(ours), modules


def module_of(file: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def importers(files: list[Path]) -> dict[str, set[str]]:
    """Module -> the modules that import it, anywhere in them and for type checkers too."""
    modules = {module_of(file) for file in files}
    found: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # "from a import b" is a.b where that is a module.
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in inner]
            for name in modules.intersection(names) - {module_of(file)}:
                found[name].add(module_of(file))
    return found


def counts(size: int) -> list[Count]:
    """All rows of the table."""
    paths = sorted(SOURCE.rglob("*.py"))
    lines = {str(path.relative_to(SOURCE)): path.read_text("utf-8").count("\n") for path in paths}
    files, modules = walked(size)
    long = [f"{name} ({count})" for name, count in lines.items() if count > LIMIT]
    single = [f"{name} <- {next(iter(by))}" for name, by in sorted(importers(paths).items()) if len(by) == 1]
    return [
        Count.of("files with a function that the slope runs", files, "45"),
        Count.of("modules that it imports", modules, "80"),
        Count("lines under src/", [], "20,000", sum(lines.values())),
        Count("files under src/", [], "140", len(lines)),
        Count.of(f"files of more than {LIMIT} lines", long, "0"),
        Count.of("modules with exactly one importer", single, ""),
    ]


def main() -> None:
    """Prints the table, and with ``--list`` the names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the files and modules")
    parser.add_argument("--size", type=int, default=2048, help="rows and columns of the raster (2048)")
    arguments = parser.parse_args()
    table = counts(arguments.size)
    print(f"{'':44}{'today':>8}{'target':>8}")
    for row in table:
        print(f"{row.what:44}{row.number:>8,}{row.target:>8}")
    for row in table if arguments.list else []:
        if row.names:
            print("", f"{row.what}:", *(f"  {name}" for name in row.names), sep="\n")


if __name__ == "__main__":
    main()

"""What the README and docs/ show works: their Python runs, their commands too, and their links lead somewhere."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_geom

import tilejit as tj
from tilejit.cli import main
from tilejit.compiler.form.parameters import REQUIRED
from tilejit.kernel.zonal import ZonalKernel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALL = "pip install . && tilejit demo"
TEST = 'pip install ".[test]" && pytest'


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


WEST, SOUTH, EAST, NORTH = 500_300.0, 5_298_500.0, 501_500.0, 5_299_700.0
PARCEL = {
    "type": "Polygon",
    "coordinates": [[(WEST, SOUTH), (EAST, SOUTH), (EAST, NORTH), (WEST, NORTH), (WEST, SOUTH)]],
}
"""A square in the CRS of the rasters."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the rasters that the examples name; what they import is forgotten afterwards."""
    cells = np.add.outer(np.arange(60.0), 20 * np.arange(80.0)).astype(np.float32)
    for name, count in (("dem.tif", 1), ("scene.tif", 4)):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", height=60, width=80, count=count, dtype="float32", crs="EPSG:32633",
            transform=rasterio.Affine(30, 0, 500_000, 0, -30, 5_300_000),
        ) as file:  # fmt: skip
            file.write(np.stack([cells + k for k in range(count)]))
            box = transform_geom("EPSG:32633", "EPSG:4326", PARCEL)
    (tmp_path / "parcels.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": box}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


def compile_c(folder, page):
    """Builds what a page says in C, with the page's own command."""
    sources, commands = blocks(page, "c"), [b for b in blocks(page, "sh") if b.startswith("cc ")]
    if sources and shutil.which("cc") is None:
        pytest.skip("no C compiler: cc")
    for source, command in zip(sources, commands, strict=True):
        (folder / re.match(r"/\* (\w+\.c) \*/", source)[1]).write_text(source, encoding="utf-8")
        subprocess.run(shlex.split(command), cwd=folder, check=True)


def saved(folder, block):
    """Writes a block that begins with a file's name into that file; returns the module's name, or None."""
    name = re.match(r"# (\w+)\.py\n", block)
    if name is None:
        return None
    (folder / f"{name[1]}.py").write_text(block, encoding="utf-8")
    return name[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_python_runs(place, page, capsys):
    compile_c(place, page.read_text("utf-8"))
    for block in blocks(page.read_text("utf-8"), "python"):
        module = saved(place, block)
        if module is None:
            exec(compile(block, page.name, "exec"), {})  # noqa: S102 - the page's own text
            continue
        kernels = [v for v in vars(importlib.import_module(module)).values() if isinstance(v, tj.Kernel)]
        assert kernels
        for kernel in kernels:
            arrays = [np.ones((9, 9), r.dtype or np.float32) for r in kernel.rasters]
            grid = {s.name: 30.0 for s in kernel.scalars if s.quantity is not None}
            if isinstance(kernel, ZonalKernel):
                kernel(*arrays, zones=np.ones((9, 9), np.uint8), **grid).compute()
                continue
            required = {s.name: k + 1.0 for k, s in enumerate(kernel.scalars) if s.default is REQUIRED}
            if kernel.facts.reads_times:
                arrays = [
                    tj.stack([tj.from_array(a)] * 3, times=["2020-01-05", "2020-02-10", "2021-01-05"]) for a in arrays
                ]
            kernel(*arrays, **grid, **required)
    capsys.readouterr()


def test_the_commands_run(place, capsys):
    for block in blocks(README, "python"):
        if saved(place, block) is None:
            exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - the page's own text
    pytest.importorskip("pyogrio", reason="tables by polygons need the extra vector")
    commands = [line for block in blocks(README, "sh") for line in block.splitlines() if line.startswith("tilejit ")]
    assert len(commands) >= 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capsys.readouterr())
    with rasterio.open("steep.tif") as file:
        inner = file.read(1)[1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.degrees(np.arctan(np.hypot(20 / 30, 1 / 30))), rtol=1e-5)


def test_the_two_commands_are_what_ci_runs():
    shown = [block.strip() for block in blocks(README, "sh")]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    for command in (INSTALL, TEST):
        assert command in shown
        # Between the two parts of the second lint and types are checked, and its tests run on all cores.
        assert all(part in script for part in command.split(" && "))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_picture_is_small_enough_to_load():
    assert (ROOT / "docs" / "demo.png").stat().st_size < 1_000_000


def test_the_figures_have_their_place():
    for mark in ("benchmark", "peers"):
        assert README.index(f"<!-- {mark}:start -->") < README.index(f"<!-- {mark}:end -->")


def test_the_aspect_of_the_language_page(place):
    for block in blocks((ROOT / "docs" / "language.md").read_text("utf-8"), "python"):
        saved(place, block)
    falls_west = 30 * np.add.outer(np.zeros(3), np.arange(3.0)).astype(np.float32)
    slope, aspect = importlib.import_module("examples").slope_and_aspect(falls_west, dx=30, dy=30)
    assert (slope[1, 1], aspect[1, 1]) == (45, 270)


def test_the_tables_of_the_language_page(place):
    for block in blocks((ROOT / "docs" / "language.md").read_text("utf-8"), "python"):
        saved(place, block)
    lookups, smoothing = map(importlib.import_module, ("lookups", "smoothing"))
    classes = np.uint8([[0, 5, 3]])
    np.testing.assert_array_equal(lookups.albedo(classes, backend="python"), np.float32([[0.06, 0.8, 0.25]]))
    np.testing.assert_array_equal(lookups.reclassified(np.uint8([[22, 41, 1]]), backend="python"), [[2, 3, 0]])
    assert (lookups.openness.radius, smoothing.gaussian.radius) == ((4, 4), (3, 3))


def test_the_c_function_of_its_page(place):
    page = (ROOT / "docs" / "c-functions.md").read_text("utf-8")
    compile_c(place, page)
    for block in blocks(page, "python"):
        saved(place, block)
    cells = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    found = importlib.import_module("corrected").corrected(cells)
    np.testing.assert_allclose(found, cells**2.2, rtol=1e-6)


def test_the_language_page_lists_the_functions():
    from tilejit.compiler.form.form import MATH

    page = (ROOT / "docs" / "language.md").read_text("utf-8")
    listed = re.search(r"of `math` or `tj\.math`: `([a-z0-9 ]+)`", page)
    assert listed is not None
    assert listed[1].split() == sorted(MATH)


def test_the_architecture_names_what_is_there():
    source = ROOT / "src" / "tilejit"
    names = re.findall(r"`((?:arrays|backends|cli|comparison|compiler|engine|formats|kernel|raster|system)/[a-z_/]*)`",
                       (ROOT / "docs" / "architecture.md").read_text("utf-8"))  # fmt: skip
    assert len(names) > 20
    gone = [name for name in names if not (source / name).is_dir() and not (source / f"{name}.py").exists()]
    assert not gone

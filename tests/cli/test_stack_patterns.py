"""Stacks on the command line: which files a pattern names, in which order, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import read, write

from tilejit.cli import main
from tilejit.cli.inputs import files_of

pytestmark = pytest.mark.slow

KERNELS = """
import numpy as np
import tilejit as tj

@tj.local
def in_order(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total = 10 * total + t[k]
    return total

@tj.zonal(mean="mean", dates="max")
def of_first(t: tj.Stack):
    return t[0], len(t)

@tj.local
def of_three(z, t: tj.Stack, qa: tj.Stack[np.uint8]):
    return 100 * t[0] + qa[-1] + z
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with dates of two variables, each cell the number in its file's name, and kernels."""
    for k in (1, 2, 3, 4, 10):
        write(tmp_path / f"ndvi_{k}.tif", np.full((1, 30, 40), k, np.float32))
        write(tmp_path / f"qa_{k}.tif", np.full((1, 30, 40), k, np.uint8))
    write(tmp_path / "scene.tif", np.stack([np.full((30, 40), k, np.float32) for k in (1, 2, 3)]))
    (tmp_path / "mine.py").write_text(KERNELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


def result(*words):
    """The one value of what a run makes."""
    assert main(["run", f"mine.py:{words[0]}", *words[1:], "-o", "out.tif", "--overwrite", "-q"]) == 0
    return set(read("out.tif").ravel()).pop()


def test_files_are_in_natural_order_and_names_say_which_stack_is_which():
    assert result("in_order", "--stack", "ndvi_*.tif") == 12350  # 1, 2, 3, 4, 10
    assert result("in_order", "--stack", "t=ndvi_[23].tif") == 23
    assert result("in_order", "--stack", "scene.tif") == result("in_order", "scene.tif") == 123
    assert result("in_order", "--stack", "sc*.tif[2]") == 2
    stacks = ["--stack", "ndvi_*.tif", "--stack", "qa=qa_*.tif"]
    assert result("of_three", *stacks, "scene.tif[3]") == 113
    assert result("of_three", "ndvi_4.tif", *stacks) == 114
    assert result("of_three", "ndvi_4.tif", "--stack", "t=ndvi_*.tif", "--mask", "qa=qa_*.tif") == 114
    assert result("of_three", *stacks, "z=ndvi_4.tif") == 114


def test_files_with_dates_are_in_their_order():
    for number, date in enumerate(("b_2020-01-01", "a_2020-12-31", "c_20200115"), 1):
        write(Path(f"x_{date}.tif"), np.full((1, 30, 40), number, np.float32))
    assert result("in_order", "--stack", "x_*.tif") == 132


def test_what_a_pattern_names():
    Path("odd[2].tif").touch()
    assert files_of("odd[2].tif") == ["odd[2].tif"]
    assert files_of("/vsicurl/https://a.org/f.tif") == ["/vsicurl/https://a.org/f.tif"]
    for name in ("b_2.tif", "b_10.tif", "b_2a.tif", "b_010.tif", "c_1.tif"):
        Path(name).touch()
    assert files_of("[bc]_*.tif") == ["b_2.tif", "b_2a.tif", "b_010.tif", "b_10.tif", "c_1.tif"]


def test_a_plan_shows_layers_open_files_and_memory(capsys):
    assert main(["plan", "mine.py:in_order", "--stack", "ndvi_*.tif", "--no-time"]) == 0
    out = capsys.readouterr().out
    assert "in_order(stack of 5 dates)" in out
    assert "5 files, " in out
    assert "ndvi_1.tif to " in out
    assert "at most 5 of them open at once" in out
    assert "memory    " in out


def test_a_table_of_a_stack(capsys):
    write(Path("zones.tif"), np.full((1, 30, 40), 7, np.uint8))
    assert main(["zonal", "mine.py:of_first", "--stack", "ndvi_*.tif", "zones.tif", "-q"]) == 0
    assert capsys.readouterr().out == "zone,mean,dates\n7,1.0,5\n"


def test_a_name_of_a_series_and_of_a_table(capsys):
    write(Path("zones.tif"), np.full((1, 30, 40), 7, np.uint8))
    assert main(["zonal", "mean", "ndvi_4.tif", "zones.tif", "-q"]) == 0
    assert capsys.readouterr().out == "zone,mean\n7,4.0\n"
    assert main(["run", "mean", "--stack", "ndvi_*.tif", "-o", "mean.tif", "-q"]) == 0
    assert read("mean.tif")[0, 0, 0] == 4
    assert main(["show", "mean"]) == 1
    assert "'mean' is ambiguous: write series.mean or zonal.mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in_order", "--stack", "nothing_*.tif"], "--stack 'nothing_*.tif': no file is called so, seen from "),
        (["in_order", "--stack", "ndvi_1.tif", "ndvi_2.tif"], "takes t: write the pattern of a stack in quotes"),
        (["in_order", "--stack", "u=ndvi_*.tif"], "no input 'u'; in_order takes t"),
        (["in_order"], "input t is missing; in_order takes t: give --stack t='*.tif'"),
        (["of_three", "--stack", "z=ndvi_*.tif"], "input t, qa is missing"),
        (["of_three", "scene.tif[1]", "--stack", "ndvi_*.tif", "--stack", "qa_[12].tif"], "t has 5, qa has 2"),
    ],
)
def test_what_is_refused(capsys, words, said):
    assert main(["run", f"mine.py:{words[0]}", *words[1:], "-o", "out.tif"]) == 1
    assert said in capsys.readouterr().err
    assert not Path("out.tif").exists()


def test_a_plane_takes_no_stack(capsys):
    assert main(["run", "slope", "--stack", "ndvi_*.tif", "-o", "out.tif"]) == 1
    assert "slope takes one band as z, no stack: give z=FILE" in capsys.readouterr().err

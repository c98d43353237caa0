"""The command line: what it runs, and what it says when it cannot."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tilejit.cli import main
from tilejit.cli.commands import COMMANDS
from tilejit.cli.inputs import Input, parse_input
from tilejit.cli.runs import split_kernels

pytestmark = pytest.mark.slow

KERNELS = '''
import math
import numpy as np
import tilejit as tj

OFFSET = 1.5

@tj.local
def scaled(z, *, factor, shift=0.0, times=1, negate=False):
    """Scales."""
    value = z * factor * times + shift
    return -value if negate else value

@tj.local
def difference(low, high):
    return high - low

@tj.local
def both(z):
    return z, 2 * z

def plain(z):
    return z
'''


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a raster of one band, one of three bands, and kernels; the working folder."""
    write(tmp_path / "dem.tif", np.arange(70 * 90, dtype=np.float32).reshape(1, 70, 90))
    write(tmp_path / "rgb.tif", np.stack([np.full((70, 90), k, np.uint8) for k in (10, 20, 30)]))
    write(tmp_path / "odd[2].tif", np.full((1, 70, 90), 7, np.float32))
    (tmp_path / "mine.py").write_text(KERNELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


def write(path, array):
    count, height, width = array.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count, dtype=array.dtype,
                       crs="EPSG:32633",
                       transform=rasterio.Affine(30, 0, 500_000, 0, -30, 5_300_000)) as file:  # fmt: skip
        file.write(array)


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_run_writes_the_file_and_prints_the_report(capsys):
    assert main(["run", "slope", "dem.tif", "-o", "slope.tif"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"Mpx in .* s: ", out)
    assert "written   slope.tif" in out
    assert "backend   cpu: " in out
    assert not err
    assert np.isfinite(read("slope.tif")[0, 1:-1, 1:-1]).all()


def test_quiet_prints_nothing(capsys):
    assert main(["run", "slope", "dem.tif", "-o", "slope.tif", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_several_kernels_share_one_pass(capsys):
    words = ["run", "slope+hillshade", "dem.tif", "-o", "a.tif", "-o", "b.tif", "-p", "hillshade.azimuth=300"]
    assert main(words) == 0
    assert "1.00 of the raster" in capsys.readouterr().out
    assert main(["run", "hillshade", "dem.tif", "-o", "c.tif", "-p", "azimuth=300", "-q"]) == 0
    np.testing.assert_array_equal(read("b.tif"), read("c.tif"))


def test_kernels_with_different_inputs_share_them_by_name():
    words = ["run", "mine.py:difference+ndvi", "low=rgb.tif[1]", "high=rgb.tif[3]", "red=rgb.tif[1]",
             "nir=rgb.tif[3]", "-o", "a.tif", "-o", "b.tif"]  # fmt: skip
    assert main(words) == 0
    assert read("a.tif")[0, 0, 0] == 20
    assert read("b.tif")[0, 0, 0] == np.float32(0.5)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["rgb.tif[1]", "rgb.tif[3]"], 20),
        (["high=rgb.tif[1]", "low=rgb.tif[3]"], -20),
        (["high=rgb.tif[1]", "rgb.tif[2]"], -10),
    ],
)
def test_inputs_by_position_and_by_name(inputs, expected):
    assert main(["run", "mine.py:difference", *inputs, "-o", "out.tif"]) == 0
    assert read("out.tif")[0, 0, 0] == expected


def test_a_file_of_the_literal_name_wins():
    assert parse_input("odd[2].tif") == Input(None, "odd[2].tif", None)
    Path("z=odd.tif").touch()
    assert parse_input("z=odd.tif") == Input(None, "z=odd.tif", None)
    assert parse_input("z=odd[2].tif") == Input("z", "odd[2].tif", None)
    assert parse_input("z=odd[2].tif[1]") == Input("z", "odd[2].tif", 1)
    assert parse_input("/vsicurl/https://a.org/f.tif?x=1") == Input(None, "/vsicurl/https://a.org/f.tif?x=1", None)


def test_kernels_are_split_at_a_plus():
    Path("a+b.py").touch()
    assert split_kernels("slope+mine.py:both+ndvi") == ["slope", "mine.py:both", "ndvi"]
    assert split_kernels("a+b.py:k+ndvi") == ["a+b.py:k", "ndvi"]
    assert split_kernels("slope+a+b.py") == ["slope", "a+b.py"]


def test_parameters_are_typed():
    words = ["run", "mine.py:scaled", "rgb.tif[1]", "-o", "out.tif"]
    assert main([*words, "-p", "factor=0.5", "-p", "times=3", "-p", "negate=yes", "-p", "shift=1"]) == 0
    assert read("out.tif")[0, 0, 0] == -16


def test_a_tuple_makes_bands():
    assert main(["run", "mine.py:both", "dem.tif", "-o", "out.tif"]) == 0
    assert read("out.tif").shape == (2, 70, 90)


def test_options_reach_the_file():
    words = ["run", "mine.py:both", "dem.tif", "-o", "out.tif", "--nodata", "-1", "--tile", "140x90", "--workers", "2",
             "--backend", "cpu", "--memory", "2GB", "--profile", "compress=deflate,zlevel=6,tiled=no,blockysize=14",
             ]  # fmt: skip
    assert main(words) == 0
    with rasterio.open("out.tif") as file:
        assert file.nodata == -1
        assert file.compression.name == "deflate"
        assert file.block_shapes == [(14, 90)] * 2


def test_overwrite_replaces():
    words = ["run", "slope", "dem.tif", "-o", "out.tif", "-q"]
    assert main(words) == 0
    assert main([*words, "--overwrite"]) == 0


def test_plan_prints_and_writes_nothing(capsys):
    before = sorted(Path.cwd().iterdir())
    assert main(["plan", "slope+hillshade", "dem.tif", "-o", "a.tif", "-o", "b.tif"]) == 0
    out = capsys.readouterr().out
    for label in ("grid", "read", "compute", "write", "tiles", "memory", "backend"):
        assert re.search(rf"^{label} ", out, re.MULTILINE), label
    assert "halo 1" in out
    assert main(["plan", "slope", "dem.tif"]) == 0
    assert sorted(Path.cwd().iterdir()) == before


def test_list_has_a_line_for_each_kernel(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^terrain\.slope +focal +Slope in degrees.*\(z, \*, z_factor=Z_FACTOR, dx=GROUND_WIDTH, dy=GROUND_HEIGHT\)$",
        out,
        re.MULTILINE,
    )
    assert main(["list", "mine.py"]) == 0
    out = capsys.readouterr().out
    assert (
        re.sub(" +", " ", out.splitlines()[0])
        == "scaled local Scales. (z, *, factor, shift=0.0, times=1, negate=False)"
    )
    assert main(["list", "terrain"]) == 0
    assert "slope" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "njit"),
        (["--backend", "cuda"], "cuda"),
        (["--backend", "python"], "return"),
        (["--dtype", "int32"], "float64"),
        (["--dtype", "uint16,float32"], "(uint16, float32)"),
    ],
)
def test_show_prints_source(capsys, words, expected):
    assert main(["show", "ndvi", *words]) == 0
    assert expected in capsys.readouterr().out


def test_info_tells_of_everything(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    labels = "tilejit python packages cores memory gpu cache codecs kernels"
    for label in labels.split():
        assert re.search(rf"^{label} ", out, re.MULTILINE), label
    assert "cannot be told" not in out
    assert "DEFLATE" in out


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"tilejit \d+\.\d+\.\d+\n", capsys.readouterr().out)
    for name in ("run", "plan", "list", "show", "warm", "info", "demo"):
        assert main([name, "--help"]) == 0
        assert "Usage: tilejit" in capsys.readouterr().out


RUN = ["run", "slope", "dem.tif", "-o", "out.tif"]
MINE = ["run", "mine.py:scaled", "dem.tif", "-o", "out.tif"]

REFUSED = {
    "no input": (["run", "slope", "-o", "o.tif"], r"input z is missing; slope takes z: give z=FILE"),
    "missing file": (["run", "slope", "nope.tif", "-o", "o.tif"],
        r"nope\.tif: cannot be opened: .*no such file: check the path"),
    "not a raster": (["run", "slope", "mine.py", "-o", "o.tif"],
        r"mine\.py: cannot be opened: .*GDAL does not read it"),
    "near kernel": (["run", "slop", "dem.tif", "-o", "o.tif"], r"no kernel 'slop'; did you mean slope\?"),
    "far kernel": (["run", "qqqq", "dem.tif", "-o", "o.tif"], r"no kernel 'qqqq'; .*tilejit list shows all"),
    "missing kernel file": (["run", "min.py:scaled", "dem.tif", "-o", "o.tif"],
        r"no file min\.py; did you mean mine\.py\?"),
    "missing module": (["run", "no_such_module:x", "dem.tif", "-o", "o.tif"], r"no module 'no_such_module'"),
    "kernel not in file": (["run", "mine.py:scald", "dem.tif", "-o", "o.tif"],
        r"no kernel 'scald'; did you mean scaled\?"),
    "no kernel": (["run", "mine.py:plain", "dem.tif", "-o", "o.tif"],
        r"plain is a function, no kernel: put @tj\.local"),
    "several kernels": (["run", "mine.py", "dem.tif", "-o", "o.tif"], r"holds 3 kernels \(scaled, difference, both\)"),
    "unknown parameter": (["run", "hillshade", "dem.tif", "-o", "o.tif", "-p", "azimut=3"],
        r"no parameter 'azimut' \(did you mean azimuth\?\); hillshade takes azimuth, altitude"),
    "float parameter": ([*RUN, "-p", "dx=wide"], r"dx takes one float, not 'wide'"),
    "integer parameter": ([*MINE, "-p", "factor=1", "-p", "times=1.5"], r"times takes one integer, not '1\.5'"),
    "truth parameter": ([*MINE, "-p", "factor=1", "-p", "negate=maybe"], r"negate takes true or false, not 'maybe'"),
    "missing parameter": (MINE, r"scaled needs factor: give it as -p factor=…"),
    "unknown input": (["run", "slope", "dem=dem.tif", "-o", "o.tif"], r"no input 'dem'; slope takes z"),
    "missing input": (["run", "mine.py:difference", "dem.tif", "-o", "o.tif"],
        r"input high is missing; .*give high=FILE"),
    "input twice": (["run", "mine.py:difference", "low=dem.tif", "low=dem.tif", "-o", "o.tif"],
        r"input low is given twice"),
    "too many inputs": (["run", "slope", "dem.tif", "dem.tif", "-o", "o.tif"], r"2 inputs are given; slope takes z"),
    "band not chosen": (["run", "slope", "rgb.tif", "-o", "o.tif"],
        r"rgb\.tif has 3 bands, .*choose it, as 'rgb\.tif\[1\]'"),
    "no such band": (["run", "slope", "rgb.tif[4]", "-o", "o.tif"], r"rgb\.tif has bands 1 to 3, not 4"),
    "band 0": (["run", "slope", "rgb.tif[0]", "-o", "o.tif"], r"a band is a number from 1, as 'rgb\.tif\[1\]', not '0'"),
    "band of letters": (["run", "slope", "rgb.tif[red]", "-o", "o.tif"], r"a band is a number from 1, .*not 'red'"),
    "output exists": (["run", "slope", "dem.tif", "-o", "rgb.tif"], r"rgb\.tif: exists already: .*--overwrite"),
    "output is input": (["run", "slope", "dem.tif", "-o", "dem.tif", "--overwrite"], r"dem\.tif is an input"),
    "creation option": ([*RUN, "--profile", "compres=lzw"], r"COMPRES=lzw.*does not support creation option COMPRES"),
    "codec": ([*RUN, "--profile", "compress=zip"], r"(?i)zip"),
    "no folder": (["run", "slope", "dem.tif", "-o", "no/o.tif"], r"no/o\.tif: the folder .*no does not exist"),
    "not a tif": (["run", "slope", "dem.tif", "-o", "o.png"], r"o\.png: tilejit writes GeoTIFF"),
    "memory too small": ([*RUN, "--memory", "1MB"],
        r"(?s)needs at least .* of memory, and 1\.0 MB were given.*give more with --memory"),
    "dtype": (["show", "slope", "--dtype", "complex64"], r"'complex64' is no dtype of a raster"),
    "dtypes": (["show", "slope", "--dtype", "uint8,uint8"], r"2 dtypes for 1 input \(z\)"),
    "list a file": (["list", "nope.py"], r"no file nope\.py"),
    "demo folder": (["demo", "--size", "32", "--folder", "mine.py/x"], r"the folder cannot be made"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_told_in_one_line(place, capsys, case):
    words, pattern = REFUSED[case]
    before = {p.name: p.read_bytes() for p in place.glob("*.*")}
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("tilejit: ")
    assert "Traceback" not in err
    assert re.search(pattern, err), err
    assert {p.name: p.read_bytes() for p in place.glob("*.*")} == before


MISUSED = {
    "no command": (["rum"], r"no command 'rum'; did you mean run\?"),
    "unknown option": ([*RUN, "--tiles", "4"], r"(?i)no such option.*--tile"),
    "no output": (["run", "slope", "dem.tif"], r"Missing option '-o'"),
    "outputs": ([*RUN, "-o", "b.tif"], r"2 outputs for 1 kernel: give one -o for slope"),
    "kernels": (["run", "slope+tri", "dem.tif", "-o", "a.tif"], r"1 output for 2 kernels: give one -o for slope and tri"),
    "one output twice": (["run", "slope+hillshade", "dem.tif", "-o", "a.tif", "-o", "a.tif"], r"a name of its own"),
    "tile": ([*RUN, "--tile", "5y"], r"'5y' is no tile: write rows x columns, as 512x2048"),
    "tile of nothing": ([*RUN, "--tile", "0x512"], r"'0x512' is no tile"),
    "memory": ([*RUN, "--memory", "lots"], r"'lots' is no size of memory; write 2GB"),
    "workers": ([*RUN, "--workers", "0"], r"0 is not in the range"),
    "backend": ([*RUN, "--backend", "gpu"], r"'gpu' is not one of"),
    "nodata": ([*RUN, "--nodata", "low"], r"'low' is no number: write -9999"),
    "profile": ([*RUN, "--profile", "deflate"], r"'deflate': write option=value"),
    "parameter": ([*RUN, "-p", "dx"], r"'dx': write -p name=value"),
    "size": (["demo", "--size", "big"], r"'big' is not a valid integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSED)
def test_a_command_line_that_cannot_be_read_exits_with_2(capsys, case):
    words, pattern = MISUSED[case]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert re.search(pattern, err), err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody may write to, root neither")
def test_an_unwritable_folder_is_refused(capsys):
    assert main(["run", "slope", "dem.tif", "-o", "/proc/o.tif"]) == 1
    assert re.match(r"tilejit: /proc/o\.tif: .*cannot be (created|written)", capsys.readouterr().err)


BROKEN = {
    "typo": ("import tilejit as tj\n@tj.local\ndef f(z):\n    return zz + 1\n",
        r"typo\.py:4: f: .*\n.*return zz \+ 1\n +\^\^"),
    "offset": ("import tilejit as tj\n@tj.local\ndef f(z):\n    return z[0, 1]\n",
        r"offset\.py:4: .*\n.*return z\[0, 1\]\n +.*\^"),
    "syntax": ("def f(z:\n    return z\n", r"syntax\.py:1: .*\n.*def f\(z:\n.*\^"),
    "name": ("import tilejit as tj\nx = nothing\n",
        r"name\.py:2: importing .* NameError: name 'nothing' is not defined"),
    "imports": ("import no_such_thing\n", r"imports\.py:1: importing .*No module named 'no_such_thing'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_kernel_shows_its_line(place, capsys, name):
    text, pattern = BROKEN[name]
    (place / f"{name}.py").write_text(text, encoding="utf-8")
    assert main(["run", f"{name}.py:f", "dem.tif", "-o", "o.tif"]) == 1
    err = capsys.readouterr().err
    assert re.search(pattern, err), err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys):
    for words in (
        ["--debug", "run", "slope", "nope.tif", "-o", "o.tif"],
        ["run", "slope", "nope.tif", "-o", "o.tif", "--debug"],
    ):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert "SourceError" in err


def test_a_result_that_equals_nodata_is_told(capsys):
    assert main(["run", "mine.py:scaled", "dem.tif", "-p", "factor=1", "-o", "o.tif", "--nodata", "0", "-q"]) == 0
    assert "equals the nodata value" in capsys.readouterr().err


def test_dtype_nodata_and_edge_of_a_run(capsys):
    words = ["run", "slope+mine.py:scaled", "dem.tif", "-p", "factor=2", "-o", "a.tif", "-o", "b.tif", "-q"]
    assert main([*words, "--dtype", "int16", "--nodata", "none", "--edge", "nearest"]) == 0
    err = capsys.readouterr().err
    assert "warning: b.tif: " not in err
    with rasterio.open("a.tif") as slope, rasterio.open("b.tif") as scaled:
        assert (slope.dtypes, slope.nodata, scaled.dtypes, scaled.nodata) == (("int16",), None, ("int16",), None)
        assert (slope.read() > 0).all()
        np.testing.assert_array_equal(scaled.read(), read("dem.tif") * 2)
    assert main(["run", "mine.py:scaled", "dem.tif", "-p", "factor=100", "-o", "c.tif", "-q", "--dtype", "int16"]) == 0
    assert "warning: c.tif: 5972 values beyond its dtype became its nearest value: give a wider --dtype" in (
        capsys.readouterr().err
    )
    for more, message in (
        (["--edge", "mirror"], "'mirror' is no number: write nodata, nearest, reflect, wrap or a number"),
        (["--dtype", "words"], "--dtype 'words' is none that a raster holds"),
        (["--nodata", "nix"], "write -9999, 0 or nan, or none for an output without"),
        (["--edge", "wrap"], "scaled reads one pixel and has no edge"),
    ):
        assert main(["run", "mine.py:scaled", "dem.tif", "-p", "factor=1", "-o", "d.tif", *more]) != 0
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["o.tif", "o.vrt", "o.zarr"])
def test_nothing_but_ours_is_printed(place, capfd, name):
    """Neither Python's warnings, nor GDAL's own words and tifffile's, which go to the terminal where no log is kept."""
    write(place / "i8.tif", np.arange(64, dtype=np.int8).reshape(1, 8, 8))
    (place / "bytes.py").write_text(
        "import numpy as np\nimport tilejit as tj\n\n@tj.local\ndef same(z) -> np.int8:\n    return z\n",
        encoding="utf-8",
    )
    program = f"""if True:
        import sys
        from tilejit.cli import main
        sys.exit(main(["run", "bytes.py:same", "i8.tif", "-o", "{name}", "--nodata", "7", "-q"]))
    """
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    told = f"warning: {name}: 1 valid pixel got a result that equals the nodata value (7): give another with --nodata\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, "", told)
    assert capfd.readouterr() == ("", "")


def test_odd_files_are_read_without_a_word_of_gdals(test_data, capfd):
    names = ("minimum_tiff_tags_with_warning", "classictiff_one_block_byte", "second_image_width_above_32bit")
    for name in names:
        file = test_data / "odd_tiff" / f"gdal_gcore_{name}.tif"
        assert main(["run", "mine.py:scaled", f"{file}[1]", "-p", "factor=1", "-o", f"{name}.tif", "-q"]) == 0
    assert capfd.readouterr() == ("", "")


def test_warm_compiles_what_is_not_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    command = ["warm", "mine.py:scaled", "--dtypes", "uint64"]  # for which no other test has it in memory
    assert main(command) == 0
    assert re.fullmatch(r"mine.py:scaled  uint64  \d functions? in \d+\.\d s\n", capsys.readouterr().out)
    assert main(command) == 0
    assert capsys.readouterr().out == "mine.py:scaled  uint64  kept already\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_pages_are_tidy_at_80_columns(capsys, name):
    assert main([name, "--help"]) == 0
    text, _, options = capsys.readouterr().out.partition("Options:")
    assert options
    assert "\\b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"\S {3,}\S", text)


def test_python_m_works():
    run = subprocess.run([sys.executable, "-m", "tilejit", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("tilejit ")


def test_a_warm_run_does_without_numba(tmp_path):
    program = """if True:
        import sys
        from tilejit.cli import main
        assert main(["run", "slope", "dem.tif", "-o", sys.argv[1], "-q"]) == 0
        print(sorted({"numba", "scipy", "dask", "zarr", "distributed", "asyncio"} & set(sys.modules)))
    """
    runs = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / f"{k}.tif")], capture_output=True, text=True, check=True
        )
        for k in range(2)
    ]
    assert runs[1].stdout.strip() == "[]"


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m tilejit list | head -1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert not run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_ctrl_c_leaves_nothing(tmp_path, number, code):
    words = ["demo", "--size", "20000", "--folder", str(tmp_path / "demo")]
    with subprocess.Popen(
        [sys.executable, "-m", "tilejit", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        deadline = time.monotonic() + 60
        # Until the temporary file is there and grows: in the middle of the run.
        while not any(p.stat().st_size > 1 << 20 for p in tmp_path.glob("demo/.*.tif")):
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.02)
        start = time.monotonic()
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    assert run.returncode == code
    assert time.monotonic() - start < 10
    assert not list((tmp_path / "demo").iterdir())
    assert b"Traceback" not in err

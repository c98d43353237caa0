"""Programs without a terminal: standard output and error that are missing, closed, or lead nowhere."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from tilejit.system.program import all_open, is_open, is_terminal

pytestmark = pytest.mark.slow

PROGRAM = """
import io, sys
import numpy as np
import tilejit as tj
from tilejit.cli import main

@tj.local
def bytes_of(z) -> np.uint8:  # of which one is the nodata value, and that is warned of
    return z

def run(name, **options):
    raster = bytes_of(tj.open("dem.tif"))
    options |= {"backend": "python"}
    str(raster.plan(f"{name}.tif", **options))
    raster.save(f"{name}.tif", **options)
    raster.compute(progress=True, **options)
    code = main(["run", "program.py:bytes_of", "dem.tif", "-o", f"{name}-cli.tif", "--backend", "python"])
    codes = [main(words) for words in (["list"], ["show", "slope"], ["no-such-command"])]
    assert [code, *codes] == [0, 0, 0, 2]

if __name__ == "__main__":
    assert sys.stdout is sys.stderr is None
    run("none")
    run("processes", executor="processes", workers=1)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    sys.stdout.close()
    sys.stderr.close()
    run("closed")
    assert sys.stderr.closed
"""


def test_programs_without_standard_streams_do_all_that_others_do(tmp_path):
    cells = np.arange(64 * 64, dtype=np.float32).reshape(1, 64, 64) % 256
    with rasterio.open(tmp_path / "dem.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="float32",
                       crs="EPSG:32633", transform=Affine(30, 0, 5e5, 0, -30, 5e6)) as file:  # fmt: skip
        file.write(cells)
    (tmp_path / "program.py").write_text(PROGRAM)
    # No test could read why it failed on a stream that is closed: the shell's own is kept as number 3.
    words = ["sh", "-c", 'exec 3>&2 <&- >&- 2>&-; "$0" program.py || echo "exit code $?" >&3', sys.executable]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.stderr == ""
    for name in ("none", "none-cli", "processes", "processes-cli", "closed", "closed-cli"):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(), cells.astype(np.uint8))


def test_a_stream_is_open_where_something_takes_what_is_written():
    closed, (reader, writer) = io.StringIO(), os.pipe()
    closed.close()
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        assert [is_open(stream) for stream in (None, closed, io.StringIO(), pipe)] == [False, False, True, True]
        assert not any(map(is_terminal, (None, closed, io.StringIO(), pipe)))
        spare = os.dup(writer)
        os.close(writer)  # as a daemon does
        assert not is_open(pipe)
        os.dup2(spare, writer)
    os.close(spare)
    os.close(reader)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_is_written_to_a_missing_stream_goes_nowhere(monkeypatch, name):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    monkeypatch.setattr(sys, "stderr", other)
    monkeypatch.setattr(sys, name, None)
    with all_open():
        sys.stdout.write("1")
        sys.stderr.write("2")
    assert getattr(sys, name) is None
    assert other.getvalue() == ("2" if name == "stdout" else "1")

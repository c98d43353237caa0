import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

pytestmark = pytest.mark.slow

SWEEP = Path(__file__).parents[1] / "odd_tiff_sweep.py"
KERNELS = Path(__file__).parents[1] / "odd_tiff_kernels.py"
SOURCE = Path(__file__).resolve().parents[2] / "src"
MOST_MEGABYTES = 2048
"""The worst file is 65535 interleaved bands, whose block of 530 MB GDAL decodes and tilejit allows."""

HALF = "float16" if "float16" in rasterio.dtypes.dtype_fwd.values() else "float32"
"""What this rasterio reads floats of 16 bits as."""


def sweep(script, folder, count):
    """Outcome by file name; a file that kills the process is its own outcome, and the rest go on."""
    outcomes = {}
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    while len(outcomes) < count:
        done = subprocess.run(
            [sys.executable, str(script), str(folder), str(len(outcomes))],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=900,
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes |= {event["file"]: event for event in events if "file" in event}
        started = [event["start"] for event in events if "start" in event]
        if done.returncode != 0:
            assert started, done.stderr
            cause = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr
            outcomes[started[-1]] = {"outcome": "died", "detail": cause, "peak": 0}
    return outcomes


@pytest.fixture(scope="module")
def outcomes(test_data):
    pytest.importorskip("resource", reason="an address-space limit needs POSIX")
    folder = test_data / "odd_tiff"
    count = len(list(folder.iterdir()))
    return sweep(SWEEP, folder, count)


def test_every_file_gives_gdals_pixels_or_an_error(outcomes):
    """Each file is GDAL's own pixels in every window, or a SourceError or ReadError where GDAL fails too."""
    wrong = {
        name: f"{event['outcome']}: {event['detail']}"
        for name, event in outcomes.items()
        if event["outcome"] not in {"same", "refused", "partly unreadable"}
    }
    assert outcomes
    assert not wrong


def test_every_file_through_a_kernel(test_data):
    """From file to file: GDAL's own pixels plus one, within the plan's memory, or an error that names the file."""
    folder = test_data / "odd_tiff"
    outcomes = sweep(KERNELS, folder, len(list(folder.iterdir())))
    wrong = {
        n: f"{e['outcome']}: {e['detail']}" for n, e in outcomes.items() if e["outcome"] not in {"same", "refused"}
    }
    assert sum(e["outcome"] == "same" for e in outcomes.values()) > 80
    assert not wrong


def test_no_file_takes_the_memory_it_declares(outcomes):
    assert max(event["peak"] for event in outcomes.values()) < MOST_MEGABYTES


@pytest.mark.parametrize(
    ("name", "outcome", "detail"),
    [
        ("gdal_gcore_cfloat32.tif", "refused", "complex"),
        ("gdal_gcore_geomatrix.tif", "refused", "rotated"),
        ("gdal_gcore_unknown_compression.tif", "refused", "codec"),
        ("gdal_gcore_huge4GB.tif", "partly unreadable", "65535 rows x 65535 cols"),
        ("gdal_gcore_bigtiff_header_extract.tif", "partly unreadable", "100000 rows x 100000 cols"),
        ("rasterio_corrupt.tif", "partly unreadable", "3 of 6 windows"),
        ("gdal_gcore_float16.tif", "same", f"1 x {HALF}"),
        ("gdal_gcore_oddsize_1bit2b.tif", "same", "uint8"),
        ("gdal_gcore_test3_with_mask_1bit.tif", "same", "uint8"),
        ("gdal_gcore_nan32_nodata.tif", "same", "float32"),
    ],
)
def test_kinds_of_odd(outcomes, name, outcome, detail):
    assert outcomes[name]["outcome"] == outcome, outcomes[name]
    assert detail in outcomes[name]["detail"]

"""Read every file of a folder through tilejit and through rasterio alone, and say how they compare.

A damaged TIFF may crash GDAL, hang, or ask for all the memory, and pytest with it: `test_odd_tiff` runs this
as a process of its own, and again behind a file that killed it. It prints one JSON line per event.
"""

import json
import resource
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import rasterio

from tilejit.engine.pipeline.report import peak_memory
from tilejit.errors import ReadError, SourceError
from tilejit.formats.registry import open_source
from tilejit.window import Window, tiles

ADDRESS_SPACE = 6 << 30
SECONDS_PER_FILE = 60
MOST_CELLS = 1 << 20
MOST_WINDOWS = 256
OUR_REASONS = ("complex numbers", "rotated", "one storage block is")
"""What tilejit refuses and GDAL reads."""


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def open_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rasterio.open(path, sharing=False)


def windows_of(source):
    """Every row of blocks; of a giant, the first, middle and last windows of 1 Mpx at most."""
    height, width = source.grid.shape
    rows, cols = min(source.block[0], height), min(width, MOST_CELLS)
    rows = max(1, min(rows, MOST_CELLS // cols))
    if (height / rows) * (width / cols) <= MOST_WINDOWS:
        return list(tiles(height, width, rows, cols))
    places = [(0, 0), ((height - rows) // 2, (width - cols) // 2), (height - rows, width - cols)]
    return [Window(row, col, rows, cols) for row, col in places]


def wanted_cells(dataset, band, window):
    place = (window.row_off, window.row_end), (window.col_off, window.col_end)
    try:
        cells = dataset.read(band, window=place, masked=True)
    except rasterio.errors.RasterioIOError as error:
        return error
    return cells


def compare(source, dataset, band, window):  # noqa: PLR0911, each return is one way to differ
    """None where tilejit gives GDAL's pixels or its failure, or else what differs."""
    shape = (1, *window.shape)
    dtype = source.bands[band - 1].dtype
    floats, valid = np.empty(shape, np.float64), np.empty(shape, np.uint8)
    native, single = np.empty(shape, dtype), np.empty(shape, np.float32)
    try:
        source.read((band,), window, floats)
        source.read((band,), window, native, valid)
        source.read((band,), window, single)
        failed = None
    except ReadError as error:
        failed = error
    wanted = wanted_cells(dataset, band, window)
    if isinstance(wanted, Exception) or failed:
        agree = isinstance(wanted, Exception) and failed and source.name in str(failed)
        return "unreadable" if agree else f"tilejit: {failed}, rasterio: {wanted!r}"
    hidden = np.ma.getmaskarray(wanted)
    plain = wanted.data.astype(np.float64)
    hidden |= np.isnan(plain)
    if not np.array_equal(np.isnan(floats[0]), hidden) or not np.array_equal(np.isnan(single[0]), hidden):
        return "nodata differs"
    if not np.array_equal(floats[0][~hidden], plain[~hidden]):
        return "float values differ"
    if not np.array_equal(single[0][~hidden], plain.astype(np.float32)[~hidden]):
        return "float32 values differ"
    if dtype.kind != "f" and not np.array_equal(native[0], wanted.data):
        return "native values differ"
    if dtype.kind != "f" and not np.array_equal(valid[0] == 0, hidden):
        return "valid differs"
    return None


def sweep_file(path):
    try:
        source = open_source(path)
    except SourceError as error:
        ours = any(reason in str(error) for reason in OUR_REASONS)
        try:
            open_quietly(path).close()
        except rasterio.errors.RasterioIOError:
            ours = True
        good = ours and str(path) in str(error)
        return "refused" if good else "refused without reason", str(error)
    dataset = open_quietly(path)
    count = len(source.bands)
    bands = range(1, count + 1) if count <= 8 else (1, 2, count)
    found = [compare(source, dataset, band, window) for band in bands for window in windows_of(source)]
    bad = [each for each in found if each not in {None, "unreadable"}]
    if bad:
        return "differs", f"{len(bad)} of {len(found)} windows: {bad[0]}"
    unreadable = sum(each == "unreadable" for each in found)
    source.close()
    about = f"{source.grid}; {count} x {source.bands[0].dtype}, block {source.block}"
    return ("partly unreadable" if unreadable else "same"), f"{unreadable} of {len(found)} windows fail; {about}"


def main(folder, first, sweep):
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for path in sorted(Path(folder).iterdir())[first:]:
        say(start=path.name)
        signal.alarm(SECONDS_PER_FILE)
        try:
            outcome, detail = sweep(str(path))
        except Exception as error:  # noqa: BLE001
            outcome, detail = "raised", repr(error)
        peak = peak_memory() // 10**6  # not ru_maxrss: a child starts with the one of its parent
        say(file=path.name, outcome=outcome, detail=detail, peak=peak)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sweep_file)

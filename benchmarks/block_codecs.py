"""Mpx per CPU second of one thread that codes blocks, through GDAL and directly: ``benchmarks/block_codecs.py``.

Reading is `Source.read` of windows of 512 x 512, writing the bands of a new file; both include the file's bytes.
Everything is run in turns, and each figure is a median.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from terrain import PROFILE, fractal
from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.codecs.compression_level import MixedEncoder
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.registry import open_source
from tilejit.window import tiles

CODECS = {"ZSTD 1": ("ZSTD", 1), "DEFLATE 6": ("DEFLATE", 6), "LZW": ("LZW", None), "NONE": ("NONE", None)}
CELLS = {"float32": 3, "uint16": 2}
BLOCK = 512


def gdal_write(path: Path, cells: np.ndarray, compression: str, level: int | None, predictor: int) -> None:
    options = {"compress": compression, "predictor": predictor} if compression != "NONE" else {"compress": "NONE"}
    options |= {"zstd_level" if compression == "ZSTD" else "zlevel": level} if level else {}
    profile = {k: v for k, v in PROFILE.items() if k not in {"compress", "zstd_level", "num_threads"}}
    with rasterio.open(
        path, "w", **profile, **options, height=len(cells), width=cells.shape[1], count=1, dtype=cells.dtype.name
    ) as dataset:
        dataset.write(cells, 1)


def direct_write(path: Path, cells: np.ndarray, codec: BlockCodec, *, exact: bool = False) -> str:
    """The blocks alone: what a sink does for each, and no directory. Returns who encoded them."""
    mixed = None if exact else MixedEncoder(codec.compression, codec.level)
    with path.open("wb") as file:
        for row in range(0, len(cells), BLOCK):
            for col in range(0, cells.shape[1], BLOCK):
                block = np.ascontiguousarray(cells[row : row + BLOCK, col : col + BLOCK, np.newaxis])
                file.write(codec.encode(block, mixed.compress if mixed else None))
    return "" if mixed is None else mixed.summary()


def read(source) -> None:
    out = np.empty((1, BLOCK, BLOCK), source.bands[0].dtype)
    for window in tiles(*source.grid.shape, BLOCK, BLOCK):
        source.read((1,), window, out)


def cpu_seconds(function, *arguments) -> float:
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def measure(folder: Path, cells: np.ndarray, name: str, rounds: int) -> list[float]:
    """CPU seconds, medians: GDAL's write, ours as asked, ours as is, GDAL's read, ours; and bytes over GDAL's."""
    compression, level = CODECS[name]
    predictor = 1 if compression == "NONE" else CELLS[cells.dtype.name]
    codec = BlockCodec(compression, predictor, cells.dtype, 1, level)
    file = folder / "gdal.tif"
    gdal_write(file, cells, compression, level, predictor)
    gdal, direct = open_rasterio(file), open_source(file)
    if direct.storage.reader != "read directly":
        raise SystemExit(direct.storage.reader)
    read(direct)
    codec.encode(np.ascontiguousarray(cells[:BLOCK, :BLOCK, np.newaxis]))
    jobs = [
        (gdal_write, folder / "again.tif", cells, compression, level, predictor),
        (functools.partial(direct_write, exact=True), folder / "exact", cells, codec),
        (direct_write, folder / "blocks", cells, codec),
        (read, gdal),
        (read, direct),
    ]
    times = [[cpu_seconds(*job) for job in jobs] for _ in range(rounds)]
    gdal.close()
    direct.close()
    sizes = (folder / "blocks").stat().st_size / file.stat().st_size
    return [*(statistics.median(column) for column in zip(*times, strict=True)), sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pattern = fractal(2048)
    copies = -(-arguments.size // len(pattern))
    terrain = np.tile(pattern, (copies, copies))[: arguments.size, : arguments.size]
    print("| cells | codec | GDAL writes | direct, as asked | direct | ratio | bytes | GDAL reads | direct | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in CELLS:
            cells = np.ascontiguousarray(terrain if kind == "float32" else (terrain * 10)).astype(kind)
            for name in CODECS:
                *times, size = measure(Path(folder), cells, name, arguments.rounds)
                a, asked, b, c, d = (cells.size / 1e6 / seconds for seconds in times)
                write = f"{a:.0f} | {asked:.0f} | {b:.0f} | {b / a:.1f} | {size:.3f}"
                print(f"| {kind} | {name} | {write} | {c:.0f} | {d:.0f} | {d / c:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""The CUDA backend on the card that is there: ``python benchmarks/gpu.py`` prints a table and writes JSON.

Kernels on data that stay on the card, against its own copy; the bus, from pinned and from pageable memory; what a
launch and a compilation cost; and tiles through the backend as a run has them, from host memory to host memory in
several threads. ``--tiny`` goes through all of it in Numba's simulator (it sets NUMBA_ENABLE_CUDASIM=1), to see that it
works; its figures go nowhere. ``python tests/cuda_simulator_run.py`` compares every kernel on the card with its body.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__" and "--tiny" in sys.argv:
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import tilejit as tj
from tilejit.backends import simulating
from tilejit.backends.cpu import CpuBackend
from tilejit.backends.cuda import BLOCK, CudaBackend, load_launch
from tilejit.backends.cuda_device import numba_cuda
from tilejit_kernels.filters import mean_5x5, median_3x3
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import slope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tilejit.compiler.form.kinds import Signature
    from tilejit.kernel.kernel import Kernel

HERE = Path(__file__).parent
FLOAT32 = np.dtype(np.float32)


@tj.local
def iterate(x):
    """64 steps of a quadratic map on each pixel: all arithmetic, no memory."""
    for _ in range(64):
        x = x * x * 0.5 - 0.4
    return x


@dataclass(frozen=True)
class Case:
    """A kernel and the dtype of its inputs."""

    name: str
    """What the table calls it."""
    kernel: Kernel
    """The kernel."""
    dtype: np.dtype = FLOAT32
    """The dtype of its rasters."""
    scale: float = 1000.0
    """About how large its inputs are."""

    @property
    def signature(self) -> Signature:
        """What it is compiled for."""
        return self.kernel.signature([self.dtype] * len(self.kernel.rasters))

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes that are read and written for a pixel, each once."""
        return self.dtype.itemsize * len(self.kernel.rasters) + sum(d.itemsize for d in self.signature.outputs)

    def inputs(self, size: int) -> list[np.ndarray]:
        """Padded rasters: a rolling surface, with a hole."""
        rows, cols = self.kernel.radius
        shape = (size + 2 * rows, size + 2 * cols)
        y, x = np.ogrid[: shape[0], : shape[1]]
        arrays = []
        for k in range(len(self.kernel.rasters)):
            surface = (self.scale * (0.5 + 0.1 * (k + 1) * np.sin(x / 37) * np.cos(y / 53))).astype(self.dtype)
            if self.dtype.kind == "f":
                surface[: size // 8, : size // 8] = np.nan
            arrays.append(surface)
        return arrays

    def scalars(self, size: int) -> list[Any]:
        """Parameters: 30 for what the grid gives by row or column, otherwise the default."""
        compute = self.signature.compute.type
        return [
            np.full(size, 30, self.signature.compute) if s.quantity is not None else compute(s.default)
            for s in self.kernel.scalars
        ]


CASES = (
    Case("slope", slope),
    Case("ndvi", ndvi),
    Case("ndvi uint16", ndvi, np.dtype(np.uint16)),
    Case("median 3x3", median_3x3),
    Case("mean of valid 5x5", mean_5x5),
    Case("64 steps", iterate, scale=1.0),
)


def seconds(work: Callable[[Any], None], rounds: int) -> float:
    """Median time of what ``work`` queues on a stream, by events on the card."""
    cuda = numba_cuda()
    stream = cuda.stream()
    times = []
    for _ in range(rounds + 2):
        if simulating():
            start = time.perf_counter()
            work(stream)
            times.append(time.perf_counter() - start)
            continue
        before, after = cuda.event(), cuda.event()
        before.record(stream)
        work(stream)
        after.record(stream)
        after.synchronize()
        times.append(cuda.event_elapsed_time(before, after) / 1e3)
    return statistics.median(times[2:])


def copy_rate(size: int, rounds: int) -> float:
    """Bytes a second, read and written, of a copy within the card."""
    cuda = numba_cuda()
    first, second = (cuda.device_array((size, size), np.float32) for _ in range(2))
    return 8 * size * size / seconds(lambda s: second.copy_to_device(first, stream=s), rounds)


def resident(size: int, rounds: int, rate: float) -> Iterator[dict[str, Any]]:
    """Kernels on data that are on the card already."""
    cuda = numba_cuda()
    grid = (-(-size // BLOCK[0]), -(-size // BLOCK[1]))
    for case in CASES:
        launch = load_launch(case.kernel, case.signature)
        inputs = [cuda.to_device(a) for a in case.inputs(size)]
        outputs = [cuda.device_array((size, size), d) for d in case.signature.outputs]
        scalars = [cuda.to_device(s) if isinstance(s, np.ndarray) else s for s in case.scalars(size)]
        arguments = [*inputs, *outputs, *(d.type(np.nan) for d in case.signature.outputs), *scalars]
        taken = seconds(lambda s, k=launch, a=arguments: k[grid, BLOCK, s](*a), rounds)  # type: ignore[misc]
        pixels = size * size / taken
        yield {
            "case": case.name,
            "gpx_s": pixels / 1e9,
            "of_copy": pixels * case.bytes_per_pixel / rate,
            "registers": None if simulating() else next(iter(launch.get_regs_per_thread().values())),
        }


def bus(megabytes: int, rounds: int) -> list[dict[str, Any]]:
    """The way to the card and back, from memory that it can and cannot read by itself."""
    cuda = numba_cuda()
    count = megabytes << 18
    device = cuda.device_array(count, np.float32)
    rows = []
    for kind, host in (("pinned", cuda.pinned_array(count, np.float32)), ("pageable", np.empty(count, np.float32))):
        host[:] = 1
        to, back = (
            4 * count / seconds(work, rounds) / 1e9
            for work in (
                lambda s, h=host: device.copy_to_device(h, stream=s),
                lambda s, h=host: device.copy_to_host(h, stream=s),
            )
        )
        rows.append({"memory": kind, "megabytes": megabytes, "to_gb_s": to, "back_gb_s": back})
    return rows


def launch_cost(rounds: int) -> dict[str, float]:
    """Microseconds of a launch alone, and of a whole 8x8 tile through the backend."""
    cuda, case, size = numba_cuda(), CASES[1], 8
    function, tile = load_launch(case.kernel, case.signature), CudaBackend().compile(case.kernel, case.signature)
    host, outputs, scalars = case.inputs(size), [np.empty((size, size), np.float32)], case.scalars(size)
    nodata = [np.float32(np.nan)]
    arguments = [*map(cuda.to_device, host), cuda.device_array((size, size), np.float32), *nodata, *scalars]
    configured = function[(1, 1), BLOCK, cuda.stream()]
    results = {}
    for name, work in (
        ("launch", lambda: configured(*arguments)),
        ("tile", lambda: tile(host, outputs, nodata, scalars)),
    ):
        work()
        cuda.synchronize()
        start = time.perf_counter()
        for _ in range(rounds):
            work()
        results[f"{name}_us"] = (time.perf_counter() - start) / rounds * 1e6
        cuda.synchronize()
    return results


_FIRST_TILE = """
import time
start = time.perf_counter()
import sys
sys.path.insert(0, {here!r})
from gpu import CASES, CudaBackend, np
case = CASES[0]
imported = time.perf_counter()
launch = CudaBackend().compile(case.kernel, case.signature)
launch(case.inputs(8), [np.empty((8, 8), np.float32)], [np.float32(np.nan)], case.scalars(8))
print(imported - start, time.perf_counter() - imported)
"""


def compilation() -> list[dict[str, Any]]:
    """Seconds to the first tile of a slope in a fresh process, with an empty cache and with a full one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-c", _FIRST_TILE.format(here=str(HERE))],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "TILEJIT_CACHE_DIR": folder},
            )
            imported, first = map(float, done.stdout.split())
            rows.append({"cache": cache, "import_s": imported, "first_tile_s": first})
    return rows


def streamed(case: Case, tile: int, threads: int, memory: str, tiles: int) -> dict[str, Any]:
    """Tiles through the backend, from host memory to host memory."""
    backend = CudaBackend()
    launch = backend.compile(case.kernel, case.signature)
    scalars, nodata = case.scalars(tile), [d.type(np.nan) for d in case.signature.outputs]
    count = max(1, tiles // threads)
    barrier = threading.Barrier(threads + 1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            inputs, outputs = case.inputs(tile), [np.empty((tile, tile), d) for d in case.signature.outputs]
            if memory == "pinned":
                pageable, inputs = inputs, [backend.host_array(a.shape, a.dtype) for a in inputs]
                for array, source in zip(inputs, pageable, strict=True):
                    array[...] = source
                outputs = [backend.host_array(o.shape, o.dtype) for o in outputs]
            launch(inputs, outputs, nodata, scalars)
            barrier.wait()
            for _ in range(count):
                launch(inputs, outputs, nodata, scalars)
            barrier.wait()
        except BaseException as error:  # the main thread waits at the barrier
            errors.append(error)
            barrier.abort()
            raise

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        barrier.wait()
        start = time.perf_counter()
        barrier.wait()
        taken = time.perf_counter() - start
    except threading.BrokenBarrierError as broken:
        raise errors[0] from broken
    for worker in workers:
        worker.join()
    pixels = count * threads * tile * tile
    return {
        "case": case.name,
        "tile": tile,
        "threads": threads,
        "memory": memory,
        "gpx_s": pixels / taken / 1e9,
        "bus_gb_s": pixels * case.bytes_per_pixel / taken / 1e9,
    }


def distances(size: int) -> Iterator[dict[str, Any]]:
    """How far the card is from the CPU, in epsilons of the largest result."""
    for case in CASES:
        results = []
        for backend in (CudaBackend(), CpuBackend()):
            outputs = [np.empty((size, size), d) for d in case.signature.outputs]
            nodata = [d.type(np.nan) for d in case.signature.outputs]
            backend.compile(case.kernel, case.signature)(case.inputs(size), outputs, nodata, case.scalars(size))
            results.append(outputs[0].astype(np.float64))
        card, cpu = results
        off = float(np.nanmax(np.abs(card - cpu)) / np.nanmax(np.abs(cpu)) / np.finfo(np.float32).eps)
        yield {"case": case.name, "epsilons": off, "same_nodata": bool((np.isnan(card) == np.isnan(cpu)).all())}


def measure(*, tiny: bool) -> dict[str, Any]:
    """Everything, one after the other."""
    size, rounds = (24, 1) if tiny else (16384, 20)
    rate = copy_rate(size, rounds)
    tiles = ((16, 3),) if tiny else ((1024, 512), (2048, 128), (4096, 48))
    threads = (1, 2) if tiny else (1, 2, 3, 4, 6, 8)
    return {
        "device": asdict(CudaBackend().device()),
        "copy_gb_s": rate / 1e9,
        "distance": [*distances(size if tiny else 1024)],
        "resident": [*resident(size, rounds, rate)],
        "bus": [row for mb in ((1,) if tiny else (4, 16, 64, 256)) for row in bus(mb, rounds)],
        "launch": launch_cost(2 if tiny else 2000),
        "compilation": compilation(),
        "streamed": [
            streamed(case, tile, n, memory, count)
            for case in CASES[:: 3 if tiny else 1][:5]
            for tile, count in tiles
            for memory in ("pinned", "pageable")
            for n in threads
        ],
    }


def table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    """Rows as a Markdown table."""

    def text(value: object) -> str:
        return f"{value:,.3g}" if isinstance(value, float) else str(value)

    lines = [f"\n{title}\n", f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return lines + [f"| {' | '.join(map(text, row.values()))} |" for row in rows]


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a few pixels in the simulator; write nothing")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from run import machine

    problem = CudaBackend().why_not()
    if problem is not None:
        sys.exit(f"nothing to measure: {problem}")
    results = measure(tiny=arguments.tiny)
    about = {**machine(), "gpu": str(CudaBackend().device())}
    print(", ".join(f"{k} {v}" for k, v in about.items()))
    print(
        f"copy within the card: {results['copy_gb_s']:,.0f} GB/s; a launch {results['launch']['launch_us']:.1f} us, "
        f"an 8x8 tile {results['launch']['tile_us']:.0f} us"
    )
    for title in ("distance", "resident", "bus", "compilation", "streamed"):
        print("\n".join(table(title, results[title])))
    if arguments.tiny:
        return
    report = {"date": time.strftime("%Y-%m-%d"), "machine": about, **results}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

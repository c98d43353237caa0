"""Kernels from the literature beside the same loops by hand under Numba: what compiling takes, and what a run takes.

``python benchmarks/language/run.py [--small] [--dtype float32] [KERNEL…]``: CPU seconds of compiling, the kernel's from
its text on, each in a process of its own in which Numba has compiled something before; and core seconds of a tile,
medians of rounds that take turns to begin. Results are compared. Under 1 is better: tilejit's time over Numba's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time

import loops
import numba
import numpy as np

import kernels
from tilejit.backends import get_backend
from tilejit.backends.cpu import launch_facts
from tilejit.compiler.jit.object_compiler import compile_text

OPTIONS = {"error_model": "numpy", "nogil": True}
NAMES = [name for name, value in vars(loops).items() if callable(value) and value.__module__ == "loops"]
SCALE = {"reclassified": 63.0, "logistic_map": 4.0, "cos_incidence": 90.0, "mandelbrot": 1.5}


def rasters_of(name, size, dtype):
    """What a kernel is given: numbers from 0 to 1, or so many; integers where it is annotated so."""
    rng, kernel = np.random.default_rng(7), getattr(kernels, name)
    most = {"qa_bits": 1024, "majority": 8}.get(name, 256)
    return [
        rng.integers(0, most, size).astype(r.dtype) if r.dtype is not None
        else (SCALE.get(name, 1.0) * rng.random(size)).astype(dtype)
        for r in kernel.rasters
    ]  # fmt: skip


def job(name, size, dtype):
    """The kernel, its signature, its inputs and its scalars."""
    kernel = getattr(kernels, name)
    given = rasters_of(name, size, dtype)
    signature = kernel.signature([a.dtype for a in given])
    number = {"float": dtype, "integer": np.int64}
    scalars = [np.dtype(number.get(str(s.kind), dtype)).type(s.default) for s in kernel.scalars]
    return kernel, signature, given, scalars


def outputs_of(signature, shape):
    return [np.zeros(shape, dtype) for dtype in signature.outputs]


def own_compile(name, dtype):
    kernel, signature, *_ = job(name, (64, 64), dtype)
    text = get_backend("cpu").source(kernel, signature)
    compile_text(text, "measured", "tile", launch_facts(kernel, signature, "tile").types)


def loop_of(name, dtype):
    _, signature, given, scalars = job(name, (64, 64), dtype)
    arguments = tuple(map(numba.typeof, (*given, *outputs_of(signature, (64, 64)), *scalars)))
    compiled = numba.njit(**OPTIONS)(getattr(loops, name))
    compiled.compile(arguments)
    return compiled


def seconds_of(call, *arguments):
    """CPU seconds of a call in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        start = time.process_time()
        call(*arguments)
        os.write(writing, json.dumps(time.process_time() - start).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        seconds = json.loads(told.read())
    os.waitpid(child, 0)
    return seconds


def runs_of(name, size, rounds, dtype):
    """Medians of the seconds of both, after their results were compared."""
    kernel, signature, given, scalars = job(name, size, dtype)
    launch = get_backend("cpu").compile(kernel, signature)
    rows, cols = kernel.radius
    high, wide = size[0] - 2 * rows, size[1] - 2 * cols
    arrays = []
    for raster, array in zip(kernel.rasters, given, strict=True):
        arrays += [array, np.ones(array.shape, np.uint8)] if raster.dtype is not None else [array]
    # Both write to the same memory: where it lies to that of the inputs makes up to 10 % of the time.
    by_hand = outputs_of(signature, size)
    own = [array[rows : rows + high] for array in by_hand]
    nodata = [d.type(np.nan if d.kind == "f" else 0) for d in signature.outputs]
    loop = loop_of(name, dtype)

    def ours():
        launch(arrays, own, nodata, scalars)

    def theirs():
        loop(*given, *by_hand, *scalars)

    ours()
    results = [array[:, :wide].astype(float) for array in own]
    theirs()
    worst = 0.0
    for a, b in zip(results, own, strict=True):
        worst = max(worst, float(np.max(np.abs(a - b[:, cols : cols + wide]))))
    times = [], []
    pairs = list(zip(times, (ours, theirs), strict=True))
    for k in range(rounds):
        for taken, call in pairs[:: -1 if k % 2 else 1]:
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
    return *map(statistics.median, times), worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--small", action="store_true", help="a size that says nothing of speed")
    parser.add_argument("--dtype", default="float64", help="what floats are stored in")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    size, rounds = ((48, 56), 1) if options.small else ((1000, 1000), options.rounds)
    numba.njit(lambda z: z.sum() + z[0, 0] // 2 + np.sqrt(z[1, 1]))(np.ones((3, 3), options.dtype))
    own_compile("eroded", options.dtype)
    print("| kernel | compile, tilejit | Numba | ratio | run, tilejit | Numba | ratio | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.names or NAMES:
        compiling = ["-"] * 3
        if not options.no_compile:
            both = [
                [seconds_of(call, name, options.dtype) for call in (own_compile, loop_of)]
                for _ in range(1 if options.small else 3)
            ]
            own, other = (min(one) for one in zip(*both, strict=True))
            compiling = [f"{own:.2f} s", f"{other:.2f} s", f"{own / other:.2f}"]
        running = ["-"] * 4
        if not options.no_run:
            mine, theirs, worst = runs_of(name, size, rounds, options.dtype)
            running = [f"{1e3 * mine:.1f} ms", f"{1e3 * theirs:.1f} ms", f"{mine / theirs:.2f}", f"{worst:.1e}"]
        print(f"| {name} | {' | '.join([*compiling, *running])} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())

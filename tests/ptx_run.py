"""Compiles every n-th kernel to PTX for each compute capability, assembles it, and prints the reports as JSON.

Numba makes the same of a kernel for every capability, which is nine tenths of the time; NVVM alone is told which it is. So
Numba compiles a kernel once here, and a few of them once for each, to see that it is so.
A process of its own: numba-cuda warns as it is imported, and its compiler is patched to do without a device.
"""

import dataclasses
import gc
import json
import re
import sys

import numpy as np

import tilejit as tj
from array_kernels import best_pixel, grown, rewritten, whole
from date_kernels import smoothed
from oracles import SINGLE
from ptx import assemble, compile_ptx
from tilejit.backends.cuda_device import numba_cuda, part
from tilejit.compiler.emitter.module import math_used


@tj.local(fast=True)
def fast_sine(z):
    return tj.math.sin(z)


@tj.local
def precise_sine(z):
    return tj.math.sin(z)


@tj.local
def power(z):
    return abs(z) ** 1.7


@tj.local
def halvings(z, *, limit=64):
    n = 0
    while z > 1.0 and n < limit:
        z = z * 0.5
        n += 1
    return n


@tj.focal
def largest_7x7(z):
    most = z[-3, -3]
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            most = max(most, z[dy, dx])
    return most


@tj.focal(radius=3)
def moved(z, *, down=0, right=0):
    return z[down, right]


@tj.local
def several(qa: np.uint16, z, *, row=tj.ROW, x=tj.GROUND_WIDTH) -> tuple[np.uint8, np.float32, np.int16]:
    return qa & 3, z * x, row + z


@tj.local
def of_numpy(a, b):
    q, r = divmod(a, 3.0)
    bounded = np.clip(a, -5, np.maximum(b, 0.0)) + np.fmin(a, b) + np.where(a > b, a, 2) + np.square(b)
    rounded = np.floor(a) + np.trunc(b) + np.float32(a * 0.1)
    return bounded, rounded, q * r


@tj.focal
def roughness(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total += (t[k, 0, 1] - t[k, 0, -1]) * t.time[k] + t.month[k]
    return total


@tj.local
def located(z, *, x=tj.X) -> np.float32:
    return z * x


WEIGHTS = tuple(1 / (k + 1) for k in range(40))
LARGE = tuple(range(40_000))


@tj.local
def weighted(z):
    return z * WEIGHTS[int(z)] + LARGE[int(z)]


OTHERS = {
    k.name: (k, "float32")
    for k in (
        fast_sine,
        precise_sine,
        power,
        halvings,
        largest_7x7,
        moved,
        several,
        of_numpy,
        rewritten,
        whole,
        grown,
        roughness,
        located,
        best_pixel.taking(6),
        smoothed.for_layers([6]),
        weighted,
    )
}
TYPED = {f"{name} {dtype}": (SINGLE[name].kernel, dtype)
         for name in ("ndvi", "slope") for dtype in ("uint8", "int16", "uint16", "int32", "float64")}  # fmt: skip
CASES = {**{name: (o.kernel, "float32") for name, o in SINGLE.items()}, **OTHERS, **TYPED}


CAPABILITIES = ("8 0", "9 0")
"""A100; H100 and H200."""
WHOLE = ("several", "aspect", "halvings")
"""Cases that Numba compiles for each."""


def signature_of(kernel, dtype):
    inputs = [np.dtype(dtype) if r.dtype is None else r.dtype for r in kernel.rasters]
    return kernel.signature(inputs)


def asked_cells(kernel, dtype):
    """How many cells are asked whether they are NaN, which integers never are."""
    if np.dtype(dtype).kind != "f":
        return 0
    return sum(len(kernel.checked_cells.get(r.name, ())) for r in kernel.rasters if r.dtype is None)


def expected_loads(kernel, dtype):
    """One for each cell of a float, two (with its validity) of an integer, one for each value by row or column.

    Of an array of integers the cell that a slope is only asked for, its own, is not loaded.
    """
    cells = sum(len(kernel.form.footprint[r.name]) * (1 if r.dtype is None else 2) for r in kernel.rasters)
    if np.dtype(dtype).kind != "f":
        cells -= asked_cells(kernel, "float32")
    return cells + sum(s.quantity is not None and s.quantity.axis != "grid" and not s.quantity.is_index
                       for s in kernel.scalars)  # fmt: skip


def compiled(kernel, dtype):
    """The PTX of a kernel for each capability."""
    numba_cuda()
    nvvm, calls = part("cudadrv.nvvm"), []
    real = nvvm.compile_ir

    def compile_ir(modules, **options):
        calls.append((modules, options))
        return real(modules, **options)

    nvvm.compile_ir = compile_ir
    try:
        first = compile_ptx(kernel, signature_of(kernel, dtype), numbers(CAPABILITIES[0]))
    finally:
        nvvm.compile_ir = real
    ((modules, options),) = calls
    texts = {CAPABILITIES[0]: first}
    for name in CAPABILITIES[1:]:
        arch = part("cudadrv.nvrtc").get_arch_option(*numbers(name))
        texts[name] = real(modules, **{**options, "arch": arch}).decode().strip("\0").strip()
    return texts


def numbers(capability):
    return tuple(map(int, capability.split()))


def report(kernel, dtype, ptx, compute_capability):
    assembled = assemble(ptx, compute_capability)
    if kernel.name in WHOLE and compute_capability != numbers(CAPABILITIES[0]):
        whole = assemble(compile_ptx(kernel, signature_of(kernel, dtype), compute_capability), compute_capability)
        if whole != assembled:
            raise AssertionError(f"{kernel.name} for {compute_capability}: {whole}, {assembled} from what Numba made")
    return {
        **dataclasses.asdict(assembled),
        "expected_loads": expected_loads(kernel, dtype),
        "math": sorted(math_used(kernel.form)),
        "integers": any(r.dtype is not None for r in kernel.rasters),
        "asks_nan": asked_cells(kernel, dtype) > 0,
        "nan_tests": len(re.findall(r"setp\.(?:nan|num)\.", ptx)),
        "crude_sines": ptx.count("sin.approx"),
    }


def reports(kernel, dtype):
    return {name: report(kernel, dtype, ptx, numbers(name)) for name, ptx in compiled(kernel, dtype).items()}


def main():
    first, step = map(int, sys.argv[1:])
    gc.disable()  # which takes a sixth of Numba's time, and finds little
    found = {name: reports(*CASES[name]) for name in list(CASES)[first::step]}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()

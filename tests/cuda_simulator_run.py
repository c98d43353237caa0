"""Runs kernels in Numba's CUDA simulator and on the python backend, and prints how far apart they are, as JSON.

A process of its own: NUMBA_ENABLE_CUDASIM is read when Numba is imported, and changes it for good. With the argument
``built-in`` the simulator is the one in Numba, otherwise numba-cuda's where it is installed.
"""

import json
import math
import sys
import threading
import time

import numpy as np

import array_kernels
import date_kernels
import tilejit as tj
from oracles import SINGLE, punched
from tilejit.backends import cuda, get_backend

SHAPE = (8, 12)
# Each thread of a block is one of Python's here: small blocks leave few idle, and there are several both ways.
cuda.BLOCK = (8, 4)


@tj.local
def while_break(z, *, limit=40):
    steps = 0
    value = z
    while True:
        value = value * 0.5 + 1.0
        steps += 1
        if value < 2.5:
            break
        if steps % 3 == 0:
            continue
        if steps >= limit:
            return -1.0
    return value + steps


@tj.local
def while_condition(z):
    n = 0
    while z > 1.0:
        z = z / 2.0
        n += 1
    return n


def cross(z, reach):
    return z[0, reach] - z[0, -reach], z[reach, 0] - z[-reach, 0]


def squared(a):
    return a * a


@tj.focal(radius=2)
def helpers(z):
    total = 0.0
    for reach in range(1, 3):
        east, south = cross(z, reach)
        total += squared(east) + squared(south)
    return math.sqrt(total)


@tj.local
def flags(qa: np.uint16, z) -> np.int16:
    return int(z) + (qa >> 3) if qa & 5 else -1


@tj.focal(nodata="kernel")
def valid_count(qa: np.uint8) -> np.uint8:
    n = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            n += 1 if tj.is_valid(qa[dy, dx]) else 0
    return n


@tj.focal(nodata="kernel")
def mean_of_valid(z):
    total, n = 0.0, 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if tj.is_valid(z[dy, dx]):
                total += z[dy, dx]
                n += 1
    return total / n if n > 0 else math.nan


@tj.local
def several(a, b) -> tuple[np.uint8, np.float32, np.int32]:
    return a > b, a - b, round(a + b)


@tj.local
def places(z, *, row=tj.ROW, col=tj.COL):
    return z * 0.0 + row * 1000.0 + col


@tj.local
def by_row_and_column(z, *, width=tj.GROUND_WIDTH, x=tj.X):
    return z / width + x


@tj.local
def saturated(z) -> np.uint8:
    return z * 10.0


@tj.focal(radius=3)
def moved(z, *, down=0, right=0):
    return z[down, right]


@tj.focal
def largest_7x7(z):
    most = z[-3, -3]
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            most = max(most, z[dy, dx])
    return most


@tj.local
def functions(z):
    a = math.exp(-abs(z) / 50.0) + math.log(abs(z) + 1.0) + math.pow(abs(z), 0.3) + abs(z) ** 1.5 / 100.0 + z**3 / 1e6
    b = math.sin(z) + math.cos(z) * math.tanh(z) + math.atan2(z, 3.0) + math.degrees(math.asin(math.tanh(z / 200.0)))
    return a + b + math.floor(z) + math.ceil(z) + math.hypot(z, 4.0)


@tj.local
def outside_the_domain(z):
    return math.sqrt(z) + math.log(z) + 1.0 / (z - z)


@tj.local
def switched(z, *, negate=False, times=2):
    return (-z if negate else z) * times


def rise_with(edge):
    @tj.focal(edge=edge, radius=2)
    def rise(z):
        return z[-2, 1] * 2 - z[0, -2] + z[1, 0]

    return rise


def numbers(rng, dtype=np.float32):
    return (rng.normal(0.0, 60.0, SHAPE)).astype(dtype)


def holed(rng):
    return punched((numbers(rng),), rng)[0]


def on_arrays(kernel, *arrays, **parameters):
    """Results of both backends from arrays in memory."""
    return tuple(_as_tuple(kernel(*arrays, backend=name, **parameters)) for name in ("cuda", "python"))


def launched(kernel, arrays, shape, nodata=None, scalars=()):
    """Results of both backends' launches, with what they count, collisions first."""
    signature = kernel.signature([a.dtype for a, r in arrays_of(kernel, arrays)], nodata)
    results = []
    for name in ("cuda", "python"):
        outputs = [np.empty(shape, d) for d in signature.outputs]
        values = [d.type(np.nan if n else v) for d, n, v in
                  zip(signature.outputs, signature.nan_nodata, nodata or [0] * len(outputs), strict=True)]  # fmt: skip
        tally = get_backend(name).compile(kernel, signature)(arrays, outputs, values, scalars)
        counts = [tally.collisions, *tally.beyond.values(), *tally.saturated.values()]
        results.append((*outputs, np.array(counts)))
    return tuple(results)


def arrays_of(kernel, arrays):
    """The rasters' own arrays, without the validity that follows an integer one."""
    remaining = iter(arrays)
    for raster in kernel.rasters:
        yield next(remaining), raster
        if raster.dtype is not None:
            next(remaining)


def _as_tuple(results):
    return results if isinstance(results, tuple) else (results,)


def validity(rng):
    qa = rng.integers(0, 200, SHAPE).astype(np.uint16)
    valid = (rng.random(SHAPE) > 0.2).astype(np.uint8)
    return launched(flags, [qa, valid, holed(rng)], SHAPE, [-9.0])


def row_arrays(rng):
    width = rng.uniform(20, 30, SHAPE[0]).astype(np.float32)
    x = rng.uniform(0, 9, SHAPE[1]).astype(np.float32)
    return launched(by_row_and_column, [holed(rng)], SHAPE, scalars=[width, x])


def collisions(rng):
    z = holed(rng)
    z[::3] = 2.0
    results = launched(saturated, [z], SHAPE, [20.0])
    if int(results[0][-1][0]) < SHAPE[0] // 3 * SHAPE[1] // 2:
        raise AssertionError(f"too few collisions: {results[0][-1]}")
    return results


def threads(rng):
    z = holed(rng)
    results = [None] * 4

    def work(k):
        results[k] = SINGLE["sobel"].kernel(z * k, backend="cuda")

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return tuple(results), tuple(SINGLE["sobel"].kernel(z * k, backend="python") for k in range(4))


def wider_then_smaller(rng):
    """Buffers that grow, and serve smaller tiles and other dtypes afterwards."""
    tiles = [numbers(rng)[:5, :7], numbers(rng), numbers(rng, np.float64)[:9, :3], numbers(rng)[:5, :7]]
    results = [on_arrays(switched, np.ascontiguousarray(t), times=3) for t in tiles]
    return tuple(r[0][0] for r in results), tuple(r[1][0] for r in results)


@tj.focal(radius=2)
def whole(z, qa: np.uint64, *, k: int = 1) -> tuple[np.int64, np.uint64, np.uint8, np.int64]:
    a = round(z[0, k]) + math.floor(z[0, 0]) * qa[0, 0]
    b = math.ceil(z[0, 1]) if z[0, 0] > 2 else int(z[0, 0])
    return a, b + math.trunc(z[0, 0] * 3), z[0, 0], qa[0, 0] ** 5 - k


def notes(rng):
    """Offsets within the radius and beyond, numbers that no integer holds, integers that wrap: with what is told."""
    z = holed(rng)
    z[2, 2:8] = 3e38, np.inf, -np.inf, 2.0**63, 2.0**31, -(2.0**63)
    qa = rng.integers(0, 9, SHAPE).astype(np.uint64)
    qa[3, 3] = 2**63
    arrays, shape = [z, qa, np.ones(SHAPE, np.uint8)], (SHAPE[0] - 4, SHAPE[1] - 4)
    both = [launched(whole, arrays, shape, [9] * 4, scalars=[k]) for k in (1, 3)]
    return tuple(part for one in both for part in one[0]), tuple(part for one in both for part in one[1])


@tj.focal
def roughness(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total += abs(t[k, 0, 1] - t[k, 0, -1])
    return total + t[-1, 1, 0]


@tj.local(nodata="kernel")
def valid_layers(t: tj.Stack, qa: tj.Stack[np.uint16], which):
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]) and qa[k] & 1 == 0:
            n += 1
    return n + (qa[int(which)] if n > 1 else 0)


@tj.local(nodata="kernel")
def of_numpy(a, b):
    """NumPy's functions of numbers that are no function of ``math``, and Python's."""
    q, r = divmod(a, 3.0)
    part, whole = math.modf(b)
    bounded = np.clip(a, -5, np.maximum(b, 0.0)) + np.fmin(a, b) + np.where(a > b, a, 2) + np.sign(a) * np.square(b)
    rounded = np.floor(a) + np.rint(b) + np.trunc(a) + round(b, 1) + np.float32(a * 0.1) + np.heaviside(a, 0.5)
    integers = np.uint8(b) + np.int16(b * 999) if np.isfinite(b) else np.int32(7)
    return bounded, rounded, integers, q * r + part - whole


def rewritten_syntax(rng):
    b = rng.integers(-99, 99, SHAPE).astype(np.int16)
    return launched(array_kernels.rewritten, [holed(rng), b, np.ones(SHAPE, np.uint8)], SHAPE, [-9.0])


def stacks(rng):
    t, qa = np.stack([holed(rng) for _ in range(4)]), rng.integers(0, 9, (4, *SHAPE)).astype(np.uint16)
    which = rng.integers(-4, 4, SHAPE).astype(np.float32)
    both = on_arrays(roughness, t), on_arrays(valid_layers, t, qa, which)
    return tuple(one[0][0] for one in both), tuple(one[1][0] for one in both)


def by_date(rng):
    """A value for each date."""
    t, weight = np.stack([holed(rng) for _ in range(4)]), rng.integers(0, 3, (4, *SHAPE)).astype(np.uint8)
    each = (
        on_arrays(date_kernels.ordered, t),
        on_arrays(date_kernels.smoothed, t),
        on_arrays(date_kernels.changes, t),
        on_arrays(date_kernels.above, t, weight),
    )
    return tuple(one[0][0] for one in each), tuple(one[1][0] for one in each)


@tj.local
def trend(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total += t[k] * (t.time[k] - t.time[-1]) + t.month[k]
    return total + t.day_of_year[1]


def times(rng):
    t = tj.stack([tj.from_array(holed(rng)) for _ in range(3)], times=["2020-01-05", "2020-02-10T12:00", "2021-01-01"])
    return tuple((trend(t).compute(backend=backend)[0],) for backend in ("python", "cuda"))


def missing_layers(rng):
    """A layer that is not there is told, and nothing else is read."""
    t, which = np.stack([numbers(rng)] * 2), np.full(SHAPE, 2, np.float32)
    try:
        valid_layers(t, t.astype(np.uint16), which, backend="cuda")
    except tj.errors.KernelError as error:
        return (np.array("is of no layer of the stack, which has 2" in str(error)),), (np.array(1) == 1,)
    raise AssertionError("no error")


def missing_elements(rng):
    """So is an element."""
    try:
        array_kernels.histogram_of(np.abs(numbers(rng)) + 5, backend="cuda")
    except tj.errors.KernelError as error:
        return (np.array("lies outside the array h, which has 4 elements" in str(error)),), (np.array(1) == 1,)
    raise AssertionError("no error")


def arrays(*names):
    """Kernels with local arrays, of one raster or two."""
    kernels = [getattr(array_kernels, name) for name in names]

    def run(rng):
        both = [on_arrays(k, *(holed(rng) for _ in k.rasters)) for k in kernels]
        return tuple(r for one in both for r in one[0]), tuple(r for one in both for r in one[1])

    return run


CODES = {11: 1.5, 12: 2.5, 31: -4.0}
COEFFICIENTS = np.array([[0.25, 0.5, 0.125], [1.0, -2.0, 3.0]])
STEPS = ((0, 1, 0.5), (-1, 0, 1.0), (1, -1, 0.25))
LARGE = np.random.default_rng(5).random(20_000)


@tj.focal(radius=1)
def looked_up(z, c: np.uint8):
    k = int(abs(z[0, 0])) % 3
    dy, dx = STEPS[k][0], STEPS[k][1]
    return z[dy, dx] * STEPS[k][2] + COEFFICIENTS[c[0, 0] & 1, k - 3] + CODES.get(c[0, 0], 0.0) + LARGE[c[0, 0] + 300]


def outside_of_tables(rng):
    """An index outside is told with its table, and nothing else is read."""
    c = np.full(SHAPE, 12, np.uint8)
    c[3, 4] = 13
    try:
        classes(c, backend="cuda")
    except tj.errors.KernelError as error:
        return (np.array("classes: CODES has no key 13, which is asked for at 1 pixel" in str(error)),), (
            np.array(1) == 1,
        )
    raise AssertionError("no error")


@tj.local
def classes(c: np.uint8):
    return CODES[c]


@tj.block(radius=1)
def risen(z, qa: np.uint8, *, times=1.0) -> tuple[np.float32, np.uint8]:
    rise = z[1:-1, 2:] - z[1:-1, :-2]
    return rise * times, qa[1:-1, 1:-1]


@risen.cuda
def risen_on_device(z, qa, rise, codes, *, times, stream):
    global device  # noqa: PLW0603 - the simulator knows it in globals alone, and main says which one that is
    from numba import cuda as device

    @device.jit
    def launch(z, qa, times, rise, codes):
        row, col = device.grid(2)
        if row < rise.shape[0] and col < rise.shape[1]:
            rise[row, col] = (z[row + 1, col + 2] - z[row + 1, col]) * times
            codes[row, col] = qa[row + 1, col + 1]

    launch[(2, 2), (8, 8), stream](z, qa, times, rise, codes)


def bodies_of_arrays(rng):
    """What a body for a GPU makes, beside what the other one does."""
    z, qa = holed(rng), np.ma.MaskedArray(rng.integers(0, 9, SHAPE).astype(np.uint8), rng.random(SHAPE) < 0.2)
    results, expected = (_as_tuple(risen(z, qa, times=2.5, backend=name)) for name in ("cuda", "cpu"))
    return tuple(np.ma.filled(one, 0) for one in results), tuple(np.ma.filled(one, 0) for one in expected)


FEATURES = {
    "tables": lambda rng: on_arrays(looked_up, holed(rng), rng.integers(9, 14, SHAPE).astype(np.uint8)),
    "an index outside of a table": outside_of_tables,
    "any number of rasters": lambda rng: on_arrays(
        array_kernels.of_any_number, holed(rng), *(numbers(rng, np.int16) for _ in range(3))
    ),
    "while with break": lambda rng: on_arrays(while_break, holed(rng)),
    "while with a condition": lambda rng: on_arrays(while_condition, holed(rng)),
    "helpers that read neighbours": lambda rng: on_arrays(helpers, holed(rng)),
    "validity of integers": validity,
    "is_valid of an integer's neighbours": lambda rng: on_arrays(
        valid_count, numbers(rng).astype(np.int8).view(np.uint8)
    ),
    "is_valid of floats": lambda rng: on_arrays(mean_of_valid, holed(rng)),
    "several results": lambda rng: on_arrays(several, holed(rng), numbers(rng)),
    "ROW and COL": lambda rng: on_arrays(places, holed(rng)),
    "values by row and column": row_arrays,
    "saturated integers": lambda rng: launched(saturated, [holed(rng)], SHAPE, [255]),
    "collisions with nodata": collisions,
    "what is told of a pixel": notes,
    "offsets known while running": lambda rng: on_arrays(moved, holed(rng), down=-3, right=2),
    "a large window with branches": lambda rng: on_arrays(largest_7x7, holed(rng)),
    "math": lambda rng: on_arrays(functions, holed(rng)),
    "math in float64": lambda rng: on_arrays(functions, numbers(rng, np.float64)),
    "math outside its domain": lambda rng: on_arrays(outside_the_domain, numbers(rng)),
    "truth values and integers as parameters": lambda rng: on_arrays(switched, holed(rng), negate=True, times=7),
    "int16 rasters": lambda rng: on_arrays(switched, numbers(rng, np.int16)),
    "an empty array": lambda rng: on_arrays(switched, numbers(rng)[:0]),
    "edge nearest": lambda rng: on_arrays(rise_with("nearest"), holed(rng)),
    "edge reflect": lambda rng: on_arrays(rise_with("reflect"), holed(rng)),
    "edge wrap": lambda rng: on_arrays(rise_with("wrap"), holed(rng)),
    "edge constant": lambda rng: on_arrays(rise_with(3.5), holed(rng)),
    "functions of NumPy": lambda rng: on_arrays(of_numpy, holed(rng), holed(rng)),
    "syntax that is rewritten": rewritten_syntax,
    "stacks": stacks,
    "a layer that is not there": missing_layers,
    "times": times,
    "a value for each date": by_date,
    "local arrays": arrays("made", "helped", "drawn"),
    "tuples and sums": arrays("tupled", "reduced"),
    "sorted arrays": arrays("sorted_values"),
    "whole arrays": arrays("whole"),
    "lists that grow": arrays("grown"),
    "arrays of windows": arrays("median_5x5", "percentile_of_valid"),
    "classes of a window": lambda rng: on_arrays(array_kernels.majority, numbers(rng).astype(np.int8).view(np.uint8)),
    "an element that is not there": missing_elements,
    "bodies of arrays": bodies_of_arrays,
    "several threads": threads,
    "several shapes": wider_then_smaller,
}
"""What the language has, one by one."""


def shipped(name):
    oracle = SINGLE[name]

    def run(rng):
        arrays = punched(oracle.make(rng, SHAPE), rng)
        return on_arrays(oracle.kernel, *arrays, **oracle.parameters)

    return run


CASES = {**FEATURES, **{name: shipped(name) for name in SINGLE}}


def distance(result, expected):
    """The largest difference in epsilons of the largest result; infinite where nodata or the dtype differs."""
    if result.dtype != expected.dtype or result.shape != expected.shape:
        return math.inf
    wide = result.astype(np.float64), expected.astype(np.float64)
    same = (wide[0] == wide[1]) | (np.isnan(wide[0]) & np.isnan(wide[1]))
    if same.all():
        return 0.0
    if result.dtype.kind != "f" or not np.isfinite(wide[0][~same] - wide[1][~same]).all():
        return math.inf
    finite = np.abs(wide[1][np.isfinite(wide[1])])
    return float(np.abs(wide[0] - wide[1])[~same].max() / (finite.max() * np.finfo(result.dtype).eps))


def report(case):
    """The distance of one case, or its error, and its time."""
    start = time.perf_counter()
    try:
        results, expected = case(np.random.default_rng(20261124))
        found = {"epsilons": max(map(distance, results, expected))}
    except Exception as error:  # noqa: BLE001 - the parent reports it
        found = {"error": f"{type(error).__name__}: {error}"}
    return {**found, "seconds": round(time.perf_counter() - start, 2)}


def main():
    if "built-in" in sys.argv:
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "NumbaCudaFinder"]
    results = {name: report(case) for name, case in CASES.items()}
    from numba import cuda

    print(json.dumps({"file": cuda.__file__, "results": results}))  # noqa: T201


if __name__ == "__main__":
    main()

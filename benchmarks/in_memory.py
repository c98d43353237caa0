"""Arrays in memory: tilejit against a loop written by hand for Numba, NumPy, and xarray-spatial, in one run.

Every contender gets the same arrays and computes the same pixels; the border, a radius wide, is left out of the
comparison of results. tilejit and the hand-written loops compute into an array that is there already; "new array" is
tilejit's plain call, which allocates its result as NumPy and xarray-spatial do. The hand-written loops do the
arithmetic that the kernels do, in the same order and with the same function for the arc tangent (which of two bands is
read first makes 4 %, and which of them should be depends on where the arrays lie), compiled as their author would:
``njit(parallel=True, error_model="numpy")`` with float32 constants. Rounds are interleaved, each in
another order; the table shows medians.
"""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np
from numba import njit, prange

import tilejit as tj
from terrain import fractal, scene
from tilejit.math import float32 as math32
from tilejit_kernels.filters import mean_5x5, median_3x3
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import slope

if TYPE_CHECKING:
    from collections.abc import Callable

F0, F1, F2, HALF, EIGHTH, C, NAN = (np.float32(v) for v in (0, 1, 2, 0.5, 0.125, -0.4, np.nan))
STEPS = 64


@tj.local
def iterate(x):
    """64 steps of a quadratic map on each pixel: all arithmetic, no memory."""
    for _ in range(64):
        x = x * x * 0.5 - 0.4
    return x


def _compiled(*names: str) -> list[Callable[..., np.float32]]:
    """The library's own mathematics, callable from a loop written by hand: what differs is the loop alone."""
    namespace = dict(vars(math32))
    for name in ("_bits", "_from_bits", "_atan_ratio", *names):
        function = vars(math32)[name]
        copy = type(function)(function.__code__, namespace, name)
        namespace[name] = njit(error_model="numpy", forceinline=True)(copy)
    return [namespace[name] for name in names]


atan, hypot, degrees = _compiled("atan", "hypot", "degrees")


@njit(parallel=True, error_model="numpy")
def hand_slope(z, out, dx, dy):
    height, width = z.shape
    east_factor, north_factor = EIGHTH / dx, EIGHTH / dy
    for y in prange(height - 2):
        for x in range(width - 2):
            east = (z[y, x + 2] - z[y, x]) + F2 * (z[y + 1, x + 2] - z[y + 1, x]) + (z[y + 2, x + 2] - z[y + 2, x])
            north = (z[y, x] - z[y + 2, x]) + F2 * (z[y, x + 1] - z[y + 2, x + 1]) + (z[y, x + 2] - z[y + 2, x + 2])
            out[y + 1, x + 1] = degrees(atan(hypot(east * east_factor, north * north_factor)))


@njit(parallel=True, error_model="numpy")
def hand_ndvi(red, nir, out, scale, offset):
    height, width = red.shape
    for y in prange(height):
        for x in range(width):
            n, r = scale * np.float32(nir[y, x]) + offset, scale * np.float32(red[y, x]) + offset
            out[y, x] = (n - r) / (n + r)


@njit(parallel=True, error_model="numpy")
def hand_mean(z, out):
    height, width = z.shape
    for y in prange(height - 4):
        for x in range(width - 4):
            total, count = F0, F0
            for dy in range(5):
                for dx in range(5):
                    v = z[y + dy, x + dx]
                    valid = v == v
                    total += v if valid else F0
                    count += F1 if valid else F0
            out[y + 2, x + 2] = total / count


@njit(error_model="numpy", forceinline=True)
def low(a, b):
    return b if b < a else a


@njit(error_model="numpy", forceinline=True)
def high(a, b):
    return b if b > a else a


@njit(error_model="numpy", forceinline=True)
def sort(a, b, c):
    least, most = low(a, b), high(a, b)
    rest = high(least, c)
    return low(least, c), low(most, rest), high(most, rest)


@njit(parallel=True, error_model="numpy")
def hand_median(z, out):
    height, width = z.shape
    for y in prange(height - 2):
        for x in range(width - 2):
            a, b, c = z[y, x], z[y, x + 1], z[y, x + 2]
            d, e, f = z[y + 1, x], z[y + 1, x + 1], z[y + 1, x + 2]
            g, h, i = z[y + 2, x], z[y + 2, x + 1], z[y + 2, x + 2]
            # Comparisons lose NaN: the result is nodata where any of the nine is, as in tilejit's and NumPy's medians.
            valid = (a == a) & (b == b) & (c == c) & (d == d) & (e == e) & (f == f) & (g == g) & (h == h) & (i == i)
            low_1, middle_1, high_1 = sort(a, d, g)
            low_2, middle_2, high_2 = sort(b, e, h)
            low_3, middle_3, high_3 = sort(c, f, i)
            _, middle, _ = sort(middle_1, middle_2, middle_3)
            _, median, _ = sort(high(high(low_1, low_2), low_3), middle, low(low(high_1, high_2), high_3))
            out[y + 1, x + 1] = median if valid else NAN


@njit(parallel=True, error_model="numpy")
def hand_iterate(z, out):
    height, width = z.shape
    for y in prange(height):
        for x in range(width):
            v = z[y, x]
            for _ in range(STEPS):
                v = v * v * HALF + C
            out[y, x] = v


def numpy_slope(z, cell):
    east, west = z[:, 2:], z[:, :-2]
    gx = (east[:-2] + 2 * east[1:-1] + east[2:] - west[:-2] - 2 * west[1:-1] - west[2:]) / (8 * cell)
    south, north = z[2:], z[:-2]
    gy = (north[:, :-2] + 2 * north[:, 1:-1] + north[:, 2:] - south[:, :-2] - 2 * south[:, 1:-1] - south[:, 2:]) / (
        8 * cell
    )
    return np.degrees(np.arctan(np.hypot(gx, gy)))


def numpy_ndvi(red, nir):
    r, n = red.astype(np.float32), nir.astype(np.float32)
    return (n - r) / (n + r)


def numpy_mean(z):
    windows = [(slice(dy, z.shape[0] - 4 + dy), slice(dx, z.shape[1] - 4 + dx)) for dy in range(5) for dx in range(5)]
    valid = ~np.isnan(z)
    filled = np.where(valid, z, np.float32(0))
    total, count = (sum(array[w] for w in windows) for array in (filled, valid.astype(np.float32)))
    return total / count


def numpy_median(z):
    # Row by row: all nine neighbours of the whole array at once would take 2.4 GB.
    out = np.empty((z.shape[0] - 2, z.shape[1] - 2), z.dtype)
    for y in range(0, len(out), 64):
        rows = z[y : min(y + 66, len(z))]
        stack = np.stack(
            [rows[dy : len(rows) - 2 + dy, dx : rows.shape[1] - 2 + dx] for dy in range(3) for dx in range(3)]
        )
        out[y : y + 64] = np.median(stack, axis=0)
    return out


def numpy_iterate(z):
    v = z.copy()
    for _ in range(STEPS):
        v = v * v * HALF + C
    return v


@dataclass(frozen=True)
class Case:
    """One computation and its contenders."""

    name: str
    radius: int
    out: np.ndarray
    tilejit: Callable[..., np.ndarray]
    hand: Callable[[], np.ndarray]
    numpy: Callable[[], np.ndarray]
    peer: Callable[[], np.ndarray] | None


@dataclass(frozen=True)
class Data:
    """The arrays of all cases."""

    dem: np.ndarray
    holes: np.ndarray
    red: np.ndarray
    nir: np.ndarray
    out: np.ndarray
    """What contenders compute into, if they can."""

    @classmethod
    def of(cls, size: int) -> Data:
        """Terrain, the same with holes, and two bands of a scene, all square."""
        dem = np.tile(fractal(min(size, 2048)), (-(-size // 2048),) * 2)[:size, :size].copy()
        holes = dem.copy()
        holes[:: max(8, size // 64), :: max(8, size // 64)] = np.nan
        return cls(dem, holes, *scene(size), np.full_like(dem, np.nan))

    def into(self, function: Callable[..., None], *arguments: object) -> Callable[[], np.ndarray]:
        """A loop written by hand, as a function of nothing that returns what it computed."""

        def run() -> np.ndarray:
            function(*arguments)
            return self.out

        return run


def cases(size: int) -> list[Case]:
    data = Data.of(size)
    peers = _peers(data.dem, data.holes, data.red, data.nir)
    return [
        _slope(data, peers.get("slope")),
        _ndvi(data, peers.get("ndvi")),
        _mean(data, peers.get("mean")),
        _median(data),
        _steps(data),
    ]


def _slope(data: Data, peer: Callable[[], np.ndarray] | None) -> Case:
    dem, cell = data.dem, np.float32(30)
    return Case(
        "slope in degrees, float32",
        1,
        data.out,
        lambda n, o=None: slope(dem, dx=30, dy=30, workers=n, out=o),
        data.into(hand_slope, dem, data.out, cell, cell),
        lambda: numpy_slope(dem, cell),
        peer,
    )


def _ndvi(data: Data, peer: Callable[[], np.ndarray] | None) -> Case:
    red, nir = data.red, data.nir
    return Case(
        "NDVI from uint16",
        0,
        data.out,
        lambda n, o=None: ndvi(red, nir, workers=n, out=o),
        data.into(hand_ndvi, red, nir, data.out, np.float32(1), np.float32(0)),
        lambda: numpy_ndvi(red, nir),
        peer,
    )


def _mean(data: Data, peer: Callable[[], np.ndarray] | None) -> Case:
    holes = data.holes
    return Case(
        "5x5 mean of valid cells",
        2,
        data.out,
        lambda n, o=None: mean_5x5(holes, workers=n, out=o),
        data.into(hand_mean, holes, data.out),
        lambda: numpy_mean(holes),
        peer,
    )


def _median(data: Data) -> Case:
    holes = data.holes
    return Case(
        "3x3 median, nodata propagates",
        1,
        data.out,
        lambda n, o=None: median_3x3(holes, workers=n, out=o),
        data.into(hand_median, holes, data.out),
        lambda: numpy_median(holes),
        None,
    )


def _steps(data: Data) -> Case:
    small = (data.dem / data.dem.max()).astype(np.float32)
    return Case(
        "64 steps a pixel",
        0,
        data.out,
        lambda n, o=None: iterate(small, workers=n, out=o),
        data.into(hand_iterate, small, data.out),
        lambda: numpy_iterate(small),
        None,
    )


def _peers(dem: np.ndarray, holes: np.ndarray, red: np.ndarray, nir: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    try:
        import xarray as xr
        import xrspatial
        from xrspatial.convolution import custom_kernel
        from xrspatial.focal import focal_stats
    except ImportError:
        return {}
    size = len(dem)
    axes = {"y": -30.0 * np.arange(size), "x": 30.0 * np.arange(size)}
    grids = [xr.DataArray(a, dims=("y", "x"), coords=axes, attrs={"res": (30.0, 30.0)}) for a in (dem, holes, red, nir)]
    window = custom_kernel(np.ones((5, 5)))
    return {
        "slope": lambda: xrspatial.slope(grids[0]).data,
        "ndvi": lambda: xrspatial.multispectral.ndvi(grids[3], grids[2]).data,
        "mean": lambda: focal_stats(grids[1], window, stats_funcs=["mean"]).data[0],
    }


def timed(function: Callable[[], np.ndarray]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def agree(case: Case) -> None:
    """Stops where contenders compute different things."""
    r = case.radius
    inner = (slice(r, -r or None),) * 2
    ours = case.tilejit(numba.config.NUMBA_NUM_THREADS)[inner]
    for name, result in (("hand-written", case.hand()[inner]), ("NumPy", case.numpy())):
        if not np.allclose(ours, result, rtol=1e-4, atol=1e-3, equal_nan=True):
            raise SystemExit(f"{case.name}: {name} gives other pixels: {np.nanmax(np.abs(ours - result))}")


def _contenders(case: Case, rounds: int, slow_rounds: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Name -> what is timed, and in how many rounds."""
    cores = numba.config.NUMBA_NUM_THREADS
    contenders: dict[str, tuple[Callable[[], object], int]] = {"NumPy": (case.numpy, slow_rounds)}
    for n in sorted({1, cores}):
        threads = f"{n} thread{'s' * (n > 1)}"
        contenders[f"tilejit, {threads}"] = (lambda n=n: case.tilejit(n, case.out), rounds)
        contenders[f"by hand, {threads}"] = (lambda n=n: _on(n, case.hand), rounds)
    contenders["tilejit, new array"] = (lambda: case.tilejit(cores), rounds)
    if case.peer is not None:
        contenders["xarray-spatial"] = (case.peer, slow_rounds)
        case.peer()
    return contenders


def _rotated(
    contenders: dict[str, tuple[Callable[[], object], int]], k: int
) -> list[tuple[str, tuple[Callable[[], object], int]]]:
    """The contenders in another order in each round: what runs before leaves caches and memory behind.

    In every other round they go backwards, so that nobody has always the same one before.
    """
    order = list(contenders.items())[:: -1 if k % 2 else 1]
    start = k // 2 % len(order)
    return order[start:] + order[:start]


def run(size: int, rounds: int, slow_rounds: int) -> list[dict[str, object]]:
    """Returns one row for each case and contender: Mpx/s as a median over interleaved rounds."""
    rows: list[dict[str, object]] = []
    for case in cases(size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            agree(case)
            contenders = _contenders(case, rounds, slow_rounds)
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for k in range(rounds):
                for name, (function, times) in _rotated(contenders, k):
                    if k < times:
                        seconds[name].append(timed(function))
        pixels = size * size / 1e6
        for name, values in seconds.items():
            rows.append(
                {
                    "case": case.name,
                    "contender": name,
                    "size": size,
                    "mpx_s": pixels / statistics.median(values),
                    "seconds": values,
                }
            )
    return rows


def _on(threads: int, function: Callable[[], np.ndarray]) -> np.ndarray:
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        return function()
    finally:
        numba.set_num_threads(before)


if __name__ == "__main__":
    import sys

    for row in run(int(sys.argv[1]) if len(sys.argv) > 1 else 2048, 7, 3):
        print(f"{row['case']:28s} {row['contender']:22s} {row['mpx_s']:8.0f} Mpx/s")

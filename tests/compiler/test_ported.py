"""Kernels that a new user would write, against float64 NumPy: all in plain Python, a third of them compiled too."""

import math
import random

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, special

import ported_kernels as ported
from kernels_for_tests import write_module

pytestmark = pytest.mark.slow

SHAPE = (9, 11)
COMPILED = {"black_scholes", "true_color", "hotspots", "d8", "qa_bits", "nearest_step", "heat_index",
            "split_window", "local_binary_pattern", "hillshade", "convergence", "mandelbrot", "cos_incidence", "entropy",
            "median_3x3", "d8_table", "reclassify", "reclassify_bins"}  # fmt: skip
"""A third: those with the most of the language in them."""


def cells(z, reach):
    """The neighbourhood of each pixel that has a whole one, as (row, col, dy, dx)."""
    return sliding_window_view(z, (2 * reach + 1, 2 * reach + 1))


def at(z, dy, dx):
    """The neighbour of each pixel that has a whole 3x3 neighbourhood."""
    return cells(z, 1)[..., 1 + dy, 1 + dx]


def around(z):
    """The eight neighbours, east first and then clockwise."""
    return [at(z, dy, dx) for dy, dx in ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))]


def mandelbrot(x, y):
    c, z, n = x + 1j * y, np.zeros(x.shape, complex), np.full(x.shape, 40)
    for k in range(40):
        z = np.where(n == 40, z * z + c, z)
        n[(n == 40) & (np.abs(z) ** 2 >= 4)] = k
    return n


def black_scholes(price, strike, years):
    d1 = (np.log(price / strike) + (0.02 + 0.045) * years) / (0.3 * np.sqrt(years))
    d2, discounted = d1 - 0.3 * np.sqrt(years), strike * np.exp(-0.02 * years)
    call = price * special.ndtr(d1) - discounted * special.ndtr(d2)
    return call, call - price + discounted


def blur(z):
    i, j = np.mgrid[-2:3, -2:3]
    return (cells(z, 2) / ((i**2 + j**2) / 4 + 1)).sum((2, 3))


def logistic_map(r):
    x = np.full(r.shape, 0.5)
    for _ in range(50):
        x = r * x * (1 - x)
    return x


def great_circle(lat1, lon1, lat2, lon2):
    a, b, c, d = map(np.radians, (lat1, lon1, lat2, lon2))
    first, second = ([np.cos(u) * np.cos(v), np.cos(u) * np.sin(v), np.sin(u)] for u, v in ((a, b), (c, d)))
    return 6371.0 * np.arctan2(
        np.linalg.norm(np.cross(first, second, axis=0), axis=0), np.einsum("kij,kij->ij", first, second)
    )


def majority_3x3(z):
    def most(window):
        values, counts = np.unique(window, return_counts=True)
        return values[np.argmax(counts)]

    return np.apply_along_axis(most, -1, cells(z, 1).reshape(*np.subtract(z.shape, 2), 9))


def local_binary_pattern(z):
    order = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
    return sum((at(z, *step) >= at(z, 0, 0)).astype(int) << k for k, step in enumerate(order))


def gradients(z):
    """By Horn: to the east and to the south, of a cell of one unit."""
    return tuple(ndimage.sobel(z, axis)[1:-1, 1:-1] for axis in (1, 0))


def sobel(z):
    east, south = gradients(z)
    return np.hypot(east, south), np.degrees(np.arctan2(south, east))


def unsharp(z):
    kernel = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 8
    return np.clip(z + 1.5 * (z - ndimage.correlate(z, kernel)), 0, 255)[1:-1, 1:-1]


def contrast_normalised(z):
    return (z[2:-2, 2:-2] - cells(z, 2).mean((2, 3))) / np.sqrt(cells(z, 2).var((2, 3)) + 1e-6)


def true_color(r, g, b):
    scaled = [255 * special.expit(-10 * (0.125 - band / 4000)) for band in (r, g, b)]
    return (*(np.where(np.isnan(s), 0, np.floor(s + 0.5)) for s in scaled), np.where(r > 1, 255, 0))


def hotspots(z):
    score = cells(z, 1).mean((2, 3)) / 30
    return np.sign(score) * np.select([abs(score) > v for v in (2.58, 1.96, 1.65)], [99, 95, 90], 0)


def aspect(z):
    east, south = (np.round(g, 9) / 8 for g in gradients(z))
    return np.where((east == 0) & (south == 0), -1, (90 - np.degrees(np.arctan2(south, -east))) % 360)


def hillshade(z):
    south, east = np.gradient(z)
    slope, aspect = np.arctan(np.hypot(east, south)), np.arctan2(-east, south)
    zenith, azimuth = np.radians(65), np.radians(360 - 225)
    shaded = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(azimuth - np.pi / 2 - aspect)
    return ((shaded + 1) / 2)[1:-1, 1:-1]


def d8(z):
    distances = [1, math.sqrt(2)] * 4
    drops = np.array([(at(z, 0, 0) - n) / (30 * d) for n, d in zip(around(z), distances, strict=True)])
    return np.where(drops.max(0) > 0, 1 << np.argmax(drops, 0), 0)


def convergence(z):
    south, east = (g / 1 for g in np.gradient(z))
    aspects, total = np.arctan2(south, east), 0.0
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                off = at(aspects[1:-1, 1:-1], dy, dx) - math.atan2(-dy, -dx)
                total = total + np.degrees(np.arccos(np.cos(off)))
    return total / 8 - 90


def cos_incidence(slope, aspect, latitude):
    """The sun's direction times the surface's, in the coordinates of the horizon."""
    lat, s, a = np.radians(latitude), np.radians(slope), np.radians(aspect)
    decl = np.radians(23.45 * np.sin(np.radians(360 * (284 + 172) / 365)))
    up, north = (
        np.sin(lat) * np.sin(decl) + np.cos(lat) * np.cos(decl),
        np.cos(lat) * np.sin(decl) - np.sin(lat) * np.cos(decl),
    )
    return np.cos(s) * up + np.sin(s) * np.cos(a) * north


def split_window(t10, t11, e10, e11):
    c0, c1, c2, c3, c4, c5, c6 = -0.268, 1.378, 0.183, 54.30, -2.238, -129.20, 16.40
    step, mean, diff = t10 - t11, (e10 + e11) / 2, e10 - e11
    return t10 + c1 * step + c2 * step * step + c0 + (c3 + c4 * 1.5) * (1 - mean) + (c5 + c6 * 1.5) * diff


def qa_bits(qa):
    qa = qa.astype(int)
    fill, dilated, cirrus, cloud, shadow = ((qa >> bit) & 1 for bit in range(5))
    sure = (qa >> 8) & 3
    tests = [fill == 1, sure == 3, (sure == 2) & (cirrus == 1), (cloud | dilated) == 1]
    return np.select(tests, [255, 4, 3, 2], shadow)


def bilateral(z):
    y, x = np.mgrid[-3:4, -3:4]
    window = cells(z, 3)
    weights = np.exp(-(y**2 + x**2) / 8 - (window - window[..., 3:4, 3:4]) ** 2 / 800)
    return (weights * window).sum((2, 3)) / weights.sum((2, 3))


def idw(z):
    y, x = np.mgrid[-7:8, -7:8]
    window = cells(np.pad(z, 7, constant_values=np.nan), 7)
    with np.errstate(divide="ignore"):
        weights = np.where(np.isnan(window), 0, 1.0 / (y**2 + x**2))
    weights[..., 7, 7] = 0
    return np.where(np.isnan(z), (weights * np.nan_to_num(window)).sum((2, 3)) / weights.sum((2, 3)), z)


def nearest_step(z):
    distance = np.max(np.abs(np.mgrid[-3:4, -3:4]), 0)
    found = np.where((cells(z, 3) > 0) & (distance > 0), distance, 9)
    return found.min((2, 3))


def game_of_life(z):
    n = ndimage.convolve(z.astype(int), [[1, 1, 1], [1, 0, 1], [1, 1, 1]], mode="constant")
    return ((n == 3) | ((n == 2) & (z == 1))).astype(int)


def entropy(z):
    def of(window):
        share = np.bincount(window >> 4) / window.size
        return -sum(p * np.log2(p) for p in share if p > 0)

    return np.apply_along_axis(of, -1, cells(z, 2).reshape(*np.subtract(z.shape, 4), 25))


def heat_index(t, rh):
    terms = [1, t, rh, t * rh, t * t, rh * rh, t * t * rh, t * rh * rh, t * t * rh * rh]
    factors = [
        -42.379,
        2.04901523,
        10.14333127,
        -0.22475541,
        -6.83783e-3,
        -5.481717e-2,
        1.22874e-3,
        8.5282e-4,
        -1.99e-6,
    ]
    full = sum(f * term for f, term in zip(factors, terms, strict=True))
    with np.errstate(invalid="ignore"):
        full = np.where(
            (rh < 13) & (t >= 80) & (t <= 112), full - (13 - rh) / 4 * np.sqrt((17 - abs(t - 95)) / 17), full
        )
    full = np.where((rh > 85) & (t >= 80) & (t <= 87), full + (rh - 85) / 10 * (87 - t) / 5, full)
    simple = 0.5 * (t + 61 + (t - 68) * 1.2 + rh * 0.094)
    return np.where((simple + t) / 2 < 80, simple, np.round(full, 1))


# Each kernel with what makes its inputs, and what must come out; of a focal one the pixels that see no edge.
def uniform(low, high):
    return lambda rng: rng.uniform(low, high, SHAPE)


def whole(high, dtype):
    return lambda rng: rng.integers(0, high, SHAPE).astype(dtype)


Z, BAND = uniform(-50, 200), uniform(0.01, 0.9)
ORACLES = {
    "mandelbrot": ([uniform(-2, 1), uniform(-1, 1)], mandelbrot),
    "black_scholes": ([uniform(5, 30), uniform(1, 100), uniform(0.25, 10)], black_scholes),
    "laplace_step": ([Z], lambda z: (at(z, 0, 1) + at(z, 0, -1) + at(z, 1, 0) + at(z, -1, 0)) / 4),
    "blur": ([Z], blur),
    "logistic_map": ([uniform(2.5, 3.4)], logistic_map),
    "great_circle": ([uniform(-80, 80), uniform(-180, 180)] * 2, great_circle),
    "expit": ([uniform(-9, 9)], special.expit),
    "local_range": ([Z], lambda z: np.ptp(cells(z, 1), (2, 3))),
    "local_std": ([Z], lambda z: cells(z, 1).std((2, 3))),
    "majority_3x3": ([whole(4, np.uint8)], majority_3x3),
    "local_binary_pattern": ([Z], local_binary_pattern),
    "sobel": ([Z], sobel),
    "roberts": ([Z], lambda z: np.hypot(at(z, 0, 0) - at(z, 1, 1), at(z, 0, 1) - at(z, 1, 0))),
    "unsharp": ([Z], unsharp),
    "morphological_gradient": ([Z], lambda z: ndimage.morphological_gradient(z, footprint=[[0, 1, 0], [1, 1, 1], [0, 1, 0]])[1:-1, 1:-1]),
    "contrast_normalised": ([Z], contrast_normalised),
    "ndvi": ([BAND, BAND], lambda n, r: (n - r) / (n + r)),
    "evi": ([BAND] * 3, lambda n, r, b: 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1)),
    "arvi": ([BAND] * 3, lambda n, r, b: (n - 2 * r + b) / (n + 2 * r - b)),
    "savi": ([BAND] * 2, lambda n, r: (n - r) / ((n + r + 1) * 2)),
    "sipi": ([BAND] * 3, lambda n, r, b: (n - b) / (n - r)),
    "gci": ([BAND] * 2, lambda n, g: n / g - 1),
    "nbr": ([BAND] * 2, lambda n, s: (n - s) / (n + s)),
    "ebbi": ([BAND] * 3, lambda r, s, t: (s - r) / (10 * np.sqrt(s + t))),
    "true_color": ([uniform(0, 4000)] * 3, true_color),
    "hotspots": ([Z], hotspots, {"std": 30.0}),
    "curvature": ([Z], lambda z: -100 * ndimage.laplace(z)[1:-1, 1:-1] / 900),
    "aspect": ([Z], aspect),
    "hillshade": ([Z], hillshade),
    "slope_by_method": ([Z], lambda z: np.degrees(np.arctan(np.hypot(*gradients(z)) / 240))),
    "zevenbergen_thorne": ([Z], lambda z: np.arctan(np.hypot(*np.gradient(z, 30)))[1:-1, 1:-1]),
    "tri": ([Z], lambda z: np.sqrt(((cells(z, 1) - z[1:-1, 1:-1, None, None]) ** 2).sum((2, 3)))),
    "d8": ([Z], d8),
    "convergence": ([Z], convergence),
    "cos_incidence": ([uniform(0, 60), uniform(0, 360), uniform(-60, 60)], cos_incidence),
    "split_window": ([uniform(280, 310), uniform(280, 310), uniform(0.95, 1), uniform(0.95, 1)], split_window),
    "qa_bits": ([whole(1024, np.uint16)], qa_bits),
    "local_moran": ([Z], lambda z: at(z, 0, 0) * sum(around(z)) / 8),
    "bilateral": ([Z], bilateral),
    "idw": ([lambda rng: np.where(rng.random(SHAPE) < 0.1, np.nan, rng.uniform(0, 9, SHAPE))], idw),
    "nearest_step": ([lambda rng: (rng.random(SHAPE) < 0.05).astype(np.uint8)], nearest_step),
    "game_of_life": ([whole(2, np.uint8)], game_of_life),
    "game_of_life_sum": ([whole(2, np.uint8)], game_of_life),
    "moving_mean": ([Z], lambda z: sliding_window_view(z, 5, axis=1).mean(-1)),
    "local_range_listed": ([Z], lambda z: np.ptp(cells(z, 1), (2, 3))),
    "local_std_listed": ([Z], lambda z: cells(z, 1).std((2, 3))),
    "median_3x3": ([Z], lambda z: np.median(cells(z, 1), (2, 3))),
    "entropy": ([whole(256, np.uint8)], entropy),
    "local_binary_pattern_by_table": ([Z], lambda z: sum((n >= at(z, 0, 0)).astype(int) << k for k, n in enumerate(around(z)))),
    "convolve_prewitt": ([Z], lambda z: ndimage.prewitt(z, 1)[1:-1, 1:-1]),
    "hotspots_by_table": ([Z], hotspots, {"std": 30.0}),
    "d8_table": ([Z], d8),
    "reclassify": ([whole(5, np.uint8)], lambda c: ported.CLASSES[c]),
    "reclassify_bins": ([uniform(-5, 30)], lambda z: np.digitize(z, ported.BINS, right=True)),
    "heat_index": ([uniform(60, 115), uniform(0, 100)], heat_index),
}  # fmt: skip

ROUGH = {"black_scholes": 2e-4, "aspect": 1e-7, "entropy": 1e-6}
"""The one has a polynomial that is good to 7.5e-8 of the price, another 180 / pi with seven digits; float32."""


@pytest.mark.parametrize("name", ORACLES)
def test_ported(name):
    inputs, oracle, *parameters = ORACLES[name]
    kernel, rng = getattr(ported, name), np.random.default_rng(len(name))
    arrays = [make(rng) for make in inputs]
    expected = oracle(*arrays)
    for backend in ("python", "cpu") if name in COMPILED else ("python",):
        results = kernel(*arrays, backend=backend, **dict(*parameters))
        compare(kernel, results, expected)


def compare(kernel, results, expected):
    rows, cols = kernel.radius if kernel.edge == "nodata" and kernel.nodata != "kernel" else (0, 0)
    pairs = ((results, expected),) if not isinstance(results, tuple) else zip(results, expected, strict=True)
    for found, wanted in pairs:
        inner = found[rows : found.shape[0] - rows, cols : found.shape[1] - cols].astype(np.float64)
        tolerance = ROUGH.get(kernel.name, 1e-9)
        np.testing.assert_allclose(inner, wanted, rtol=tolerance, atol=tolerance)


def grown(nodes, rng):
    """A decision tree: a class, or what is compared, the limit, and both sides."""
    if nodes == 0:
        return rng.randrange(12)
    left = rng.randrange(nodes)
    return rng.randrange(3), round(rng.uniform(-8, 8), 2), grown(left, rng), grown(nodes - 1 - left, rng)


def written(tree, indent="    "):
    if isinstance(tree, int):
        return f"{indent}return {tree}\n"
    which, limit, yes, no = tree
    inner = indent + "    "
    return f"{indent}if {'abc'[which]} <= {limit}:\n{written(yes, inner)}{indent}else:\n{written(no, inner)}"


def decided(tree, values):
    while not isinstance(tree, int):
        which, limit, yes, no = tree
        tree = yes if values[which] <= limit else no
    return tree


def test_a_decision_tree_of_fifty_nodes(tmp_path):
    tree = grown(50, random.Random(4))  # noqa: S311 - the same tree each time
    text = f"@tj.local\ndef decision_tree(a, b, c) -> np.uint8:\n{written(tree)}"
    kernel = write_module(tmp_path, text).decision_tree
    arrays = [np.random.default_rng(k).uniform(-10, 10, SHAPE) for k in range(3)]
    expected = [decided(tree, values) for values in zip(*(a.ravel() for a in arrays), strict=True)]
    for backend in ("python", "cpu"):
        assert kernel(*arrays, backend=backend).ravel().tolist() == expected

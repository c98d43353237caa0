"""What every shipped kernel must compute, said again: slow, obvious, in float64, with NumPy and SciPy.

`ORACLES` drives the tests of all backends. An oracle's inputs come from `make`, which takes a random number
generator and a shape (16x16 will do); `punched` puts holes into those that are floats.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from tilejit.kernel.kernel import Kernel
from tilejit_kernels import filters, indices, masks, morphology, terrain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.kernel.decorators import Applicable

    Arrays = tuple[np.ndarray, ...]

ONE = np.ones((1, 1), bool)
BOX = np.ones((3, 3), bool)
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
BOX_5 = np.ones((5, 5), bool)
BOX_7 = np.ones((7, 7), bool)
CELLS = {"dx": 30.0, "dy": 20.0}


@dataclass(frozen=True)
class Oracle:
    """One kernel with what it must compute."""

    kernel: Applicable
    """The kernel."""
    expected: Callable[..., Any]
    """Arrays (float64, or an annotated parameter's integers), parameters -> one array or a tuple of them."""
    make: Callable[[np.random.Generator, tuple[int, int]], Arrays]
    """Makes inputs without holes."""
    scale: float = 0.0
    """How large the results are; 0 where they are exact."""
    ulps: float = 0.0
    """How many float epsilons of `scale` a result may be off."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Keyword-only parameters."""
    period: float | None = None
    """Where results begin again: 360 for directions."""

    def tolerance(self, dtype: np.dtype) -> float:
        """How far off a result may be that was computed in ``dtype``."""
        return self.ulps * self.scale * float(np.finfo(dtype).eps)

    def errors(self, result: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Distances, 0 where both are NaN and infinite where one is."""
        distance = np.abs(result.astype(np.float64) - expected)
        if self.period is not None:
            distance = np.minimum(distance, self.period - distance)
        distance = np.where(result == expected, 0.0, distance)
        nan = np.isnan(np.asarray(result, np.float64)), np.isnan(expected)
        return np.where(nan[0] & nan[1], 0.0, np.where(nan[0] ^ nan[1], np.inf, distance))

    def worst(self, results: Any, inputs: Arrays) -> float:
        """The largest error of a kernel's results."""
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs]
        expected = self.expected(*wide, **self.parameters)
        pairs = zip(results, expected, strict=True) if isinstance(expected, tuple) else [(results, expected)]
        return max(float(self.errors(r, np.asarray(e, np.float64)).max(initial=0.0)) for r, e in pairs)


def windows(z: np.ndarray, shape: tuple[int, int], outside: float) -> np.ndarray:
    """The window of every cell: rows, columns, window's rows, window's columns."""
    rows, cols = shape[0] // 2, shape[1] // 2
    padded = np.pad(z, ((rows, rows), (cols, cols)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, shape)


def propagate(footprint: np.ndarray) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Makes results NaN where a cell of the footprint is NaN or outside, by looking at each.

    The centre is one of them, also where the arithmetic skips it.
    """
    assert footprint[footprint.shape[0] // 2, footprint.shape[1] // 2]

    def decorate(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        @functools.wraps(function)
        def expected(*arrays: np.ndarray, **parameters: Any) -> np.ndarray:
            filled = [np.nan_to_num(a.astype(np.float64)) for a in arrays]
            with np.errstate(all="ignore"):
                result = function(*filled, **parameters)
            invalid = [windows(np.isnan(a), footprint.shape, outside=True)[..., footprint] for a in arrays]
            return np.where(np.any(invalid, axis=(0, -1)), np.nan, result)

        return expected

    return decorate


# Terrain.


def correlate(z: np.ndarray, weights: Any) -> np.ndarray:
    return ndimage.correlate(z, np.asarray(weights, np.float64), mode="constant")


def gradient(z: np.ndarray, dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
    east = correlate(z, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / (8 * dx)
    north = correlate(z, [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / (8 * dy)
    return east, north


@propagate(BOX)
def slope(z, *, dx, dy):
    return np.degrees(np.arctan(np.linalg.norm(gradient(z, dx, dy), axis=0)))


@propagate(BOX)
def aspect(z, *, dx, dy):
    east, north = gradient(z, dx, dy)
    return np.where((east == 0) & (north == 0), np.nan, np.degrees(np.arctan2(-east, -north)) % 360)


def shade(z, *, azimuth, altitude, z_factor, dx, dy):
    """The cosine between light and normal, both as unit vectors (east, north, up)."""
    east, north = gradient(z * z_factor, dx, dy)
    normal = np.stack([-east, -north, np.ones_like(z)])
    normal /= np.linalg.norm(normal, axis=0)
    a, h = math.radians(azimuth), math.radians(altitude)
    light = [math.sin(a) * math.cos(h), math.cos(a) * math.cos(h), math.sin(h)]
    return np.tensordot(light, normal, 1).clip(0)


@propagate(BOX)
def hillshade(z, *, azimuth, altitude, z_factor, dx, dy):
    return 1 + 254 * shade(z, azimuth=azimuth, altitude=altitude, z_factor=z_factor, dx=dx, dy=dy)


@propagate(BOX)
def multidirectional_hillshade(z, *, altitude, z_factor, dx, dy):
    east, north = gradient(z, dx, dy)
    level = (east == 0) & (north == 0)
    azimuths = (225, 270, 315, 360)
    weights = np.stack([np.cos(np.arctan2(east, north) - math.radians(a)) ** 2 for a in azimuths])
    lit = functools.partial(shade, z, altitude=altitude, z_factor=z_factor, dx=dx, dy=dy)
    shades = np.stack([lit(azimuth=a) for a in azimuths])
    return 1 + 254 * np.where(level, math.sin(math.radians(altitude)), (weights * shades).sum(0) / 2)


@propagate(BOX)
def tpi(z):
    return z - correlate(z, RING / 8)


@propagate(BOX)
def tri(z):
    return np.sqrt(((windows(z, (3, 3), 0.0) - z[..., None, None]) ** 2).sum((2, 3)))


@propagate(BOX)
def roughness(z):
    return np.ptp(windows(z, (3, 3), 0.0), axis=(2, 3))


def derivatives(z, dx, dy):
    """First and second derivatives towards east (x) and north (y) by central differences."""
    zx = correlate(z, [[-1, 0, 1]]) / (2 * dx)
    zy = correlate(z, [[1], [0], [-1]]) / (2 * dy)
    zxx = correlate(z, [[1, -2, 1]]) / dx**2
    zyy = correlate(z, [[1], [-2], [1]]) / dy**2
    zxy = correlate(z, [[-1, 0, 1], [0, 0, 0], [1, 0, -1]]) / (4 * dx * dy)
    return zx, zy, zxx, zyy, zxy


@propagate(BOX)
def profile_curvature(z, *, dx, dy):
    """The second derivative along the unit vector of the fall, negated."""
    zx, zy, zxx, zyy, zxy = derivatives(z, dx, dy)
    angle = np.arctan2(zy, zx)
    along = zxx * np.cos(angle) ** 2 + 2 * zxy * np.cos(angle) * np.sin(angle) + zyy * np.sin(angle) ** 2
    return np.where((zx == 0) & (zy == 0), 0, -along)


@propagate(BOX)
def plan_curvature(z, *, dx, dy):
    """The second derivative along the unit vector across the fall."""
    zx, zy, zxx, zyy, zxy = derivatives(z, dx, dy)
    angle = np.arctan2(zy, zx) + math.pi / 2
    across = zxx * np.cos(angle) ** 2 + 2 * zxy * np.cos(angle) * np.sin(angle) + zyy * np.sin(angle) ** 2
    return np.where((zx == 0) & (zy == 0), 0, across)


# Indices.


def ratio(order: int):
    @propagate(ONE)
    def expected(first, second, *, scale=1.0, offset=0.0):
        bands = np.stack([first, second]) * scale + offset
        return order * np.diff(bands, axis=0)[0] / bands.sum(axis=0)

    return expected


@propagate(ONE)
def evi(blue, red, nir, *, scale, offset):
    blue, red, nir = (scale * b + offset for b in (blue, red, nir))
    return 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)


@propagate(ONE)
def savi(red, nir, *, soil):
    return (nir - red) / (nir + red + soil) * (1 + soil)


# Filters.


def over_valid(reduction: Callable[..., np.ndarray], size: int):
    """NumPy's reduction over the valid cells of each window, and NaN where there is none."""

    def expected(z):
        cells = windows(z.astype(np.float64), (size, size), np.nan).reshape(*z.shape, -1)
        empty = np.isnan(cells).all(-1)
        return np.where(empty, np.nan, reduction(np.where(empty[..., None], 0.0, cells), axis=-1))

    return expected


def row_sums(z):
    """Sums and numbers of the valid cells among 11 in a row."""
    cells = windows(z, (1, 11), np.nan)[:, :, 0]
    return np.nansum(cells, axis=2), np.count_nonzero(~np.isnan(cells), axis=2)


def column_mean(totals, counts):
    """Quotient of sums over 11 cells of a column; NaN in a sum stays NaN."""
    total, count = (windows(a, (11, 1), 0.0)[..., 0].sum(axis=2) for a in (totals, counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def median(size: int):
    @propagate(np.ones((size, size), bool))
    def expected(z):
        return np.median(windows(z, (size, size), 0.0), axis=(2, 3))

    return expected


@propagate(BOX_7)
def gaussian(z, *, sigma):
    return ndimage.gaussian_filter(z, sigma, radius=3)


@propagate(BOX)
def sobel(z):
    return np.hypot(ndimage.sobel(z, 0), ndimage.sobel(z, 1))


@propagate(PLUS)
def laplacian(z):
    return ndimage.laplace(z)


# Masks.


def bits(qa: np.ndarray) -> np.ndarray:
    """The sixteen bits of every pixel, lowest first."""
    return np.unpackbits(qa.astype("<u2").view(np.uint8).reshape(*qa.shape, 2), axis=-1, bitorder="little")


def without_fill(qa: np.ndarray, result: np.ndarray) -> np.ndarray:
    return np.where(qa % 2 == 1, 255, result)


def landsat_clear(qa, *, snow=False):
    flagged = bits(qa)[..., [1, 2, 3, 4, *([5] if snow else [])]]
    return without_fill(qa, ~flagged.any(-1))


def landsat_water(qa):
    return without_fill(qa, bits(qa)[..., 7])


def landsat_confidence(qa):
    b = bits(qa)
    return tuple(without_fill(qa, b[..., low] + 2 * b[..., low + 1]) for low in (8, 10, 12, 14))


def sentinel2_clear(scl, *, snow=False):
    masked = [1, 3, 8, 9, 10, *([11] if snow else [])]
    return np.where(scl == 0, 255, ~np.isin(scl, masked))


def sentinel2_cloudless(qa, *, cirrus=True):
    return ~bits(qa)[..., [10, *([11] if cirrus else [])]].any(-1)


def reclassify(z, **breaks):
    return np.where(np.isnan(z), 255, np.digitize(np.nan_to_num(z), list(breaks.values())))


# Inputs.


def geodesic_dilation(marker, mask):
    high = ndimage.maximum_filter(np.where(np.isnan(marker), -np.inf, marker), 3, mode="constant", cval=-np.inf)
    return np.where(np.isinf(high), np.nan, np.minimum(high, mask))


def geodesic_erosion(marker, mask):
    return -geodesic_dilation(-marker, -mask)


def repeated(sweep):
    """What a sweep comes to in the end."""

    def expected(marker, mask):
        before, after = None, marker
        while before is None or not np.array_equal(before, after, equal_nan=True):
            before, after = after, sweep(after, mask)
        return after

    return expected


def marked_below(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Markers of a terrain at some of its cells, and it."""
    (mask,) = elevation(rng, shape)
    return np.where(rng.random(shape) < 0.02, mask, mask - 60).astype(np.float32), mask


def marked_above(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    marker, mask = marked_below(rng, shape)
    return -marker, -mask


def elevation(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Hills with rough ground, a plain and a ramp, in 64ths of a metre, whose differences float32 holds."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    hills = 1500 + 1000 * np.sin(x / 23) * np.cos(y / 31) + rng.normal(0, 8, shape)
    hills[shape[0] // 2 :, : shape[1] // 4] = 812.25
    hills[: shape[0] // 4, : shape[1] // 3] = np.arange(shape[1] // 3) * 0.5
    return ((np.round(hills * 64) / 64).astype(np.float32),)


def reflectance(count: int):
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
        """Positive numbers as of 10000, in float32."""
        return tuple(rng.integers(300, 6000, shape).astype(np.float32) for _ in range(count))

    return make


def vegetation(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Blue, red and near infrared as of 10000; blue is dark, so that EVI's denominator is not near 0."""
    return tuple(
        rng.integers(low, high, shape).astype(np.float32) for low, high in ((100, 1000), (300, 3000), (500, 6000))
    )


def sparse(count: int):
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
        """Small whole numbers, so that 0 / 0 is among the pixels."""
        return tuple(rng.integers(0, 4, shape).astype(np.float32) for _ in range(count))

    return make


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Numbers around 1000, with ties."""
    return (np.round(rng.normal(1000, 20, shape)).astype(np.float32),)


def sums_and_counts(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Sums of up to 11 heights, and how many they are of."""
    counts = rng.integers(1, 12, shape).astype(np.float32)
    return (elevation(rng, shape)[0] * counts, counts)


def quality(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Any sixteen bits."""
    return (rng.integers(0, 2**16, shape).astype(np.uint16),)


def classes(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """The classes of SCL, and numbers that are none."""
    return (rng.choice(np.array([*range(14), 40, 255], np.uint8), shape),)


def whole(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    """Whole numbers from -5 to 25: the breaks themselves are among them."""
    return (rng.integers(-5, 26, shape).astype(np.float32),)


def punched(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Copies of the arrays, with lone holes and a block of NaN in those that are floats."""
    result = []
    for array in arrays:
        copy = array.copy()
        if copy.dtype.kind == "f":
            copy[rng.random(copy.shape) < 0.02] = np.nan
            rows, cols = (n // 3 for n in copy.shape)
            copy[rows : 2 * rows + 2, 2 * cols : 2 * cols + max(6, cols // 2)] = np.nan
        result.append(copy)
    return tuple(result)


SUN = {"azimuth": 300.0, "altitude": 35.0, "z_factor": 1.5, **CELLS}
LANDSAT = {"scale": 2.75e-5, "offset": -0.2}
SENTINEL = {"scale": 1e-4, "offset": 0.0}
BREAKS = {"break_1": -3.0, "break_2": 0.0, "break_3": 7.5, "break_4": 20.0}

ORACLES: dict[str, Oracle] = {
    "slope": Oracle(terrain.slope, slope, elevation, 90, 2, CELLS),
    "aspect": Oracle(terrain.aspect, aspect, elevation, 360, 2, CELLS, period=360),
    "hillshade": Oracle(terrain.hillshade, hillshade, elevation, 255, 3, SUN),
    "multidirectional_hillshade": Oracle(
        terrain.multidirectional_hillshade, multidirectional_hillshade, elevation, 255, 3,
        {"altitude": 30.0, "z_factor": 1.5, **CELLS},
    ),
    "tpi": Oracle(terrain.tpi, tpi, elevation, 100, 1),
    "tri": Oracle(terrain.tri, tri, elevation, 3000, 2),
    "roughness": Oracle(terrain.roughness, roughness, elevation, 3000, 1),
    "profile_curvature": Oracle(terrain.profile_curvature, profile_curvature, elevation, 4, 4, CELLS),
    "plan_curvature": Oracle(terrain.plan_curvature, plan_curvature, elevation, 4, 4, CELLS),
    "ndvi": Oracle(indices.ndvi, ratio(+1), sparse(2), 1, 1),
    "evi": Oracle(indices.evi, evi, vegetation, 2, 3, SENTINEL),
    "savi": Oracle(indices.savi, savi, sparse(2), 2, 1, {"soil": 0.25}),
    "ndwi": Oracle(indices.ndwi, ratio(-1), sparse(2), 1, 1),
    "mndwi": Oracle(indices.mndwi, ratio(-1), reflectance(2), 1, 2, SENTINEL),
    "nbr": Oracle(indices.nbr, ratio(-1), reflectance(2), 1, 1),
    "ndmi": Oracle(indices.ndmi, ratio(-1), reflectance(2), 1, 1),
    "ndbi": Oracle(indices.ndbi, ratio(+1), reflectance(2), 1, 1),
    "mean_3x3": Oracle(filters.mean_3x3, over_valid(np.nanmean, 3), elevation, 3000, 1),
    "mean_5x5": Oracle(filters.mean_5x5, over_valid(np.nanmean, 5), elevation, 3000, 1),
    "row_sums_11": Oracle(filters.row_sums_11, row_sums, elevation, 33000, 2),
    "column_mean_11": Oracle(filters.column_mean_11, column_mean, sums_and_counts, 3000, 3),
    "mean_11x11": Oracle(filters.mean_11x11, over_valid(np.nanmean, 11), elevation, 3000, 3),
    "minimum_3x3": Oracle(filters.minimum_3x3, over_valid(np.nanmin, 3), elevation),
    "minimum_5x5": Oracle(filters.minimum_5x5, over_valid(np.nanmin, 5), elevation),
    "maximum_3x3": Oracle(filters.maximum_3x3, over_valid(np.nanmax, 3), elevation),
    "maximum_5x5": Oracle(filters.maximum_5x5, over_valid(np.nanmax, 5), elevation),
    "standard_deviation_3x3": Oracle(
        filters.standard_deviation_3x3, over_valid(np.nanstd, 3), elevation, 1000, 2
    ),
    "standard_deviation_5x5": Oracle(
        filters.standard_deviation_5x5, over_valid(np.nanstd, 5), elevation, 1000, 2
    ),
    "geodesic_dilation": Oracle(morphology.geodesic_dilation, geodesic_dilation, marked_below),
    "geodesic_erosion": Oracle(morphology.geodesic_erosion, geodesic_erosion, marked_above),
    "lower_of": Oracle(morphology.lower_of, np.minimum, marked_below),
    "higher_of": Oracle(morphology.higher_of, np.maximum, marked_above),
    "reconstruct_by_dilation": Oracle(
        morphology.reconstruct_by_dilation, repeated(geodesic_dilation), marked_below
    ),
    "reconstruct_by_erosion": Oracle(
        morphology.reconstruct_by_erosion, repeated(geodesic_erosion), marked_above
    ),
    "median_3x3": Oracle(filters.median_3x3, median(3), noise),
    "median_5x5": Oracle(filters.median_5x5, median(5), noise),
    "gaussian": Oracle(filters.gaussian, gaussian, elevation, 3000, 3, {"sigma": 1.25}),
    "sobel": Oracle(filters.sobel, sobel, elevation, 10000, 1),
    "laplacian": Oracle(filters.laplacian, laplacian, elevation),
    "landsat_clear": Oracle(masks.landsat_clear, landsat_clear, quality, parameters={"snow": True}),
    "landsat_water": Oracle(masks.landsat_water, landsat_water, quality),
    "landsat_confidence": Oracle(masks.landsat_confidence, landsat_confidence, quality),
    "sentinel2_clear": Oracle(masks.sentinel2_clear, sentinel2_clear, classes, parameters={"snow": True}),
    "sentinel2_cloudless": Oracle(
        masks.sentinel2_cloudless, sentinel2_cloudless, quality, parameters={"cirrus": False}
    ),
    "reclassify": Oracle(masks.reclassify, reclassify, whole, parameters=BREAKS),
}  # fmt: skip
"""Name of a kernel -> what it must compute."""
SINGLE = {name: oracle for name, oracle in ORACLES.items() if isinstance(oracle.kernel, Kernel)}
"""Without the chains, whose kernels are in there one by one."""

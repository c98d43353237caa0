"""Kernels as a new user writes them: Numba's examples, filters of scikit-image's gallery, what xarray-spatial has, and
indices and classifications of the literature. Written anew, of the formulas; `compiler/test_ported.py` has the oracles.
"""
# ruff: noqa: E731, RET505 - as their authors write

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np

import tilejit as tj

RSQRT2PI = 0.39894228040143267793994605993438
A = (0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
METHOD = "horn"
RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
CODES = (1, 2, 4, 8, 16, 32, 64, 128)
KERNEL = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]])
CLASSES = np.array([0, 3, 1] + [7] * 253)
BINS = (1.0, 5.0, 10.0, 20.0)


@tj.local
def mandelbrot(x, y, *, steps: int = 40):
    real, imag = 0.0, 0.0
    for i in range(steps):
        real, imag = real * real - imag * imag + x, 2 * real * imag + y
        if real * real + imag * imag >= 4:
            return i
    return steps


def cnd(d):
    k = 1.0 / (1.0 + 0.2316419 * np.abs(d))
    c = RSQRT2PI * np.exp(-0.5 * d * d) * (k * (A[0] + k * (A[1] + k * (A[2] + k * (A[3] + k * A[4])))))
    return np.where(d > 0, 1.0 - c, c)


@tj.local
def black_scholes(price, strike, years, *, rate=0.02, volatility=0.3):
    root = np.sqrt(years)
    d1 = (np.log(price / strike) + (rate + 0.5 * volatility * volatility) * years) / (volatility * root)
    d2 = d1 - volatility * root
    discount = np.exp(-rate * years)
    call = price * cnd(d1) - strike * discount * cnd(d2)
    put = strike * discount * (1.0 - cnd(d2)) - price * (1.0 - cnd(d1))
    return call, put


@tj.focal
def laplace_step(z):
    return 0.25 * (z[0, 1] + z[1, 0] + z[0, -1] + z[-1, 0])


@tj.focal
def blur(z):
    r = 0.0
    for i in range(-2, 3):
        for j in range(-2, 3):
            r += z[i, j] / ((i * i + j * j) / 4 + 1)
    return r


@tj.local
def logistic_map(r, *, x0=0.5, steps: int = 50):
    x = x0
    for _ in range(steps):
        x = r * x * (1 - x)
    return x


@tj.local
def great_circle(lat1, lon1, lat2, lon2):
    lat1, lon1, lat2, lon2 = np.deg2rad(lat1), np.deg2rad(lon1), np.deg2rad(lat2), np.deg2rad(lon2)
    h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0 * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


@tj.local
def expit(z):
    return 1 / (1 + np.exp(-z))


@tj.focal
def local_range(z):
    lo, hi = np.inf, -np.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            lo, hi = min(lo, z[dy, dx]), max(hi, z[dy, dx])
    return hi - lo


@tj.focal
def local_std(z):
    s = s2 = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            v = z[dy, dx]
            s += v
            s2 += v * v
    return np.sqrt(np.maximum(s2 / 9 - (s / 9) ** 2, 0))


@tj.focal
def majority_3x3(z: np.uint8) -> np.uint8:
    best, most = 0, 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            n = 0
            for v in range(-1, 2):
                for u in range(-1, 2):
                    if z[v, u] == z[dy, dx]:
                        n += 1
            if n > most or (n == most and z[dy, dx] < best):
                best, most = z[dy, dx], n
    return best


@tj.focal
def local_binary_pattern(z) -> np.int16:
    bit = lambda dy, dx, k: (1 << k) if z[dy, dx] >= z[0, 0] else 0
    return (
        bit(-1, -1, 0)
        | bit(-1, 0, 1)
        | bit(-1, 1, 2)
        | bit(0, 1, 3)
        | bit(1, 1, 4)
        | bit(1, 0, 5)
        | bit(1, -1, 6)
        | bit(0, -1, 7)
    )


@tj.focal
def sobel(z):
    gx = z[-1, 1] + 2 * z[0, 1] + z[1, 1] - z[-1, -1] - 2 * z[0, -1] - z[1, -1]
    gy = z[1, -1] + 2 * z[1, 0] + z[1, 1] - z[-1, -1] - 2 * z[-1, 0] - z[-1, 1]
    return np.hypot(gx, gy), np.rad2deg(np.arctan2(gy, gx))


@tj.focal
def roberts(z):
    return np.sqrt(np.square(z[0, 0] - z[1, 1]) + np.square(z[0, 1] - z[1, 0]))


@tj.focal
def unsharp(z, *, amount=1.5):
    blurred = (z[-1, 0] + z[1, 0] + z[0, -1] + z[0, 1] + 4 * z[0, 0]) / 8
    return np.clip(z[0, 0] + amount * (z[0, 0] - blurred), 0, 255)


@tj.focal
def morphological_gradient(z):
    up = max(z[-1, 0], z[1, 0], z[0, -1], z[0, 1], z[0, 0])
    down = min(z[-1, 0], z[1, 0], z[0, -1], z[0, 1], z[0, 0])
    return up - down


@tj.focal
def contrast_normalised(z, *, epsilon=1e-6):
    n, mean = 0, 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            n += 1
            mean += (z[dy, dx] - mean) / n
    var = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            var += (z[dy, dx] - mean) ** 2 / n
    return (z[0, 0] - mean) / np.sqrt(var + epsilon)


@tj.local
def ndvi(nir, red):
    return (nir - red) / (nir + red)


@tj.local
def evi(nir, red, blue, *, c1=6.0, c2=7.5, soil=1.0, gain=2.5):
    return gain * (nir - red) / (nir + c1 * red - c2 * blue + soil)


@tj.local
def arvi(nir, red, blue):
    return (nir - (2.0 * red - blue)) / (nir + (2.0 * red - blue))


@tj.local
def savi(nir, red, *, soil_factor=1.0):
    assert -1.0 <= soil_factor <= 1.0
    return (nir - red) / ((nir + red + soil_factor) * (1.0 + soil_factor))


@tj.local
def sipi(nir, red, blue):
    return (nir - blue) / (nir - red)


@tj.local
def gci(nir, green):
    return nir / green - 1


@tj.local
def nbr(nir, swir):
    return np.divide(np.subtract(nir, swir), np.add(nir, swir))


@tj.local
def ebbi(red, swir, tir):
    return (swir - red) / (10 * np.sqrt(swir + tir))


@tj.local(nodata="kernel")
def true_color(
    r, g, b, *, low=0.0, high=4000.0, contrast=10.0, threshold=0.125
) -> tuple[np.int16, np.int16, np.int16, np.int16]:
    def scaled(v):
        norm = (v - low) / (high - low)
        return np.clip(255 / (1 + np.exp(contrast * (threshold - norm))), 0, 255)

    alpha = 0 if np.isnan(r) or r <= 1 else 255
    return scaled(r), scaled(g), scaled(b), alpha


@tj.focal
def hotspots(z, *, mean=0.0, std=1.0) -> np.int8:
    local = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            local += z[dy, dx] / 9
    score = (local - mean) / std
    level = 99 if abs(score) > 2.58 else 95 if abs(score) > 1.96 else 90 if abs(score) > 1.65 else 0
    return np.sign(score) * level


@tj.focal
def curvature(z, *, cellsize=30.0):
    d = (z[0, -1] + z[0, 1]) / 2 - z[0, 0]
    e = (z[-1, 0] + z[1, 0]) / 2 - z[0, 0]
    return -2 * (d + e) * 100 / (cellsize * cellsize)


@tj.focal
def aspect(z):
    a, b, c = z[-1, -1], z[-1, 0], z[-1, 1]
    d, f = z[0, -1], z[0, 1]
    g, h, i = z[1, -1], z[1, 0], z[1, 1]
    dz_dx = ((c + 2 * f + i) - (a + 2 * d + g)) / 8
    dz_dy = ((g + 2 * h + i) - (a + 2 * b + c)) / 8
    if dz_dx == 0 and dz_dy == 0:
        return -1.0
    angle = np.arctan2(dz_dy, -dz_dx) * 57.29578
    if angle < 0:
        return 90.0 - angle
    elif angle > 90.0:
        return 360.0 - angle + 90.0
    else:
        return 90.0 - angle


@tj.focal
def hillshade(z, *, azimuth=225, altitude=25):
    azimuth = 360.0 - azimuth
    x, y = (z[0, 1] - z[0, -1]) / 2, (z[1, 0] - z[-1, 0]) / 2
    azimuth_rad, altitude_rad = np.deg2rad(azimuth), np.deg2rad(altitude)
    slope = np.pi / 2.0 - np.arctan(np.sqrt(x * x + y * y))
    aspect = np.arctan2(-x, y)
    shaded = np.sin(altitude_rad) * np.sin(slope) + np.cos(altitude_rad) * np.cos(slope) * np.cos(
        (azimuth_rad - np.pi / 2.0) - aspect
    )
    return (shaded + 1) / 2


@tj.focal
def slope_by_method(z, *, dx=30.0, dy=30.0):
    if METHOD == "horn":
        p = (z[-1, 1] + 2 * z[0, 1] + z[1, 1] - z[-1, -1] - 2 * z[0, -1] - z[1, -1]) / (8 * dx)
        q = (z[1, -1] + 2 * z[1, 0] + z[1, 1] - z[-1, -1] - 2 * z[-1, 0] - z[-1, 1]) / (8 * dy)
    else:
        p, q = (z[0, 1] - z[0, -1]) / (2 * dx), (z[1, 0] - z[-1, 0]) / (2 * dy)
    return np.degrees(np.arctan(np.hypot(p, q)))


@tj.focal
def zevenbergen_thorne(z, *, size=30.0):
    g = (z[0, 1] - z[0, -1]) / (2 * size)
    h = (z[-1, 0] - z[1, 0]) / (2 * size)
    return np.arctan(np.sqrt(g**2 + h**2))


@tj.focal
def tri(z):
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            total += (z[dy, dx] - z[0, 0]) ** 2
    return np.sqrt(total)


@tj.focal
def d8(z, *, size=30.0) -> np.uint8:
    best, code = 0.0, 0

    def drop(dy, dx):
        return (z[0, 0] - z[dy, dx]) / (size * math.hypot(dy, dx))

    if (d := drop(0, 1)) > best:
        best, code = d, 1
    if (d := drop(1, 1)) > best:
        best, code = d, 2
    if (d := drop(1, 0)) > best:
        best, code = d, 4
    if (d := drop(1, -1)) > best:
        best, code = d, 8
    if (d := drop(0, -1)) > best:
        best, code = d, 16
    if (d := drop(-1, -1)) > best:
        best, code = d, 32
    if (d := drop(-1, 0)) > best:
        best, code = d, 64
    if (d := drop(-1, 1)) > best:
        best, code = d, 128
    return code


def aspect_of(z, dy, dx):
    return math.atan2(z[dy + 1, dx] - z[dy - 1, dx], z[dy, dx + 1] - z[dy, dx - 1])


@tj.focal
def convergence(z):
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if dy == 0 and dx == 0:
                continue
            towards = math.atan2(-dy, -dx)
            off = np.abs(aspect_of(z, dy, dx) - towards) % (2 * np.pi)
            total += np.degrees(min(off, 2 * np.pi - off))
    return total / 8 - 90


@tj.local
def cos_incidence(slope, aspect, latitude, *, day: int = 172, hour=12.0):
    lat, s, a = np.radians(latitude), np.radians(slope), np.radians(aspect - 180)
    decl = np.radians(23.45 * np.sin(np.radians(360 * (284 + day) / 365)))
    w = np.radians(15 * (hour - 12))
    return (
        np.sin(decl) * np.sin(lat) * np.cos(s)
        - np.sin(decl) * np.cos(lat) * np.sin(s) * np.cos(a)
        + np.cos(decl) * np.cos(lat) * np.cos(s) * np.cos(w)
        + np.cos(decl) * np.sin(lat) * np.sin(s) * np.cos(a) * np.cos(w)
        + np.cos(decl) * np.sin(s) * np.sin(a) * np.sin(w)
    )


class Coefficients(NamedTuple):
    c0: float = -0.268
    c1: float = 1.378
    c2: float = 0.183
    c3: float = 54.30
    c4: float = -2.238
    c5: float = -129.20
    c6: float = 16.40


C = Coefficients()


@tj.local
def split_window(t10, t11, e10, e11, *, vapour=1.5):
    mean, diff, dt = (e10 + e11) / 2, e10 - e11, t10 - t11
    return t10 + C.c1 * dt + C.c2 * dt**2 + C.c0 + (C.c3 + C.c4 * vapour) * (1 - mean) + (C.c5 + C.c6 * vapour) * diff


class Bit(IntEnum):
    FILL = 0
    DILATED = 1
    CIRRUS = 2
    CLOUD = 3
    SHADOW = 4


@tj.local
def qa_bits(qa: np.uint16) -> np.int16:
    has = lambda bit: (qa >> bit) & 1 == 1
    confidence = lambda start: (qa >> start) & 0b11
    if has(Bit.FILL):
        return 255
    match confidence(8):
        case 3:
            return 4
        case 2 if has(Bit.CIRRUS):
            return 3
    return 2 if has(Bit.CLOUD) or has(Bit.DILATED) else has(Bit.SHADOW)


@tj.focal
def local_moran(z, *, mean=0.0, variance=1.0):
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if not (dy == 0 and dx == 0):
                total += z[dy, dx] - mean
    return (z[0, 0] - mean) / variance * total / 8


@tj.focal
def bilateral(z, *, sigma_space=2.0, sigma_range=20.0):
    total = weights = 0.0
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            diff = z[dy, dx] - z[0, 0]
            w = np.exp(-(dy * dy + dx * dx) / (2 * sigma_space**2) - diff**2 / (2 * sigma_range**2))
            total += w * z[dy, dx]
            weights += w
    return total / weights


@tj.focal(nodata="kernel")
def idw(z, *, power=2.0):
    if not np.isnan(z[0, 0]):
        return z[0, 0]
    total = weights = 0.0
    for dy in range(-7, 8):
        for dx in range(-7, 8):
            v = z[dy, dx]
            if not np.isnan(v):
                w = 1 / np.power(np.hypot(dy, dx), power)
                total += w * v
                weights += w
    return total / weights if weights > 0 else np.nan


@tj.focal
def nearest_step(z: np.uint8) -> np.uint8:
    for r in range(1, 4):
        for k in range(-r, r + 1):
            if z[-r, k] or z[r, k] or z[k, -r] or z[k, r]:
                break
        else:
            continue
        return r
    return 9


@tj.local
def heat_index(t, rh):
    hi = 0.5 * (t + 61 + (t - 68) * 1.2 + rh * 0.094)
    if (hi + t) / 2 < 80:
        return hi
    hi = (
        -42.379
        + 2.04901523 * t
        + 10.14333127 * rh
        - 0.22475541 * t * rh
        - 6.83783e-3 * t * t
        - 5.481717e-2 * rh * rh
        + 1.22874e-3 * t * t * rh
        + 8.5282e-4 * t * rh * rh
        - 1.99e-6 * t * t * rh * rh
    )
    if rh < 13 and 80 <= t <= 112:
        hi -= (13 - rh) / 4 * np.sqrt((17 - np.abs(t - 95)) / 17)
    elif rh > 85 and 80 <= t <= 87:
        hi += (rh - 85) / 10 * (87 - t) / 5
    return round(hi, 1)


@tj.focal(edge=0)
def game_of_life(z: np.uint8) -> np.uint8:
    n = 0
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if (dy, dx) != (0, 0):
                n += z[dy, dx]
    return 1 if n == 3 or (n == 2 and z[0, 0]) else 0


@tj.focal(edge=0)
def game_of_life_sum(z: np.uint8) -> np.uint8:
    n = sum(z[dy, dx] for dy in range(-1, 2) for dx in range(-1, 2)) - z[0, 0]
    match n:
        case 3:
            return 1
        case 2:
            return z[0, 0]
        case _:
            return 0


@tj.focal
def moving_mean(z, *, window: int = 5):
    return sum(z[0, k] for k in range(-2, 3)) / 5


@tj.focal
def local_range_listed(z):
    values = [z[dy, dx] for dy in range(-1, 2) for dx in range(-1, 2)]
    return max(values) - min(values)


@tj.focal
def local_std_listed(z):
    values = [z[dy, dx] for dy in range(-1, 2) for dx in range(-1, 2)]
    mean = sum(values) / len(values)
    return np.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


@tj.focal
def median_3x3(z):
    values = [z[dy, dx] for dy in range(-1, 2) for dx in range(-1, 2)]
    return sorted(values)[4]


@tj.focal
def entropy(z: np.uint8):
    counts = np.zeros(16)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            counts[z[dy, dx] >> 4] += 1
    h = 0.0
    for n in counts:
        if n > 0:
            h -= n / 25 * np.log2(n / 25)
    return h


@tj.focal
def local_binary_pattern_by_table(z) -> np.int16:
    bits = 0
    for k, (dy, dx) in enumerate(RING):
        if z[dy, dx] >= z[0, 0]:
            bits |= 1 << k
    return bits


@tj.focal
def convolve_prewitt(z):
    total = 0.0
    for dy in range(3):
        for dx in range(3):
            total += KERNEL[dy, dx] * z[dy - 1, dx - 1]
    return total


@tj.focal
def hotspots_by_table(z, *, mean=0.0, std=1.0) -> np.int8:
    local = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            local += z[dy, dx] / 9
    score = (local - mean) / std
    sign, score = np.sign(score), np.abs(score)
    for limit, level in ((2.58, 99), (1.96, 95), (1.65, 90)):
        if score > limit:
            return sign * level
    return 0


@tj.focal
def d8_table(z, *, size=30.0) -> np.uint8:
    best, code = 0.0, 0
    for k, (dy, dx) in enumerate(RING):
        drop = (z[0, 0] - z[dy, dx]) / (size * np.hypot(dy, dx))
        if drop > best:
            best, code = drop, CODES[k]
    return code


@tj.local
def reclassify(c: np.uint8) -> np.uint8:
    return CLASSES[c]


@tj.local
def reclassify_bins(z) -> np.uint8:
    for k, limit in enumerate(BINS):
        if z <= limit:
            return k
    return len(BINS)

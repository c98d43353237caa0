"""Twenty-six kernels from the literature, as a user would write them; `loops` has the same as loops for Numba."""

from __future__ import annotations

import math

import numpy as np

import tilejit as tj

RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
CAP = np.array([
    [0.3029, 0.2786, 0.4733, 0.5599, 0.508, 0.1872],
    [-0.2941, -0.243, -0.5424, 0.7276, 0.0713, -0.1608],
    [0.1511, 0.1973, 0.3283, 0.3407, -0.7117, -0.4559],
])  # fmt: skip
LUT = tuple((7 * k + 3) % 11 / 10 for k in range(64))
NODES = 50
_RNG = np.random.default_rng(50)
FEATURE = tuple(int(f) for f in _RNG.integers(0, 4, NODES))
LIMIT = tuple(float(v) for v in _RNG.random(NODES))
LEAF = tuple(k % 7 for k in range(2 * NODES + 2))


@tj.focal
def zevenbergen_thorne(z, *, size=30.0):
    g = (z[0, 1] - z[0, -1]) / (2 * size)
    h = (z[-1, 0] - z[1, 0]) / (2 * size)
    return math.degrees(math.atan(math.sqrt(g**2 + h**2)))


@tj.focal
def ruggedness(z):
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            total += (z[dy, dx] - z[0, 0]) ** 2
    return math.sqrt(total)


@tj.focal(radius=5)
def geomorphons(z, *, flat=0.02):
    """Higher less lower ones of eight directions, by the first cell within 5 that is clearly either."""
    score = 0
    for dy, dx in RING:
        step = 1
        while step < 5 and abs(z[dy * step, dx * step] - z[0, 0]) <= flat * step:
            step += 1
        rise = z[dy * step, dx * step] - z[0, 0]
        if rise > flat * step:
            score += 1
        elif rise < -flat * step:
            score -= 1
    return score


@tj.focal
def sobel(z):
    gx = (z[-1, 1] + 2 * z[0, 1] + z[1, 1] - z[-1, -1] - 2 * z[0, -1] - z[1, -1]) / 8
    gy = (z[1, -1] + 2 * z[1, 0] + z[1, 1] - z[-1, -1] - 2 * z[-1, 0] - z[-1, 1]) / 8
    return math.hypot(gx, gy), math.atan2(gy, gx)


@tj.focal
def bilateral(z, *, sigma_space=2.0, sigma_range=0.2):
    total = weights = 0.0
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            diff = z[dy, dx] - z[0, 0]
            w = math.exp(-(dy * dy + dx * dx) / (2 * sigma_space**2) - diff**2 / (2 * sigma_range**2))
            total += w * z[dy, dx]
            weights += w
    return total / weights


@tj.focal
def local_moran(z, *, mean=0.5, variance=0.08):
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if not (dy == 0 and dx == 0):
                total += z[dy, dx] - mean
    return (z[0, 0] - mean) / variance * total / 8


@tj.focal
def lee(z, *, noise=0.05):
    mean = square = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            mean += z[dy, dx]
            square += z[dy, dx] ** 2
    mean /= 25
    variance = square / 25 - mean**2
    weight = variance / (variance + noise * mean**2)
    return mean + weight * (z[0, 0] - mean)


@tj.focal
def d8(z, *, size=30.0) -> np.uint8:
    best, code = 0.0, 0
    for k, (dy, dx) in enumerate(RING):
        drop = (z[0, 0] - z[dy, dx]) / (size * math.hypot(dy, dx))
        if drop > best:
            best, code = drop, 1 << k
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
            off = abs(aspect_of(z, dy, dx) - math.atan2(-dy, -dx)) % (2 * math.pi)
            total += math.degrees(min(off, 2 * math.pi - off))
    return total / 8 - 90


@tj.focal
def sky_view(z, *, size=30.0):
    total = 0.0
    for dy, dx in RING:
        highest = 0.0
        for step in range(1, 11):
            rise = z[dy * step, dx * step] - z[0, 0]
            highest = max(highest, rise / (step * size * math.hypot(dy, dx)))
        total += 1.0 - math.sin(math.atan(highest))
    return total / 8


@tj.local
def cos_incidence(slope, aspect, latitude, *, day: int = 172, hour=10.0):
    lat, s, a = math.radians(latitude), math.radians(slope), math.radians(aspect - 180)
    decl = math.radians(23.45 * math.sin(math.radians(360 * (284 + day) / 365)))
    w = math.radians(15 * (hour - 12))
    return (
        math.sin(decl) * math.sin(lat) * math.cos(s)
        - math.sin(decl) * math.cos(lat) * math.sin(s) * math.cos(a)
        + math.cos(decl) * math.cos(lat) * math.cos(s) * math.cos(w)
        + math.cos(decl) * math.sin(lat) * math.sin(s) * math.cos(a) * math.cos(w)
        + math.cos(decl) * math.sin(s) * math.sin(a) * math.sin(w)
    )


@tj.local
def tasseled_cap(b1, b2, b3, b4, b5, b6):  # noqa: PLR0917
    bands = (b1, b2, b3, b4, b5, b6)
    bright = green = wet = 0.0
    for k in range(6):
        bright += CAP[0, k] * bands[k]
        green += CAP[1, k] * bands[k]
        wet += CAP[2, k] * bands[k]
    return bright, green, wet


@tj.local
def split_window(t10, t11, e10, e11, *, vapour=1.5):
    mean, diff, dt = (e10 + e11) / 2, e10 - e11, t10 - t11
    air = (54.3 - 2.238 * vapour) * (1 - mean) + (16.4 * vapour - 129.2) * diff
    return t10 + 1.378 * dt + 0.183 * dt**2 - 0.268 + air


@tj.local
def qa_bits(qa: np.uint16) -> np.uint8:
    if qa & 1:
        return 255
    if (qa >> 8) & 3 == 3:
        return 4
    if (qa >> 8) & 3 == 2 and (qa >> 2) & 1:
        return 3
    if (qa >> 3) & 1 or (qa >> 1) & 1:
        return 2
    return (qa >> 4) & 1


@tj.local
def best_pixel(a, b, c, d, e, f):  # noqa: PLR0917
    """The median of six dates."""
    values = [a, b, c, d, e, f]
    tj.sort(values)
    return (values[2] + values[3]) / 2


@tj.local
def mandelbrot(x, y, *, steps: int = 50) -> np.int32:
    a, b, n = 0.0, 0.0, 0
    while a * a + b * b < 4.0 and n < steps:
        a, b = a * a - b * b + x, 2.0 * a * b + y
        n += 1
    return n


@tj.local
def logistic_map(r, *, steps: int = 50):
    x = 0.5
    for _ in range(steps):
        x = r * x * (1.0 - x)
    return x


@tj.local
def decision_tree(a, b, c, d) -> np.uint8:
    """A tree of fifty nodes in tables: the children of node k are 2k+1 and 2k+2."""
    node = 0
    while node < NODES:
        f = FEATURE[node]
        v = a if f == 0 else b if f == 1 else c if f == 2 else d
        node = 2 * node + 1 if v <= LIMIT[node] else 2 * node + 2
    return LEAF[node]


@tj.local
def reclassified(z):
    return LUT[int(z)]


@tj.focal
def majority(c: np.uint8) -> np.uint8:
    counts = tj.zeros(8, dtype=int)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            counts[c[dy, dx]] += 1
    best = 0
    for k in range(1, 8):
        if counts[k] > counts[best]:
            best = k
    return best


@tj.focal
def entropy(c: np.uint8):
    counts = tj.zeros(16, dtype=int)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            counts[c[dy, dx] >> 4] += 1
    h = 0.0
    for n in counts:
        if n > 0:
            h -= n / 25 * math.log2(n / 25)
    return h


@tj.focal
def median_5x5(z):
    values, n = tj.window(z, 5)
    return tj.median(values, n)


@tj.focal
def percentile_5x5(z, *, q=90.0):
    values, n = tj.window(z, 5)
    return tj.percentile(values, n, q)


@tj.focal
def eroded(z):
    least = math.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            least = min(least, z[dy, dx])
    return least


@tj.focal(radius=lambda sigma: math.ceil(3 * sigma))
def gaussian(z, *, sigma=1.0):
    total, weights, reach = 0.0, 0.0, math.ceil(3 * sigma)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            weight = math.exp(-0.5 * (dy * dy + dx * dx) / (sigma * sigma))
            total += weight * z[dy, dx]
            weights += weight
    return total / weights


@tj.focal
def inverse_distance(z, *, power=2.0):
    total = weights = 0.0
    for dy in range(-7, 8):
        for dx in range(-7, 8):
            if dy != 0 or dx != 0:
                w = 1.0 / math.hypot(dy, dx) ** power
                total += w * z[dy, dx]
                weights += w
    return total / weights

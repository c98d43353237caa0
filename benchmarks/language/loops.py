"""The kernels as loops over arrays, as they are written by hand for Numba: cells at the border are left."""

from __future__ import annotations

import math

import numpy as np

from kernels import CAP, FEATURE, LEAF, LIMIT, LUT, NODES, RING


def zevenbergen_thorne(z, out, size):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            g = (z[y, x + 1] - z[y, x - 1]) / (2 * size)
            h = (z[y - 1, x] - z[y + 1, x]) / (2 * size)
            out[y, x] = math.degrees(math.atan(math.sqrt(g**2 + h**2)))


def ruggedness(z, out):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            total = 0.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    total += (z[y + dy, x + dx] - z[y, x]) ** 2
            out[y, x] = math.sqrt(total)


def geomorphons(z, out, flat):
    rows, cols = z.shape
    for y in range(5, rows - 5):
        for x in range(5, cols - 5):
            score = 0
            for dy, dx in RING:
                step = 1
                while step < 5 and abs(z[y + dy * step, x + dx * step] - z[y, x]) <= flat * step:
                    step += 1
                rise = z[y + dy * step, x + dx * step] - z[y, x]
                if rise > flat * step:
                    score += 1
                elif rise < -flat * step:
                    score -= 1
            out[y, x] = score


def sobel(z, magnitude, direction):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            gx = (z[y - 1, x + 1] + 2 * z[y, x + 1] + z[y + 1, x + 1]
                  - z[y - 1, x - 1] - 2 * z[y, x - 1] - z[y + 1, x - 1]) / 8  # fmt: skip
            gy = (z[y + 1, x - 1] + 2 * z[y + 1, x] + z[y + 1, x + 1]
                  - z[y - 1, x - 1] - 2 * z[y - 1, x] - z[y - 1, x + 1]) / 8  # fmt: skip
            magnitude[y, x] = math.hypot(gx, gy)
            direction[y, x] = math.atan2(gy, gx)


def bilateral(z, out, sigma_space, sigma_range):
    rows, cols = z.shape
    for y in range(3, rows - 3):
        for x in range(3, cols - 3):
            total = weights = 0.0
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    diff = z[y + dy, x + dx] - z[y, x]
                    w = math.exp(-(dy * dy + dx * dx) / (2 * sigma_space**2) - diff**2 / (2 * sigma_range**2))
                    total += w * z[y + dy, x + dx]
                    weights += w
            out[y, x] = total / weights


def local_moran(z, out, mean, variance):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            total = 0.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if not (dy == 0 and dx == 0):
                        total += z[y + dy, x + dx] - mean
            out[y, x] = (z[y, x] - mean) / variance * total / 8


def lee(z, out, noise):
    rows, cols = z.shape
    for y in range(2, rows - 2):
        for x in range(2, cols - 2):
            mean = square = 0.0
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    mean += z[y + dy, x + dx]
                    square += z[y + dy, x + dx] ** 2
            mean /= 25
            variance = square / 25 - mean**2
            weight = variance / (variance + noise * mean**2)
            out[y, x] = mean + weight * (z[y, x] - mean)


def d8(z, out, size):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            best, code = 0.0, 0
            for k, (dy, dx) in enumerate(RING):
                drop = (z[y, x] - z[y + dy, x + dx]) / (size * math.hypot(dy, dx))
                if drop > best:
                    best, code = drop, 1 << k
            out[y, x] = code


def convergence(z, out):
    rows, cols = z.shape
    for y in range(2, rows - 2):
        for x in range(2, cols - 2):
            total = 0.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if dy == 0 and dx == 0:
                        continue
                    j, i = y + dy, x + dx
                    aspect = math.atan2(z[j + 1, i] - z[j - 1, i], z[j, i + 1] - z[j, i - 1])
                    off = abs(aspect - math.atan2(-dy, -dx)) % (2 * math.pi)
                    total += math.degrees(min(off, 2 * math.pi - off))
            out[y, x] = total / 8 - 90


def sky_view(z, out, size):
    rows, cols = z.shape
    for y in range(10, rows - 10):
        for x in range(10, cols - 10):
            total = 0.0
            for dy, dx in RING:
                highest = 0.0
                for step in range(1, 11):
                    rise = z[y + dy * step, x + dx * step] - z[y, x]
                    highest = max(highest, rise / (step * size * math.hypot(dy, dx)))
                total += 1.0 - math.sin(math.atan(highest))
            out[y, x] = total / 8


def cos_incidence(slope, aspect, latitude, out, day, hour):  # noqa: PLR0917
    rows, cols = slope.shape
    for y in range(rows):
        for x in range(cols):
            lat, s, a = math.radians(latitude[y, x]), math.radians(slope[y, x]), math.radians(aspect[y, x] - 180)
            decl = math.radians(23.45 * math.sin(math.radians(360 * (284 + day) / 365)))
            w = math.radians(15 * (hour - 12))
            out[y, x] = (
                math.sin(decl) * math.sin(lat) * math.cos(s)
                - math.sin(decl) * math.cos(lat) * math.sin(s) * math.cos(a)
                + math.cos(decl) * math.cos(lat) * math.cos(s) * math.cos(w)
                + math.cos(decl) * math.sin(lat) * math.sin(s) * math.cos(a) * math.cos(w)
                + math.cos(decl) * math.sin(s) * math.sin(a) * math.sin(w)
            )


def tasseled_cap(b1, b2, b3, b4, b5, b6, out1, out2, out3):  # noqa: PLR0917
    rows, cols = b1.shape
    for y in range(rows):
        for x in range(cols):
            bands = (b1[y, x], b2[y, x], b3[y, x], b4[y, x], b5[y, x], b6[y, x])
            bright = green = wet = 0.0
            for k in range(6):
                bright += CAP[0, k] * bands[k]
                green += CAP[1, k] * bands[k]
                wet += CAP[2, k] * bands[k]
            out1[y, x], out2[y, x], out3[y, x] = bright, green, wet


def split_window(t10, t11, e10, e11, out, vapour):  # noqa: PLR0917
    rows, cols = t10.shape
    for y in range(rows):
        for x in range(cols):
            mean, diff, dt = (e10[y, x] + e11[y, x]) / 2, e10[y, x] - e11[y, x], t10[y, x] - t11[y, x]
            air = (54.3 - 2.238 * vapour) * (1 - mean) + (16.4 * vapour - 129.2) * diff
            out[y, x] = t10[y, x] + 1.378 * dt + 0.183 * dt**2 - 0.268 + air


def qa_bits(qa, out):
    rows, cols = qa.shape
    for y in range(rows):
        for x in range(cols):
            v = qa[y, x]
            if v & 1:
                out[y, x] = 255
            elif (v >> 8) & 3 == 3:
                out[y, x] = 4
            elif (v >> 8) & 3 == 2 and (v >> 2) & 1:
                out[y, x] = 3
            elif (v >> 3) & 1 or (v >> 1) & 1:
                out[y, x] = 2
            else:
                out[y, x] = (v >> 4) & 1


def best_pixel(a, b, c, d, e, f, out):  # noqa: PLR0917
    rows, cols = a.shape
    values = np.empty(6)
    for y in range(rows):
        for x in range(cols):
            values[0], values[1], values[2] = a[y, x], b[y, x], c[y, x]
            values[3], values[4], values[5] = d[y, x], e[y, x], f[y, x]
            values.sort()
            out[y, x] = (values[2] + values[3]) / 2


def mandelbrot(cx, cy, out, steps):
    rows, cols = cx.shape
    for y in range(rows):
        for x in range(cols):
            a, b, n = 0.0, 0.0, 0
            while a * a + b * b < 4.0 and n < steps:
                a, b = a * a - b * b + cx[y, x], 2.0 * a * b + cy[y, x]
                n += 1
            out[y, x] = n


def logistic_map(r, out, steps):
    rows, cols = r.shape
    for y in range(rows):
        for x in range(cols):
            v = 0.5
            for _ in range(steps):
                v = r[y, x] * v * (1.0 - v)
            out[y, x] = v


def decision_tree(a, b, c, d, out):
    rows, cols = a.shape
    for y in range(rows):
        for x in range(cols):
            node = 0
            while node < NODES:
                f = FEATURE[node]
                v = a[y, x] if f == 0 else b[y, x] if f == 1 else c[y, x] if f == 2 else d[y, x]
                node = 2 * node + 1 if v <= LIMIT[node] else 2 * node + 2
            out[y, x] = LEAF[node]


def reclassified(z, out):
    rows, cols = z.shape
    for y in range(rows):
        for x in range(cols):
            out[y, x] = LUT[int(z[y, x])]


def majority(c, out):
    rows, cols = c.shape
    counts = np.zeros(8, np.int64)
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            counts[:] = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    counts[c[y + dy, x + dx]] += 1
            best = 0
            for k in range(1, 8):
                if counts[k] > counts[best]:
                    best = k
            out[y, x] = best


def entropy(c, out):
    rows, cols = c.shape
    counts = np.zeros(16, np.int64)
    for y in range(2, rows - 2):
        for x in range(2, cols - 2):
            counts[:] = 0
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    counts[c[y + dy, x + dx] >> 4] += 1
            h = 0.0
            for n in counts:
                if n > 0:
                    h -= n / 25 * math.log2(n / 25)
            out[y, x] = h


def median_5x5(z, out):
    rows, cols = z.shape
    for y in range(2, rows - 2):
        for x in range(2, cols - 2):
            out[y, x] = np.median(z[y - 2 : y + 3, x - 2 : x + 3])


def percentile_5x5(z, out, q):
    rows, cols = z.shape
    values = np.empty(25)
    for y in range(2, rows - 2):
        for x in range(2, cols - 2):
            n = 0
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    values[n] = z[y + dy, x + dx]
                    n += 1
            values.sort()
            at = q / 100 * (n - 1)
            low = int(at)
            high = min(low + 1, n - 1)
            out[y, x] = values[low] + (at - low) * (values[high] - values[low])


def eroded(z, out):
    rows, cols = z.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            least = math.inf
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    least = min(least, z[y + dy, x + dx])
            out[y, x] = least


def gaussian(z, out, sigma):
    rows, cols = z.shape
    reach = math.ceil(3 * sigma)
    for y in range(reach, rows - reach):
        for x in range(reach, cols - reach):
            total, weights = 0.0, 0.0
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    weight = math.exp(-0.5 * (dy * dy + dx * dx) / (sigma * sigma))
                    total += weight * z[y + dy, x + dx]
                    weights += weight
            out[y, x] = total / weights


def inverse_distance(z, out, power):
    rows, cols = z.shape
    for y in range(7, rows - 7):
        for x in range(7, cols - 7):
            total = weights = 0.0
            for dy in range(-7, 8):
                for dx in range(-7, 8):
                    if dy != 0 or dx != 0:
                        w = 1.0 / math.hypot(dy, dx) ** power
                        total += w * z[y + dy, x + dx]
                        weights += w
            out[y, x] = total / weights

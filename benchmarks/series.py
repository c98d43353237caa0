"""One pixel through all dates, in memory, on one core: medians, percentiles and trends beside what people use.

``python benchmarks/series.py [DATES] [SIZE] [ROUNDS]``: DATES x SIZE x SIZE float32 of which a fifth, and then three
fifths, are invalid; core seconds, medians of rounds that take turns, and everyone's values are compared. A peer that is
not installed is named and left out. All go by the same array, on one thread; what lays it out as a peer needs it is not
counted. Geometric medians are of six bands and a quarter of the rows. A file for each date: `series_files.py`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings

import numpy as np
import xarray as xr

import tilejit as tj
from tilejit_kernels.series import at_percent, geometric_median, mann_kendall, mean, median, theil_sen, trend

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1")

INVALID = (0.2, 0.6)
CLOSE = {"geometric median and deviations": 0.1}
"""geomad stops up to 0.05 from where tilejit goes with a tolerance of 1e-6, and tilejit with its own 0.0002."""


@tj.series(nodata="kernel")
def spread(t):
    """Percentiles 10, 50 and 90 of the valid dates."""
    values, n = tj.zeros(len(t)), 0
    for k in range(len(t)):
        values[k] = t[k]
        n += 1 if tj.is_valid(t[k]) else 0
    tj.sort(values)
    if n == 0:
        return np.nan, np.nan, np.nan
    return at_percent(values, n, 10.0), at_percent(values, n, 50.0), at_percent(values, n, 90.0)


@tj.series(nodata="kernel")
def slope(t):
    """Slope of the line through the valid dates, by least squares, in a year."""
    n, days, total, squares, products = 0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            n += 1
            days += t.time[k]
            total += t[k]
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            since = t.time[k] - days / n
            squares += since * since
            products += since * (t[k] - total / n)
    return 365.25 * products / squares if n > 1 else np.nan


def by_bottleneck(t):
    import bottleneck

    return {"median": lambda: bottleneck.nanmedian(t, axis=0), "mean": lambda: bottleneck.nanmean(t, axis=0)}


def by_numpy(t):
    return {
        "median": lambda: np.nanmedian(t, axis=0),
        "percentiles": lambda: np.nanpercentile(t, (10, 50, 90), axis=0),
        "mean": lambda: np.nanmean(t, axis=0),
    }


def by_numbagg(t):
    import numbagg

    return {
        "percentiles": lambda: numbagg.nanquantile(t, [0.1, 0.5, 0.9], axis=0),
        "median": lambda: numbagg.nanmedian(t, axis=0),
        "mean": lambda: numbagg.nanmean(t, axis=0),
    }


def cube_of(t):
    """The array with a day for each layer."""
    days = np.datetime64("2020-01-01", "ns") + np.arange(len(t)) * np.timedelta64(1, "D")
    return xr.DataArray(t, dims=("time", "y", "x"), coords={"time": days})


def by_xarray(t):
    years = cube_of(t).assign_coords(time=np.arange(len(t)) / 365.25)

    def fitted():
        return years.polyfit("time", 1, skipna=True).polyfit_coefficients[0].to_numpy()

    return {"slope": fitted}


def bands_of(t):
    """Six bands that are valid on the same dates, of the first rows."""
    filled, part = np.nan_to_num(t), slice(None, max(t.shape[1] // 4, 1))
    bands = [np.where(np.isnan(t), np.float32(np.nan), np.roll(filled, 17 * b, axis=2)) for b in range(6)]
    return [np.ascontiguousarray(band[:, part]) for band in bands]


def by_zeit(t):
    from zeit.trend import _METHOD_MAP, fit_mann_kendall_batch

    series = np.ascontiguousarray(t.reshape(len(t), -1).T)

    def fitted():
        options = {"alpha": 0.05, "lag": -1, "period": 1, "min_valid": 2, "n_jobs": 1}
        found = fit_mann_kendall_batch(values_array=series, method=_METHOD_MAP["original"], **options)
        return np.stack([found[7] * 365.25, found[3]]).reshape(2, *t.shape[1:])  # a step is a day

    return {"Mann-Kendall and Sen": fitted}


def by_geomad(t):
    import geomad

    spectra = np.ascontiguousarray(np.stack(bands_of(t)).transpose(2, 3, 0, 1))

    def fitted():
        middle = geomad.nangeomedian_pcm(spectra, num_threads=1)
        kinds = geomad.emad_pcm, geomad.smad_pcm, geomad.bcmad_pcm
        deviations = [kind(spectra, middle, num_threads=1) for kind in kinds]
        return np.concatenate([np.moveaxis(middle, 2, 0), deviations])

    return {"geometric median and deviations": fitted}


def by_tilejit(t):
    cube, bands = cube_of(t), bands_of(t)
    return {
        "median": lambda: median(t, workers=1),
        "percentiles": lambda: np.stack(spread(t, workers=1)),
        "mean": lambda: mean(t, workers=1),
        "slope": lambda: slope(cube, workers=1),
        "slope, error and p": lambda: trend(cube, workers=1)[0],
        "Mann-Kendall and Sen": lambda: np.stack([theil_sen(cube, workers=1)[0], mann_kendall(cube, workers=1)[1]]),
        "geometric median and deviations": lambda: np.stack(geometric_median(*bands, workers=1)),
    }


CONTENDERS = {"tilejit": by_tilejit, "bottleneck": by_bottleneck, "numbagg": by_numbagg, "NumPy": by_numpy,
              "xarray": by_xarray, "zeit": by_zeit, "geomad": by_geomad}  # fmt: skip


def measured(job):
    """Core seconds of one call, and what it gave."""
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        result = np.asarray(job())
    return time.process_time() - start, result


def jobs_of(t):
    """What each contender that is installed does, by name."""
    jobs = {}
    for name, make in CONTENDERS.items():
        try:
            jobs[name] = make(t)
        except ImportError as error:
            print(f"{name}: {error}")
    return jobs


def race(t, rounds):
    """Core seconds a pixel of each contender, by job."""
    jobs = jobs_of(t)
    pixels = {}
    seconds = {job: {name: [] for name in jobs if job in jobs[name]} for job in jobs["tilejit"]}
    for job, contenders in seconds.items():
        for turn in range(rounds + 1):
            for name, found in contenders.items():
                spent, result = measured(jobs[name][job])
                if name == "tilejit":
                    expected = result
                    pixels[job] = result[..., :, :].size // result[..., 0, 0].size
                elif not np.allclose(result, expected, rtol=1e-3, atol=CLOSE.get(job, 1e-3), equal_nan=True):
                    raise SystemExit(f"{job}: {name} gives other values than tilejit")
                if turn:  # the first compiles
                    found.append(spent)
    return {job: {name: statistics.median(s) / pixels[job] for name, s in found.items()}
            for job, found in seconds.items()}  # fmt: skip


def main() -> None:
    if not os.environ.items() >= ONE_THREAD.items():  # libraries ask when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)  # noqa: S606
    dates, size, rounds = (int(a) for a in [*sys.argv[1:], *("200", "512", "3")[len(sys.argv) - 1 :]])
    rng = np.random.default_rng(4)
    print(f"| microseconds a pixel, {dates} dates, {size} x {size} | {' | '.join(CONTENDERS)} |")
    print(f"|---|{'---:|' * len(CONTENDERS)}")
    for share in INVALID:
        t = rng.normal(size=(dates, size, size)).astype(np.float32)
        t[rng.random(t.shape, np.float32) < share] = np.nan
        for job, found in race(t, rounds).items():
            cells = [f"{found[name] * 1e6:.2f}" if name in found else "" for name in CONTENDERS]
            print(f"| {job}, {share:.0%} invalid | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""One pixel through all dates: statistics, composites, trends, smoothing.

Dates on which a pixel is invalid are left out.

- `statistics`: count, mean, extremes, standard deviation, median, percentiles.
- `composites`: median under a quality band, date of the greatest index, medoid, geometric median with its deviations.
- `trends`: least squares, Mann-Kendall, Theil-Sen, harmonics, CUSUM.
- `smoothing`: a value for each date: gaps filled, Savitzky-Golay, Whittaker, anomalies by month.
"""

from tilejit_kernels.series.composites import geometric_median, max_index_composite, median_composite, medoid
from tilejit_kernels.series.smoothing import (
    anomaly,
    fill_gaps,
    savitzky_golay,
    weighted_savitzky_golay,
    weighted_whittaker,
    whittaker,
)
from tilejit_kernels.series.statistics import (
    at_percent,
    count,
    maximum,
    mean,
    median,
    minimum,
    percentile,
    standard_deviation,
)
from tilejit_kernels.series.trends import cusum, harmonic, mann_kendall, student_p, theil_sen, theil_sen_bounds, trend

__all__ = [
    "anomaly",
    "at_percent",
    "count",
    "cusum",
    "fill_gaps",
    "geometric_median",
    "harmonic",
    "mann_kendall",
    "max_index_composite",
    "maximum",
    "mean",
    "median",
    "median_composite",
    "medoid",
    "minimum",
    "percentile",
    "savitzky_golay",
    "standard_deviation",
    "student_p",
    "theil_sen",
    "theil_sen_bounds",
    "trend",
    "weighted_savitzky_golay",
    "weighted_whittaker",
    "whittaker",
]

"""Tables by zone: counts, sums, means, deviations, extremes and their places, percentiles, majorities, weighted means.

Sums, means, deviations and percentiles are exact until they are rounded once. A cell counts where its values are valid.
"""

import tilejit as tj


@tj.zonal(value="max", finish=lambda table: {"count": table["cells"], "nodata": table["nodata"]})
def count(value):
    """Number of valid cells of each zone, and of those without data."""
    return value


@tj.zonal(sum="sum")
def total(value):
    """Sum of the cells of each zone."""
    return value


@tj.zonal(mean="mean")
def mean(value):
    """Arithmetic mean of the cells of each zone."""
    return value


@tj.zonal(std="std")
def standard_deviation(value):
    """Standard deviation of the cells of each zone, of the population (ddof=0)."""
    return value


@tj.zonal(min="min")
def minimum(value):
    """Least cell of each zone."""
    return value


@tj.zonal(max="max")
def maximum(value):
    """Greatest cell of each zone."""
    return value


def _range(table):
    places = ("low_row", "low_col", "high_row", "high_col")
    return {"range": table["high"] - table["low"]} | {name: table[name] for name in places}


@tj.zonal(low="min", low_row="min_row", low_col="min_col", high="max", high_row="max_row", high_col="max_col",
          finish=_range)  # fmt: skip
def value_range(value):
    """Difference of the greatest and the least cell of each zone, and the rows and columns where they lie."""
    return value, value, value, value, value, value


@tj.zonal(majority="majority")
def majority(value):
    """Value that most cells of each zone have; of several the least."""
    return value


@tj.zonal(minority="minority")
def minority(value):
    """Value that fewest cells of each zone have; of several the least."""
    return value


@tj.zonal(variety="variety")
def variety(value):
    """Number of distinct values of each zone."""
    return value


@tj.zonal(median="median")
def median(value):
    """Median of the cells of each zone."""
    return value


@tj.zonal(p5=tj.percentile(5), p25=tj.percentile(25), p50="median", p75=tj.percentile(75), p95=tj.percentile(95))
def percentiles(value):
    """Percentiles of the cells of each zone: 5, 25, 50, 75 and 95."""
    return value, value, value, value, value


@tj.zonal(sum="sum")
def weighted_sum(value, weight):
    """Sum of the cells of each zone, each times its weight."""
    return value * weight


@tj.zonal(weighted="sum", weight="sum", finish=lambda table: {"mean": table["weighted"] / table["weight"]})
def weighted_mean(value, weight):
    """Mean of the cells of each zone, each counted by its weight."""
    return value * weight, weight


@tj.zonal(count="sum", mean="mean", std="std", min="min", max="max")
def summary(value):
    """Count, mean, standard deviation, minimum and maximum of the cells of each zone."""
    return 1, value, value, value, value

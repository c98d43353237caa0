"""Tables by zone: count, sum, mean, standard deviation, extremes, range, and a weighted mean.

Sums, means and deviations are exact until they are rounded once. A cell counts where its values are valid.
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


@tj.zonal(low="min", high="max", finish=lambda table: {"range": table["high"] - table["low"]})
def value_range(value):
    """Difference of the greatest and the least cell of each zone."""
    return value, value


@tj.zonal(weighted="sum", weight="sum", finish=lambda table: {"mean": table["weighted"] / table["weight"]})
def weighted_mean(value, weight):
    """Mean of the cells of each zone, each counted by its weight."""
    return value * weight, weight


@tj.zonal(count="sum", mean="mean", std="std", min="min", max="max")
def summary(value):
    """Count, mean, standard deviation, minimum and maximum of the cells of each zone."""
    return 1, value, value, value, value

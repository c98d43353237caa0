"""A grid is where a raster's cells lie: height, width, transform and CRS together."""

from tilejit.grid.grid import Grid
from tilejit.grid.metric import Metric
from tilejit.grid.names import crs_name, same_crs_name
from tilejit.grid.placing import IDENTITY, Bounds, Transform, cells_between

__all__ = ["IDENTITY", "Bounds", "Grid", "Metric", "Transform", "cells_between", "crs_name", "same_crs_name"]

"""Tables by zone: what a zonal kernel makes of Rasters, by zones of a raster or of polygons that are laid over it."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tilejit.engine.planning.graph import Application, Band, Reduced, ResultBand, SourceBand
from tilejit.engine.planning.planner import make_job, request_of
from tilejit.engine.polygons import Cells, PolygonZones
from tilejit.engine.ranking import Ranking
from tilejit.engine.zones import OF_CONSTANTS, Column, ZonalTable, percent_of
from tilejit.errors import ParameterError, SinkError
from tilejit.formats.publishing import new_file, write_text
from tilejit.formats.target import checked_file
from tilejit.formats.vector import Features, is_vector, lay, optional_module, pyogrio, read_features, shapely
from tilejit.kernel.inputs import with_times
from tilejit.raster.making import from_array, times_of
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.raster.running import check_inputs
from tilejit.raster.statistics import run_reduced
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.planning.plan import Plan
    from tilejit.grid import Grid
    from tilejit.kernel.zonal import ZonalKernel


COUNTS = ("cells", "nodata", "outside", "by_share")
"""Columns that every table by polygons has: how many cells count, how many do not, the area beyond the raster in cells,
and whether a polygon that holds no centre takes its shares."""
_WRITTEN = (".csv", ".parquet", ".gpkg")


class Table(dict[str, "NDArray[Any]"]):
    """A table by zone: a dict of column -> array, ``zone`` first, which can be handed on and written.

    Args:
        columns: The columns.
        features: What zones were made of; None for those of a raster.
        notes: What was done to them, and what was assumed.

    Example:
        >>> table = Table({"zone": np.array([4, 9]), "mean": np.array([1.5, 2.5])})
        >>> table["mean"].tolist(), table.to_pandas().loc[9, "mean"].item()
        ([1.5, 2.5], 2.5)
    """

    def __init__(
        self, columns: Mapping[str, NDArray[Any]], features: Features | None = None, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(columns)
        self.features, self.notes = features, notes

    def to_pandas(self) -> Any:
        """Makes a DataFrame of it: a row for each zone, by its index; attributes of features come first.

        Raises:
            ParameterError: pandas is not installed.
            SourceError: The file that the features came from cannot be read again.
        """
        columns = self._whole()
        index = optional_module("pandas").Index(columns.pop("zone"), name="zone")
        return optional_module("pandas").DataFrame(columns, index=index)

    def to_geopandas(self) -> Any:
        """Makes a GeoDataFrame of it: as `to_pandas`, with the geometries as they were given, in their own CRS.

        Raises:
            ParameterError: The zones are no polygons, or geopandas is not installed.
            SourceError: The file that the features came from cannot be read again.
        """
        features = self._features()
        return optional_module("geopandas").GeoDataFrame(self.to_pandas(), geometry=features.shapes, crs=features.crs)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes it, under a temporary name until it is complete.

        Args:
            path: A name that ends in ``.csv``; in ``.parquet``, which pyarrow writes; or, where zones are polygons, in
                ``.gpkg``, which pyogrio writes with their geometries.
            overwrite: Whether it may replace a file.

        Raises:
            SinkError: It cannot be written; nothing is left of it.
            ParameterError: A package is not installed, or there are no geometries for a GeoPackage.
        """
        name = os.fspath(path)
        suffix, target = table_suffix(name), checked_file(name, overwrite=overwrite)
        columns = self._whole()
        if suffix == ".csv":
            write_text(name, target, csv_text(columns), overwrite=overwrite)
            return
        write = _write_parquet if suffix == ".parquet" else _geopackage_writer(self._features(), target.stem)
        with new_file(name, target, overwrite=overwrite) as temporary:
            write(temporary, columns)

    def _features(self) -> Features:
        if self.features is None:
            raise ParameterError("the zones are those of a raster, and have no geometries: write .csv or .parquet")
        return self.features

    def _whole(self) -> dict[str, NDArray[Any]]:
        """Zone, attributes, and columns; an attribute that is called as a column is, gets another name."""
        attributes = {} if self.features is None else self.features.attributes()
        named = {f"feature_{name}" if name in self else name: column for name, column in attributes.items()}
        return flat({"zone": self["zone"]} | named | {name: column for name, column in self.items() if name != "zone"})


def flat(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Columns with one for each class of a histogram, by its number: ``classes_1``, ``classes_2``."""
    plain: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        plain |= {f"{name}_{k}": one for k, one in enumerate(column.T, 1)} if column.ndim == 2 else {name: column}
    return plain


def table_suffix(path: str) -> str:
    """The format of a table's file."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITTEN:
        raise SinkError(f"{path}: a table is written as CSV, Parquet or GeoPackage: give a name that ends in "
                        ".csv, .parquet or .gpkg")  # fmt: skip
    return suffix


def csv_text(columns: Mapping[str, NDArray[Any]]) -> str:
    """Columns as CSV, with a line of their names first."""
    text = io.StringIO()
    plain = (column.astype(str) if column.dtype.kind == "M" else column for column in columns.values())
    rows = zip(*(column.tolist() for column in plain), strict=True)
    csv.writer(text, lineterminator="\n").writerows([tuple(columns), *rows])
    return text.getvalue()


def _write_parquet(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    pyarrow, parquet = optional_module("pyarrow"), optional_module("pyarrow.parquet")
    parquet.write_table(pyarrow.table(dict(columns)), path)


def _geopackage_writer(features: Features, layer: str) -> Callable[[Path, Mapping[str, NDArray[Any]]], None]:
    def write(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
        plain = {name: column.astype(np.uint8) if column.dtype == bool else column for name, column in columns.items()}
        pyogrio.raw.write(path, shapely.to_wkb(features.shapes), list(plain.values()), list(plain), layer=layer,
                          driver="GPKG", geometry_type="Unknown", crs=features.crs)  # fmt: skip

    return write


@dataclass(frozen=True, eq=False, slots=True)
class PolygonLayer:
    """Polygons over a raster; several kernels may share one."""

    features: Features  # what they are in
    grid: Grid  # of the raster
    zones: PolygonZones  # which cells belong to each
    outside: NDArray[np.float64]  # the area of each that lies outside of the raster, in cells
    cells: Cells  # which cells belong to a polygon
    notes: tuple[str, ...]  # what was done to them, and what was assumed

    @classmethod
    def of(cls, zones: Any, grid: Grid, cells: Cells = "centre", layer: str | int | None = None) -> PolygonLayer:
        """Reads polygons and lays them over a raster: see `tilejit.formats.vector`."""
        if cells not in get_args(Cells):
            raise ParameterError(f"cells={cells!r}: it is one of {', '.join(map(repr, get_args(Cells)))}")
        features = read_features(zones, layer)
        polygons = lay(features, grid)
        found = PolygonZones.of(polygons, grid, cells)
        notes = polygons.notes if found.meets_raster else (*polygons.notes, "none of them meets the raster")
        return cls(features, grid, found, polygons.outside, cells, notes)

    @property
    def label(self) -> str:
        """What plans call them."""
        told = "".join(f"; {note}" for note in self.notes)
        return f"{counted(len(self.features.index), 'polygon')} of {self.features.name}, cells by {self.cells}{told}"

    def complete(self, columns: Mapping[str, NDArray[Any]], merged: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """A table's columns by features, with how many cells count, how many do not, and what is outside."""
        apart = {"cells": merged["cells"], "nodata": merged["nodata"], "outside": self.outside}
        if self.cells == "centre":
            apart["by_share"] = self.zones.by_share & (merged["cells"] + merged["nodata"] > 0)
        return (
            {"zone": self.features.index}
            | {name: columns[name] for name in columns if name != "zone"}
            | {name: column for name, column in apart.items() if name not in columns}
        )


@dataclass(frozen=True, slots=True)
class LazyTable:
    """A table by zone that is not computed yet: `compute` makes it in one pass over the rasters."""

    kernel: ZonalKernel
    """What computes it."""
    reduced: Reduced
    """The zones and the values, and how they are reduced."""
    layer: PolygonLayer | None = None
    """The polygons that zones are made of; None where they come from a raster."""

    def plan(self, *, backend: str = "auto", executor: Any = "threads", workers: int | None = None,
             memory: str | int | None = None, tile: tuple[int, int] | None = None) -> Plan:  # fmt: skip
        """Returns how it would be computed; see `Raster.plan`."""
        options = RunOptions(backend=backend, executor=executor, workers=workers, memory=memory, tile=tile)
        return make_job(self.reduced.grid, [request_of(self.reduced)], options.settings(self.reduced.bands)).plan

    def compute(self, *, backend: str = "auto", executor: Any = "threads", workers: int | None = None,
                memory: str | int | None = None, tile: tuple[int, int] | None = None,
                progress: bool | None = None) -> Table:  # fmt: skip
        """Computes it.

        Args:
            backend: As for `Raster.save`, and so are the others.
            executor: What runs it.
            workers: Threads or processes.
            memory: What may be taken.
            tile: Rows and columns of a tile.
            progress: Whether to show a progress bar; None: on a terminal.

        Returns:
            Column -> array, a dict. ``zone`` comes first: the zones' numbers in order, or the index of each feature,
            in their order. Where zones are polygons, four columns follow: ``cells`` and ``nodata``, how many count and
            do not; ``outside``, the area beyond the raster, in cells; and with ``cells="centre"`` ``by_share``.

        Raises:
            ReadError: A block cannot be read, or a zone is no whole number of 64 bits.
        """
        options = RunOptions(backend=backend, executor=executor, workers=workers, memory=memory, tile=tile,
                             progress=progress)  # fmt: skip
        return compute_tables([self], options)[0]

    def __repr__(self) -> str:
        zones = self.reduced.bands[0].label if self.layer is None else self.layer.features.name
        return f"<table {self.kernel.name} by zones of {zones}: {self.reduced.grid}>"


def compute_tables(tables: Sequence[LazyTable], options: RunOptions) -> list[Table]:
    """Computes tables over one grid in one pass; see `LazyTable.compute`."""
    label = ", ".join(table.kernel.name for table in tables)
    found = run_reduced([table.reduced for table in tables], label, options)
    return [_finished(table, columns) for table, columns in zip(tables, found, strict=True)]


def _finished(table: LazyTable, merged: Mapping[str, NDArray[Any]]) -> Table:
    kernel, layer = table.kernel, table.layer
    if kernel.finish is not None:
        columns = {"zone": merged["zone"]} | dict(kernel.finish(merged))
    else:
        columns = {name: merged[name] for name in ("zone", *(name for name, _ in kernel.columns))}
    return Table(columns) if layer is None else Table(layer.complete(columns, merged), layer.features, layer.notes)


def apply_zonal(kernel: ZonalKernel, inputs: Sequence[Any], options: Mapping[str, Any]) -> LazyTable:
    """Applies a zonal kernel to Rasters, or to arrays, and their zones."""
    parameters = dict(options)
    zones = parameters.pop("zones", None)
    if zones is None:
        raise ParameterError(
            f"{kernel.name} needs zones=…: a Raster of whole numbers on the grid of its values, or polygons"
        )
    is_polygons = isinstance(zones, PolygonLayer) or is_vector(zones)
    zoned = [] if is_polygons else [("zones", zones, False)]
    given = ((raster.name, one, raster.is_stack) for raster, one in zip(kernel.rasters, inputs, strict=True))
    rasters = _rasters(kernel, [*zoned, *given])
    grid, ports = rasters[0].grid, [raster.bands for raster in rasters[len(zoned) :]]
    kernel = kernel.for_layers([len(port) for port in ports])
    layer = _layer(zones, grid, parameters) if is_polygons else None
    bound = with_times(kernel, kernel.bind(parameters), list(map(times_of, rasters[len(zoned) :])))
    values, columns = _values(kernel, ports, bound)
    by, names = "zone" if layer is None else layer.label, ", ".join(name for name, _ in kernel.columns)
    table = ZonalTable(f"a table by {by}, {names}", columns, None if layer is None else layer.zones, grid.flips)
    folded = *(_counts(raster.bands[0]) for raster in rasters[: len(zoned)]), *values
    ranking = _ranking(table, values)
    after = None if ranking is None else Reduced(grid, folded, ranking)
    return LazyTable(kernel, Reduced(grid, folded, table, after), layer)


def _ranking(table: ZonalTable, values: Sequence[Band]) -> Ranking | None:
    """What the pass before a table with percentiles makes; none if its values are few enough to be counted at once."""
    percents: dict[int, list[float]] = {}
    for column in table.columns:
        percent = percent_of(column.fold)
        if percent is not None and not _is_narrow(values[column.input]):
            percents.setdefault(column.input, []).append(percent)
    chosen = tuple((number, tuple(found)) for number, found in percents.items())
    return Ranking("counts by zone and first digits, for percentiles", chosen, table.zones) if chosen else None


def _is_narrow(band: Band) -> bool:
    """Whether a band is known to hold few values."""
    dtype = band.info.dtype if isinstance(band, SourceBand) and band.values is None else None
    return dtype is not None and dtype.kind != "f" and dtype.itemsize <= 2


def _layer(zones: Any, grid: Grid, parameters: dict[str, Any]) -> PolygonLayer:
    """Polygons over a raster; what is asked of them is taken out of the parameters."""
    asked = {name: parameters.pop(name) for name in ("cells", "layer") if name in parameters}
    return zones if isinstance(zones, PolygonLayer) else PolygonLayer.of(zones, grid, **asked)


def _rasters(kernel: ZonalKernel, inputs: Sequence[tuple[str, Any, bool]]) -> list[Raster]:
    """Inputs, each with its name and whether it is a stack, as Rasters on one grid; all others have one band."""
    rasters = [one if isinstance(one, Raster) else from_array(one) for _, one, _ in inputs]
    named = zip(inputs, rasters, strict=True)
    check_inputs(kernel.name, [(name, raster, is_stack) for (name, _, is_stack), raster in named])
    return rasters


def _values(
    kernel: ZonalKernel, ports: Sequence[tuple[Band, ...]], parameters: Mapping[str, Any]
) -> tuple[list[Band], tuple[Column, ...]]:
    """What a table folds, each once: bands as they are stored, and what is computed of them."""
    application = Application(kernel, tuple(ports), parameters)
    names, values = [raster.name for raster in kernel.rasters], dict[Any, Band]()
    columns = []
    rows = zip(kernel.columns, kernel.plain_results, kernel.same_results, strict=True)
    for (name, fold), result, first in rows:
        if isinstance(result, (int, float)) and fold in OF_CONSTANTS:
            columns.append(Column(name, fold, constant=result))
            continue
        values.setdefault(
            first, ports[names.index(result)][0] if isinstance(result, str) else ResultBand(application, first)
        )
        columns.append(Column(name, fold, list(values).index(first)))
    # Where zones are polygons, and a body gives numbers only, there is nothing else to tell what a tile is.
    return list(values.values()) or [ResultBand(application, 0)], tuple(columns)


def _counts(band: Any) -> Any:
    """A band of zones as it is stored."""
    return SourceBand(band.source, band.info) if isinstance(band, SourceBand) else band

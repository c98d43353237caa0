"""Tables by zone: what a zonal kernel makes of Rasters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.engine.planning.graph import Application, Band, Reduced, ResultBand, SourceBand
from tilejit.engine.planning.planner import make_job, request_of
from tilejit.engine.zones import Column, ZonalTable
from tilejit.errors import ParameterError
from tilejit.raster.making import from_array
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.raster.running import check_one_grid
from tilejit.raster.statistics import run_reduced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.planning.plan import Plan
    from tilejit.kernel.zonal import ZonalKernel


@dataclass(frozen=True, slots=True)
class LazyTable:
    """A table by zone that is not computed yet: `compute` makes it in one pass over the rasters."""

    kernel: ZonalKernel
    """What computes it."""
    reduced: Reduced
    """The zones and the values, and how they are reduced."""

    def plan(self, *, backend: str = "auto", executor: Any = "threads", workers: int | None = None,
             memory: str | int | None = None, tile: tuple[int, int] | None = None) -> Plan:  # fmt: skip
        """Returns how it would be computed; see `Raster.plan`."""
        options = RunOptions(backend=backend, executor=executor, workers=workers, memory=memory, tile=tile)
        return make_job(self.reduced.grid, [request_of(self.reduced)], options.settings(self.reduced.bands)).plan

    def compute(self, *, backend: str = "auto", executor: Any = "threads", workers: int | None = None,
                memory: str | int | None = None, tile: tuple[int, int] | None = None,
                progress: bool | None = None) -> dict[str, NDArray[Any]]:  # fmt: skip
        """Computes it.

        Args:
            backend: As for `Raster.save`, and so are the others.
            executor: What runs it.
            workers: Threads or processes.
            memory: What may be taken.
            tile: Rows and columns of a task.
            progress: Whether to show a progress bar; None: on a terminal.

        Returns:
            Column -> array, ``zone`` first, in the order of the zones' numbers.

        Raises:
            ReadError: A block cannot be read, or a zone is no whole number of 64 bits.
        """
        options = RunOptions(backend=backend, executor=executor, workers=workers, memory=memory, tile=tile,
                             progress=progress)  # fmt: skip
        return compute_tables([self], options)[0]

    def __repr__(self) -> str:
        return f"<table {self.kernel.name} by zones of {self.reduced.bands[0].label}: {self.reduced.grid}>"


def compute_tables(tables: Sequence[LazyTable], options: RunOptions) -> list[dict[str, NDArray[Any]]]:
    """Computes tables over one grid in one pass; see `LazyTable.compute`."""
    label = ", ".join(table.kernel.name for table in tables)
    found = run_reduced([table.reduced for table in tables], label, options)
    return [_finished(table.kernel, columns) for table, columns in zip(tables, found, strict=True)]


def _finished(kernel: ZonalKernel, table: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if kernel.finish is not None:
        return {"zone": table["zone"]} | dict(kernel.finish(table))
    return {name: table[name] for name in ("zone", *(name for name, _ in kernel.columns))}


def apply_zonal(kernel: ZonalKernel, inputs: Sequence[Any], options: Mapping[str, Any]) -> LazyTable:
    """Applies a zonal kernel to Rasters, or to arrays, and their zones.

    Raises:
        ParameterError: There are no zones, or an input is no single band.
        GridMismatchError: Zones and values lie on different grids; with both.
    """
    parameters = dict(options)
    zones = parameters.pop("zones", None)
    if zones is None:
        raise ParameterError(f"{kernel.name} needs zones=…: a Raster of whole numbers on the grid of its values")
    rasters = [one if isinstance(one, Raster) else from_array(one) for one in (zones, *inputs)]
    names = ["zones", *(raster.name for raster in kernel.rasters)]
    for name, raster in zip(names, rasters, strict=True):
        if len(raster) != 1:
            raise ParameterError(
                f"{kernel.name} takes one band as {name}, and {raster.label} has {len(raster)}: "
                "choose one with .band(1)"
            )
    check_one_grid(rasters, [f"{kernel.name}: {name}" for name in names])
    bands = tuple(raster.bands[0] for raster in rasters)
    values, columns = _values(kernel, bands[1:], kernel.bind(parameters))
    table = ZonalTable(f"a table by zone, {', '.join(name for name, _ in kernel.columns)}", columns)
    return LazyTable(kernel, Reduced(rasters[0].grid, (_counts(bands[0]), *values), table))


def _values(
    kernel: ZonalKernel, bands: Sequence[Band], parameters: Mapping[str, Any]
) -> tuple[list[Band], tuple[Column, ...]]:
    """What a table folds, each once: bands as they are stored, and what is computed of them."""
    application = Application(kernel, tuple(bands), parameters)
    names, values = [raster.name for raster in kernel.rasters], dict[Any, Band]()
    columns = []
    rows = zip(kernel.columns, kernel.plain_results, kernel.same_results, strict=True)
    for (name, fold), result, first in rows:
        if isinstance(result, (int, float)):
            columns.append(Column(name, fold, constant=result))
            continue
        values.setdefault(first, ResultBand(application, first) if result is None else bands[names.index(result)])
        columns.append(Column(name, fold, list(values).index(first)))
    return list(values.values()), tuple(columns)


def _counts(band: Any) -> Any:
    """A band of zones as it is stored."""
    return SourceBand(band.source, band.info) if isinstance(band, SourceBand) else band

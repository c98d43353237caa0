"""Tables by zone, as they are computed: columns, and what the features say that zones were made of."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError, SinkError
from tilejit.formats.publishing import new_file, write_text
from tilejit.formats.target import checked_file
from tilejit.formats.vector import Features, optional_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


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
    shapely, pyogrio = optional_module("shapely"), optional_module("pyogrio")

    def write(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
        plain = {name: column.astype(np.uint8) if column.dtype == bool else column for name, column in columns.items()}
        pyogrio.raw.write(path, shapely.to_wkb(features.shapes), list(plain.values()), list(plain), layer=layer,
                          driver="GPKG", geometry_type="Unknown", crs=features.crs)  # fmt: skip

    return write

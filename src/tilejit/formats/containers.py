"""What arrays come in and results go out in: NumPy's own, masked ones (`numpy.ma`), and xarray's.

Which cells hold no data is said by a mask there, or by an attribute. It is read here, and said of the results again.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import KernelError
from tilejit.formats.cells import nodata_key, set_valid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.times import Dates

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

_NAMES = ("_FillValue", "missing_value", "fill_value", "nodata")
"""Attributes that hold a nodata value, in the order in which rioxarray asks for them."""
_PACKING = {"scale_factor", "add_offset"}
_KEPT = {"grid_mapping"}  # what results keep of attributes and encoding: the others tell of the input's values


@dataclass(frozen=True, slots=True)
class Given:
    """Cells as a caller holds them, and what is said of those without data."""

    cells: Array  # (row, col) or (band, row, col)
    mask: Mask | None = None  # where there are no data; None where no mask says so
    nodata: float | None = None  # the value that marks a cell without data
    is_masked: bool = False  # whether it is a masked array
    labelled: Any = None  # the DataArray that it is, or None

    @property
    def plane(self) -> Array:
        """The cells of the only band, (row, col); of several bands all."""
        return self.cells[0] if self.cells.ndim == 3 and len(self.cells) == 1 else self.cells

    @property
    def layers(self) -> Array:
        """The cells, (layer, row, col): a plane is one layer."""
        return self.cells[np.newaxis] if self.cells.ndim == 2 else self.cells

    @property
    def first(self) -> Given:
        """The first layer alone, as it would have come."""
        if self.cells.ndim != 3:
            return self
        labelled = None if self.labelled is None else self.labelled.isel({self.labelled.dims[0]: 0}, drop=True)
        return replace(self, cells=self.cells[0], labelled=labelled)

    @property
    def dates(self) -> Dates | None:
        """When each layer was taken, as the coordinate of a DataArray's first of three dimensions says."""
        if self.labelled is None or self.cells.ndim != 3 or self.labelled.dims[0] not in self.labelled.coords:
            return None
        times = np.asarray(self.labelled.coords[self.labelled.dims[0]])
        return tuple(times.astype("datetime64[s]")) if times.dtype.kind == "M" and not np.isnat(times).any() else None

    def invalid(self, *, stacked: bool = False) -> Mask | None:
        """Where the plane, or each of the layers, has no data, besides NaN; None for nowhere."""
        cells = self.layers if stacked else self.plane
        found = None if self.mask is None else self.mask.reshape(cells.shape)
        key = nodata_key(cells.dtype, self.nodata)
        if key is not None and not np.isnan(key) and cells.size:
            valid = np.empty(cells.shape, np.uint8)
            for flags, layer in zip(valid, cells, strict=True) if stacked else ((valid, cells),):
                set_valid(flags, layer, key)
            found = valid == 0 if found is None else found | (valid == 0)
        return found if found is not None and found.any() else None


def given_array(value: Any, what: str) -> Given:
    """Look at an array that a caller gives: NumPy's, a masked one, an xarray.DataArray, or what NumPy makes one of."""
    if type(value) is np.ndarray:
        return Given(value)
    if isinstance(value, (str, bytes, os.PathLike)):
        path = os.fspath(value)
        raise KernelError(f"{what} is a path, and cells are needed: give tj.open({path!r})")
    if isinstance(value, np.ma.MaskedArray):
        mask = None if value.mask is np.ma.nomask else np.asarray(value.mask)
        return Given(np.asarray(value.data), mask, is_masked=True)
    # No DataArray exists before xarray is imported.
    xarray = sys.modules.get("xarray")
    if xarray is not None and isinstance(value, xarray.DataArray):
        cells = np.asarray(value)
        return Given(cells, nodata=_nodata_of(value, cells.dtype), labelled=value)
    return Given(np.asarray(value))


def _nodata_of(array: Any, dtype: np.dtype) -> float | None:
    """The nodata value of a DataArray's cells.

    xarray puts ``_FillValue`` into the encoding of cells that it has decoded: NaN has its place there. A cell that
    still holds it becomes nodata where the array is written; of packed cells the two are not in one unit.
    """
    told = None if _PACKING & set(array.encoding) else array.encoding.get(_NAMES[0])
    if told is None:
        told = getattr(getattr(array, "rio", None), "nodata", None)
    said = (told, *(array.attrs.get(name) for name in _NAMES))
    numbers = (np.asarray(value) for value in said if value is not None)
    value = next((n.item() for n in numbers if n.size == 1 and n.dtype.kind in "iuf"), None)
    return int(value) if isinstance(value, float) and dtype.kind in "iu" and value.is_integer() else value


@dataclass(frozen=True, slots=True)
class Container:
    """What results are handed back in: what the inputs came in."""

    is_stacked: bool  # whether one came as (1, row, col), as `Raster.compute` gives one band
    is_masked: bool  # whether one was a masked array
    labelled: Any  # the first DataArray among them, or None

    @staticmethod
    def of(inputs: Sequence[Given]) -> Container:
        """The container of a kernel's inputs."""
        labelled = next((i.labelled for i in inputs if i.labelled is not None), None)
        return Container(any(i.cells.ndim == 3 for i in inputs), any(i.is_masked for i in inputs), labelled)

    def shape(self, cells: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a result that is computed as (row, col), or as (layer, row, col)."""
        return (1, *cells) if self.is_stacked and len(cells) == 2 else cells

    def hold(self, result: Array, nodata: float | None, name: str, out: Array | None = None) -> Any:
        """Put a (row, col) or (layer, row, col) result into it, or into the caller's array whose memory it is."""
        whole = result.reshape(self.shape(result.shape)) if out is None else out
        if self.labelled is not None:
            return _labelled(self.labelled, np.ma.getdata(whole), nodata, name)
        if not self.is_masked and not isinstance(out, np.ma.MaskedArray):
            return whole
        cells = np.ma.getdata(whole)
        if nodata is None:
            mask = np.zeros(whole.shape, bool)
        else:
            mask = np.isnan(cells) if cells.dtype.kind == "f" else cells == nodata
        if isinstance(out, np.ma.MaskedArray):
            _mask_anew(out, mask)
            return out
        return np.ma.MaskedArray(whole, mask, fill_value=nodata)


def _mask_anew(array: np.ma.MaskedArray[Any, Any], mask: Mask) -> None:
    """Give a masked array another mask: also a hard one, and none that it shares with other arrays."""
    was_hard = array.hardmask
    array.unshare_mask()
    array.soften_mask()
    array.mask = mask
    if was_hard:
        array.harden_mask()


def _labelled(like: Any, cells: Array, nodata: float | None, name: str) -> Any:
    """A DataArray of a result: on the input's dimensions and coordinates, with a nodata value of its own."""
    made = like.copy(deep=False, data=cells.reshape(like.shape))
    made.attrs = {k: v for k, v in like.attrs.items() if k in _KEPT}
    made.encoding = {k: v for k, v in like.encoding.items() if k in _KEPT}
    if nodata is not None:
        made.attrs[_NAMES[0]] = cells.dtype.type(nodata)
    made.name = name if like.name is None else like.name
    return made

"""Files beside their cells: names wherever the process goes, whether they are still those, tags, and which are open.

A source holds its file while it reads. Where too many are open, one that nobody reads is closed, that which was read
longest ago first; who reads it next opens it again.
"""

from __future__ import annotations

import functools
import re
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tilejit.errors import ReadError
from tilejit.system.limits import most_open_files
from tilejit.system.signals import lock_that_forks_await

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

    State = tuple[int, int, int, int]  # device, inode, size, and when it was written
    Colour = tuple[int, int, int, int]  # red, green, blue and alpha, 0 to 255

_IN_ARCHIVE = re.compile(r"(/vsi(?:zip|tar|gzip|7z|rar|subfile|cached|sparse|crypt)/(?:\d+(?:_\d+)?,)?)(.*)", re.DOTALL)
"""GDAL's file systems in a file, and the file."""
_BY_SCHEME = re.compile(r"((?:zip|tar|gzip|file)(?:\+(?:zip|tar|gzip|file))*://)(.*)", re.DOTALL)
"""rasterio's names of the same."""
_QUOTED = re.compile(r'"([^"]+)"')


def absolute_name(name: str) -> str:
    """The name of an input, with the path that it holds made absolute; a name without one stays as it is.

    Names in GDAL's own terms hold paths too: ``/vsizip/a.zip/a.tif``, ``zip://a.zip!a.tif``, ``NETCDF:"a.nc":height``.

    Example:
        >>> absolute_name("/vsimem/a.tif"), absolute_name("s3://bucket/a.tif"), absolute_name("/data/a.tif")
        ('/vsimem/a.tif', 's3://bucket/a.tif', '/data/a.tif')
    """
    if name.startswith("<") or not name:
        return name
    for pattern in (_IN_ARCHIVE, _BY_SCHEME):
        match = pattern.match(name)
        if match is not None:
            brace = "{" if match[2].startswith("{") else ""
            return match[1] + brace + absolute_name(match[2].removeprefix(brace))
    if name.startswith("/vsi") or re.match(r"[\w+]+://", name):
        return name
    if ":" in name and not _is_there(name):
        return _absolute_parts(name)
    return str(Path(name).absolute())


def _absolute_parts(name: str) -> str:
    """The name of a subdataset: ``DRIVER:"path":part`` or ``DRIVER:path:part``."""
    quoted = _QUOTED.search(name)
    parts = [quoted[1]] if quoted is not None else name.split(":")[1:]
    path = next((part for part in parts if part and _is_there(part)), None)
    if path is None:
        return name if name.split(":", maxsplit=1)[0].isupper() else str(Path(name).absolute())
    whole = str(Path(path).absolute())
    if quoted is not None:
        return f"{name[: quoted.start(1)]}{whole}{name[quoted.end(1) :]}"
    driver, *_ = name.split(":")
    return ":".join([driver, *(whole if part == path else part for part in parts)])


def _is_there(name: str) -> bool:
    return size_of(name) is not None


def local_file(name: str) -> Path | None:
    """The local file or folder that an input's name leads to: itself, or the archive that it lies in; or None."""
    scheme = _BY_SCHEME.match(name)
    if scheme is not None:
        name = scheme[2].partition("!")[0]
    while found := _IN_ARCHIVE.match(name):
        name = found[2].strip("{").partition("}")[0]
    if _is_there(name):
        return Path(name)
    outside = name.startswith("/vsi") or "://" in name
    return None if outside else next((place for place in Path(name).parents if place.is_file()), None)


def size_of(name: str) -> int | None:
    """The bytes of a local file; None of what is none."""
    try:
        return Path(name).stat().st_size
    except (OSError, ValueError):
        return None


def states_of(files: Iterable[str]) -> dict[str, State | None]:
    """What tells each of some files from another of its name; None of what is no local file."""
    return {file: _state_of(file) for file in files}


def check_unchanged(name: str, states: Mapping[str, State | None]) -> None:
    """Refuse an input of which a file is another than when it was opened, by what its files were then."""
    for file, state in states.items():
        now = _state_of(file) if state is not None else None
        if now == state:
            continue
        which = "" if file == name else f"{file}, of which it is made: "
        if now is None:
            raise ReadError(f"{name}: {which}is gone since it was opened: put it back, or open another")
        raise ReadError(f"{name}: {which}it was written or replaced since it was opened: open it again")


def identity_of(status: os.stat_result) -> State:
    """What tells a file from another of its name."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _state_of(file: str) -> State | None:
    place = local_file(file)  # what is in an archive has changed if the archive has
    try:
        status = place.stat() if place is not None else None
    except OSError:
        return None
    return identity_of(status) if status is not None and S_ISREG(status.st_mode) else None


_SPACES = ("", "RPC")  # the namespaces that GDAL copies: the default one, and the sensor's model of a scene
_STALE = {"OVR_RESAMPLING_ALG", "STATISTICS_APPROXIMATE"}
"""Tags of overviews, which an output has none of, and of statistics that were only estimated from them."""
_CODED = {"palette", "Y", "Cb", "Cr"}  # interpretations that hold only with a table, or with the codec that stores them
_MOST_COLOURS = 1 << 15  # rasterio hands the numbers of a table's colours over as signed 16-bit ones
_BLACK = (0, 0, 0, 255)


@dataclass(frozen=True, slots=True)
class BandTags:
    """What a file says of one band."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """GDAL's default metadata domain, with STATISTICS_… where they were computed."""
    scale: float = 1.0
    """What cells are to be multiplied by."""
    offset: float = 0.0
    """What is to be added then."""
    colour: str | None = None
    """rasterio's name of the colour interpretation; None to leave it to GDAL."""
    table: Mapping[int, Colour] | None = None
    """The colour of each cell value."""

    @property
    def is_scaled(self) -> bool:
        """Whether values are others than the cells."""
        return (self.scale, self.offset) != (1.0, 0.0)

    def without_statistics(self) -> BandTags:
        """What of it holds whatever the cells are."""
        return replace(self, tags={k: value for k, value in self.tags.items() if not k.startswith("STATISTICS_")})


@dataclass(frozen=True, slots=True)
class GroundControl:
    """Points of a raster whose places are known, of a scene that was not warped yet."""

    points: tuple[tuple[float, float, float, float, float], ...]
    """Row, column, x, y and z of each."""
    crs: str | None
    """What x, y and z are in, as WKT."""


@dataclass(frozen=True, slots=True)
class FileTags:
    """What a file says of all its bands, and of each."""

    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Namespace -> name -> value; the default namespace is empty."""
    bands: tuple[BandTags, ...] = ()
    """One for each band; empty for none."""
    ground: GroundControl | None = None
    """Where some of its cells lie, if it has no transform."""


def read_tags(dataset: Any) -> FileTags:
    """Read the tags of an open rasterio dataset; none where they are damaged: its cells do without."""
    try:
        told = {space: dataset.tags(ns=space).items() for space in _SPACES}
        tags = {space: {name: value for name, value in items if name not in _STALE} for space, items in told.items()}
        # Each of these asks every band, and a damaged file may have 65,535.
        parts = zip(dataset.indexes, dataset.colorinterp, dataset.scales, dataset.offsets, strict=True)
        return FileTags(tags, tuple(_band(dataset, *part) for part in parts), _ground(dataset))
    except Exception:  # noqa: BLE001 - GDAL raises anything for a damaged file, and what is no UTF-8 is no text
        return FileTags()


def _ground(dataset: Any) -> GroundControl | None:
    points, crs = dataset.gcps
    told = tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points)
    return GroundControl(told, crs.to_wkt() if crs else None) if told else None


def _band(dataset: Any, index: int, interpretation: Any, scale: float, offset: float) -> BandTags:
    colour = interpretation.name
    table = _table(dataset.colormap(index)) if colour == "palette" else None
    said = BandTags(dataset.tags(index), scale, offset, None if colour in _CODED else colour, table)
    return said.without_statistics() if "STATISTICS_APPROXIMATE" in said.tags else said


def _table(colours: Mapping[int, Colour]) -> Mapping[int, Colour] | None:
    """The colours but for those that a table has anyway; None where rasterio cannot write them."""
    told = {number: colour for number, colour in colours.items() if colour != _BLACK}
    return told if max(told, default=0) < _MOST_COLOURS else None


def colour_options(tags: FileTags) -> dict[str, str]:
    """The creation option for the colours of copied bands: GDAL takes any three or four bands of bytes for RGB(A).

    Bands that become red, green and blue later keep an ExtraSamples tag, which readers then warn of.
    """
    colours = [band.colour for band in tags.bands]
    if None in colours or len(colours) < 3:
        return {}
    return {"PHOTOMETRIC": "RGB" if colours[:3] == ["red", "green", "blue"] else "MINISBLACK"}


def write_tags(dataset: Any, tags: FileTags, *, colours: bool) -> None:
    """Write tags into a rasterio dataset that is new; without ``colours``, these are as creation options have them."""
    for name, values in tags.tags.items():
        if values:
            dataset.update_tags(ns=name or None, **values)
    for index, band in enumerate(tags.bands, 1):
        if band.tags:
            dataset.update_tags(index, **band.tags)
    if any(band.is_scaled for band in tags.bands):
        dataset.scales = tuple(band.scale for band in tags.bands)
        dataset.offsets = tuple(band.offset for band in tags.bands)
    if colours:
        _write_colours(dataset, tags)


def _write_colours(dataset: Any, tags: FileTags) -> None:
    """Write colours where GDAL takes new bands for others; the fourth of bytes is alpha only where it was so."""
    from rasterio.enums import ColorInterp

    given = dataset.colorinterp
    for index, band in enumerate(tags.bands, 1):
        if band.table is not None:
            dataset.write_colormap(index, band.table)
    names = [band.colour for band in tags.bands] or [None] * dataset.count
    plain = [ColorInterp.undefined if colour is ColorInterp.alpha else colour for colour in given]
    wanted = tuple(p if name is None else ColorInterp[name] for name, p in zip(names, plain, strict=True))
    if wanted != given and not any(band.table is not None for band in tags.bands):
        dataset.colorinterp = wanted


T = TypeVar("T")

_MOST, _OTHERS = 512, 64  # rasters that are open at once at most, and what the system's limit leaves to other files
_lock = lock_that_forks_await()
_order: dict[int, weakref.ref[OpenFile]] = {}  # type: ignore[type-arg]
"""Those that are open, by identity; that which was held longest ago first."""


@functools.cache
def most() -> int:
    """How many rasters may be open: half of what the system allows, for GDAL may open a file beside one."""
    limit = most_open_files()
    return _MOST if limit is None else max(4, min(_MOST, (limit - _OTHERS) // 2))


class OpenFile(Generic[T]):
    """A file that is open while it is held, and for as long after as there is room.

    Example:
        >>> import io
        >>> file = OpenFile(io.StringIO.close)
        >>> with file.held(lambda: io.StringIO("cells")) as opened:
        ...     opened.read()
        'cells'
        >>> file.is_open
        True
        >>> file.close()
        >>> file.is_open
        False
    """

    def __init__(self, close: Callable[[T], object]) -> None:
        self._close = close
        self._value: T | None = None
        self._holders = 0
        self._opening = threading.Lock()

    def __del__(self) -> None:
        # At the end of Python too, where nothing is imported any more.
        _order.pop(id(self), None)
        if self._value is not None:
            self._close(self._value)

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        return self._value is not None

    @contextmanager
    def held(self, opened: Callable[[], T]) -> Iterator[T]:
        """Gives what ``opened`` opens, if it is not open yet; nobody closes it meanwhile."""
        with _lock:
            self._holders += 1
        try:
            with self._opening:
                if self._value is None:
                    _make_room()
                    self._value = opened()
                value = self._value
            with _lock:
                _order.pop(id(self), None)
                _order[id(self)] = weakref.ref(self)
            yield value
        finally:
            with _lock:
                self._holders -= 1

    def close(self) -> None:
        """Closes it, unless somebody holds it; who holds it next opens it again."""
        with _lock:
            if self._holders:
                return
            _order.pop(id(self), None)
            value, self._value = self._value, None
        if value is not None:
            self._close(value)


def has_room() -> bool:
    """Whether one more may be open."""
    return len(_order) < most()


def _make_room() -> None:
    """Closes files until one more may be open, or all others are held."""
    with _lock:
        # Of a list: a file that goes meanwhile takes itself out.
        files = [file for held in list(_order.values()) if (file := held()) is not None]
    for file in files:
        if has_room():
            return
        file.close()

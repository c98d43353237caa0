"""Files that GDAL reads over the network: which they are, how it asks for them, and the bytes of some ranges.

GDAL knows the servers: their names, credentials, proxies, connections. `VSIFReadMultiRangeL` fetches exactly the ranges
that it is given; what GDAL reads by itself comes in chunks of 16 KB, and of up to 2 MB once it takes reads for a sweep.
"""

from __future__ import annotations

import ctypes
import functools
import io
import os
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilejit.errors import CodecError
from tilejit.formats.gdal.library import Environment, load_rasterio, speechless

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Piece = tuple[NDArray[np.uint8], int]  # where bytes go, and the first one's place in the file

_REMOTE = re.compile(
    r"/vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)(?:_streaming)?[/?]|\b(?:https?|ftp|s3|gs|az|oss)://"
)
_DIRECT = re.compile(r"/vsi(?:curl|s3|gs|az|adls|oss|swift)[/?]")  # those whose files are asked for in ranges
_RETRIES, _DELAY = "GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_RETRY_DELAY"
_OPTIONS = {
    _RETRIES: "3",
    _DELAY: "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",  # bytes a second; without these two a server that goes silent is awaited for ever
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no lists of folders, and no requests for files that may lie beside
}
"""What holds of requests unless the user has set it, by ``rasterio.Env`` or in the process's environment."""
_URL = re.compile(r"^((?:https?|ftp)://)")
_WHOLE = 200  # what a server answers that sends all of a file
_LONGEST_WAIT = 30.0  # seconds between two tries


def is_remote(name: str) -> bool:
    """Whether a raster's name leads over the network.

    Example:
        >>> is_remote("s3://bucket/a.tif"), is_remote("/vsizip//vsicurl/https://a.org/b.zip/c.tif"), is_remote("a.tif")
        (True, True, False)
    """
    return _REMOTE.search(name) is not None


def host_of(name: str) -> str:
    """Who is asked: the host of a URL without a password, or the bucket.

    Example:
        >>> host_of("/vsicurl/https://me:secret@a.org:81/b.tif?key=1"), host_of("/vsis3/bucket/b.tif")
        ('a.org:81', 's3://bucket')
    """
    url = re.search(r"(https?|ftp)(?:://|%3A%2F%2F)(?:[^/@]*@)?([^/?&%]+)", name)
    if url is not None:
        return url[2]
    bucket = re.search(r"/vsi(\w+)/([^/]+)|\b(\w+)://([^/]+)", name)
    return f"{bucket[1] or bucket[3]}://{bucket[2] or bucket[4]}" if bucket is not None else name


def with_requests(environment: Environment, name: str) -> Environment:
    """An environment with what holds of requests, where a name leads over the network."""
    if not is_remote(name):
        return environment
    given = dict(environment.options)
    ours = {option: value for option, value in _OPTIONS.items() if option not in os.environ}
    return replace(environment, options=tuple(sorted((ours | given).items())))


@functools.cache
def _gdal() -> ctypes.CDLL | None:
    """The GDAL that rasterio has loaded; None where its functions are not told.

    It is found through a module of rasterio's, which is linked to it: pyogrio and others bring a GDAL of their own.
    """
    load_rasterio()
    import rasterio._base

    library, place, text = ctypes.CDLL(rasterio._base.__file__), ctypes.c_void_p, ctypes.c_char_p  # noqa: SLF001
    if not hasattr(library, "VSIFReadMultiRangeL"):
        return None
    for name, result, *arguments in (
        ("VSIFOpenL", place, text, text),
        ("VSIFCloseL", ctypes.c_int, place),
        ("VSIFSeekL", ctypes.c_int, place, ctypes.c_uint64, ctypes.c_int),
        ("VSIFTellL", ctypes.c_uint64, place),
        ("VSIFReadL", ctypes.c_size_t, place, ctypes.c_size_t, ctypes.c_size_t, place),
        ("VSIFReadMultiRangeL", ctypes.c_int, ctypes.c_int, place, place, place, place),
        ("VSIGetFileMetadata", ctypes.POINTER(text), text, text, place),
        ("VSICurlPartialClearCache", None, text),
        ("CSLDestroy", None, ctypes.POINTER(text)),
        ("CPLErrorReset", None),
        ("CPLGetLastErrorMsg", text),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def remote_file(files: Sequence[str], environment: Environment) -> RemoteFile | None:
    """What ranges are fetched of, by the files of a raster in GDAL's own names; None where it is read by GDAL alone."""
    direct = bool(files) and _DIRECT.match(files[0]) is not None and _gdal() is not None
    return RemoteFile(files[0], environment) if direct else None


def forget(name: str) -> None:
    """Has GDAL ask anew for a remote raster of a name: it remembers what it has read, and what was not there."""
    library = _gdal()
    if library is not None:
        library.VSICurlPartialClearCache(_URL.sub(r"/vsicurl/\1", name).encode())


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that ranges are fetched of; a value, which opens handles when they are needed."""

    name: str
    """GDAL's own: ``/vsicurl/https://…``."""
    environment: Environment
    """What holds of requests."""

    @property
    def host(self) -> str:
        """Who is asked."""
        return host_of(self.name)

    def open(self, *, anew: bool = False) -> RemoteHandles:
        """Opens it; ``anew`` forgets what GDAL knows of it, so that the server is asked what it is now."""
        return RemoteHandles(self, anew=anew)

    def told(self) -> tuple[int, str | None]:
        """Its size in bytes, and its state; see `RemoteHandles`."""
        file = self.open()
        file.close()
        return file.size, file.state


class RemoteHandles:
    """A remote file that is open; threads may read at the same time, each by a handle that no other has meanwhile."""

    def __init__(self, file: RemoteFile, *, anew: bool) -> None:
        library = _gdal()
        if library is None:
            raise CodecError("GDAL's library is in no file of its own here")
        self._library, self._file, self._idle = library, file, list[int]()
        options = dict(file.environment.options) | {k: v for k, v in os.environ.items() if k in {_RETRIES, _DELAY}}
        self._tries, self._delay = 1 + int(options.get(_RETRIES, 0)), float(options.get(_DELAY, 0))
        with speechless(), file.environment.entered():
            if anew:
                library.VSICurlPartialClearCache(file.name.encode())
            handle = self._handle()
            library.VSIFSeekL(handle, 0, os.SEEK_END)
            self.size: int = library.VSIFTellL(handle)
            self._idle.append(handle)
            self.state = self._state()

    def read(self, pieces: Sequence[Piece]) -> None:
        """Fetches ranges, all at once; those that follow one another in one request.

        Raises:
            CodecError: They did not come, however often they were asked for.
        """
        pieces = [piece for piece in pieces if piece[0].size]
        beyond = max((offset + data.size for data, offset in pieces), default=0)
        if beyond > self.size:
            raise CodecError(f"the file ends at byte {self.size:,}, and the block at {beyond:,}")
        for number in range(self._tries if pieces else 0):
            said = self._ask(pieces)
            if not said:
                return
            if _is_final(said) or number + 1 == self._tries:
                raise CodecError(self._refusal(pieces, said, number + 1))
            time.sleep(min(self._delay * 2**number, _LONGEST_WAIT))

    def stream(self) -> io.BufferedReader:
        """The file as Python reads files: for its directory, of which GDAL has fetched the beginning already."""
        return io.BufferedReader(_Stream(self))

    def read_at(self, data: memoryview, offset: int) -> int:
        """Reads bytes through GDAL's cache; returns how many there were."""
        with speechless(), self._file.environment.entered():
            handle = self._handle()
            try:
                self._library.VSIFSeekL(handle, offset, os.SEEK_SET)
                buffer = (ctypes.c_char * len(data)).from_buffer(data)
                return int(self._library.VSIFReadL(ctypes.addressof(buffer), 1, len(data), handle))
            finally:
                self._idle.append(handle)

    def close(self) -> None:
        """Closes all handles; also at the end of Python, where nothing is imported any more."""
        while self._idle:
            self._library.VSIFCloseL(self._idle.pop())

    def _handle(self) -> int:
        """One that no other thread has."""
        if self._idle:
            try:
                return self._idle.pop()
            except IndexError:  # another thread was faster
                pass
        handle: int | None = self._library.VSIFOpenL(self._file.name.encode(), b"rb")
        if not handle:
            raise CodecError(f"{self._file.host} does not give the file now: {self._said() or 'check the name'}")
        return handle

    def _ask(self, pieces: Sequence[Piece]) -> str:
        """Asks once; returns what went wrong in GDAL's words, or nothing."""
        # A single range would be read in GDAL's chunks: it is given as two, which GDAL makes one request of.
        halves = [half for piece in pieces for half in (_halves(piece) if len(pieces) == 1 else [piece])]
        places = (ctypes.c_void_p * len(halves))(*(data.ctypes.data for data, _ in halves))
        offsets = (ctypes.c_uint64 * len(halves))(*(offset for _, offset in halves))
        sizes = (ctypes.c_size_t * len(halves))(*(data.size for data, _ in halves))
        with speechless(), self._file.environment.entered():
            handle = self._handle()
            try:
                self._library.CPLErrorReset()
                failed = self._library.VSIFReadMultiRangeL(len(halves), places, offsets, sizes, handle)
                return (self._said() or "the connection broke") if failed else ""
            finally:
                self._idle.append(handle)

    def _said(self) -> str:
        return str((self._library.CPLGetLastErrorMsg() or b"").decode(errors="replace"))

    def _refusal(self, pieces: Sequence[Piece], said: str, tries: int) -> str:
        first, last = min(offset for _, offset in pieces), max(offset + data.size for data, offset in pieces)
        advice = f"try later, or with more {_RETRIES}"
        if _is_final(said):
            advice = "take another server" if _code(said) == _WHOLE else "check the name and the credentials"
        return (
            f"bytes {first:,} to {last:,} did not come from {self._file.host} in {tries} "
            f"{'try' if tries == 1 else 'tries'}: {_plainly(said)}: {advice}, or copy the file here"
        )

    def _state(self) -> str | None:
        """What tells the file from another of its name: its size, ETag and date; None where the server says neither."""
        found = self._library.VSIGetFileMetadata(self._file.name.encode(), b"HEADERS", None)
        try:
            headers = dict(_headers(found))
        finally:
            self._library.CSLDestroy(found)
        marks = [f"{name} {headers[name]}" for name in ("etag", "last-modified") if name in headers]
        return ", ".join([f"{self.size:,} bytes", *marks]) if marks else None


class _Stream(io.RawIOBase):
    """Reads a remote file through GDAL's cache."""

    def __init__(self, file: RemoteHandles) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._file.size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        got = self._file.read_at(memoryview(buffer).cast("B"), self._place)
        self._place += got
        return got


def _halves(piece: Piece) -> list[Piece]:
    data, offset = piece
    half = data.size // 2
    return [(data[:half], offset), (data[half:], offset + half)] if half else [piece]


def _headers(found: Any) -> list[tuple[str, str]]:
    """The headers of an answer, from GDAL's list of texts that ends with none."""
    texts, number = [], 0
    while found and found[number]:
        texts.append(found[number].decode(errors="replace"))
        number += 1
    return [(name.lower(), value) for name, _, value in (text.partition("=") for text in texts)]


def _code(said: str) -> int | None:
    code = re.search(r"response_code=(\d+)", said)
    return int(code[1]) if code is not None else None


def _is_final(said: str) -> bool:
    """Whether asking again is of no use: the request itself is refused."""
    code = _code(said)
    return code == _WHOLE or (code is not None and 400 <= code < 500 and code not in {408, 429})


def _plainly(said: str) -> str:
    """What came instead, in words."""
    match _code(said):
        case None:
            return said
        case 0:
            return "the connection broke"
        case 200:
            return "the server sends the whole file (200) where a part is asked for"
        case 206:
            return "fewer bytes came than were asked for"
        case code:
            return f"the server answers {code}"

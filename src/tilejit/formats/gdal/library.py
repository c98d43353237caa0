"""What every use of GDAL here shares: its lazy import, its block cache, its environment, its messages."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
import sys
import threading
import warnings
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

CACHE_MEGABYTES = 8
"""GDAL's block cache while the host program has not chosen one.

Blocks that leave a small cache at once are still in the processor's own: slope over 8192 x 8192 float32 took 0.13 CPU
seconds in writes and 0.50 in reads with 8 MB, 0.2-0.66 and 0.56-0.66 with 64 MB, and files were the same size.
With GDAL's default, 5 % of the machine, two threads on cached blocks were 2-8 times slower than one: they
queue for its lock. Streaming decodes each block once, so it needs a cache of a few blocks per thread."""

_load_lock = threading.Lock()
_loaded = threading.Event()
_warnings_lock = threading.RLock()
_messages_lock = threading.RLock()


def load_rasterio() -> Any:
    """Import rasterio and bound GDAL's block cache, once.

    GDAL reads GDAL_CACHEMAX when it first needs the cache and never again, and rasterio's ``Env`` sets it for
    the calling thread only (measured: ``Env(GDAL_CACHEMAX=64)`` around a thread's first read left 1,205 MB).
    The process's environment reaches every thread; one read of one pixel fixes the size, after which the
    variable goes, so that child processes inherit nothing. A size that the host program chose stands, be it
    by the variable, by an ``Env`` in the main thread, or by having read a raster before.
    """
    import rasterio

    with _load_lock:
        if not _loaded.is_set():
            _bound_cache(rasterio)
            _hush_libtiff()
            _loaded.set()
    return rasterio


def _bound_cache(rasterio: Any) -> None:
    if "GDAL_CACHEMAX" in os.environ:
        return
    os.environ["GDAL_CACHEMAX"] = str(CACHE_MEGABYTES)
    try:
        with quiet(), rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8"):
                pass
            with memory.open() as dataset:
                dataset.read(1)
    finally:
        os.environ.pop("GDAL_CACHEMAX", None)


def _hush_libtiff() -> None:
    """Take away libtiff's own error handler, which prints; GDAL is told of each error all the same.

    Where a disk is full it prints a line for each block that GDAL tries to write: forty of them, for one fault. What
    GDAL brings inside of it, or has elsewhere than in a shared library of that name, goes on as it does.
    """
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # a system that does not say what is loaded
        return
    for path in {line.split(maxsplit=5)[-1] for line in lines if "/libtiff" in line and ".so" in line}:
        handler = getattr(ctypes.CDLL(path), "TIFFSetErrorHandler", None)
        if handler is not None:
            handler.argtypes, handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
            handler(None)


_ITS_OWN = {"RASTERIO_ENV", "GTIFF_IMPLICIT_JPEG_OVR", "GDAL_DATA", "PROJ_DATA", "PROJ_LIB"}
"""What rasterio sets itself, in each process anew: some of it is a path of this machine."""


@dataclass(frozen=True, slots=True, repr=False)
class Environment:
    """What ``rasterio.Env`` has set in a thread: options, HTTP headers, the credentials of a session.

    A ``rasterio.Env`` holds for the thread that enters it, and in the main thread for all while it is open.

    Example:
        >>> import rasterio
        >>> with rasterio.Env(GDAL_HTTP_HEADERS="Authorization: Bearer 123"):
        ...     environment = Environment.current()
        >>> environment
        <Environment GDAL_HTTP_HEADERS>
    """

    options: tuple[tuple[str, Any], ...] = ()
    """Names and values. The values may be secret: they are sent to workers, and shown nowhere."""

    @classmethod
    def current(cls) -> Environment:
        """What holds in this thread."""
        env = sys.modules.get("rasterio.env")  # which is there where there is an Env
        if env is None or not env.hasenv():
            return cls()
        options: dict[str, Any] = env.getenv()
        return cls(tuple((name, value) for name, value in sorted(options.items()) if name not in _ITS_OWN))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Has it hold in this thread, over what holds there already."""
        if not self.options or set(self.options) <= set(Environment.current().options):
            yield
            return
        rasterio = load_rasterio()
        # rasterio refuses AWS keys as options of an Env, and asks for a session of its own: these are what one gave.
        with rasterio.Env(session=rasterio.session.DummySession()):
            rasterio.env.setenv(**dict(self.options))
            yield

    def call(self, function: Callable[[str], Result], name: str) -> Result:
        """Calls a function where it holds: what opens a file by its name."""
        with self.entered():
            return function(name)

    def __repr__(self) -> str:
        return f"<Environment {', '.join(name for name, _ in self.options) or 'of no options'}>"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep rasterio's Python warnings from the caller, and what GDAL says outside of an ``Env`` off the terminal.

    Python's warning filters are the process's, not the thread's. One thread at a time is in here, as deep as it likes,
    and it should be the main one: were it a worker while the main thread, say, imports Numba, which does the same, the
    filters of the one would be restored over those of the other and stay.
    """
    with _warnings_lock, warnings.catch_warnings(), speechless():
        warnings.simplefilter("ignore")
        yield


def speechless() -> AbstractContextManager[Any]:
    """Keep what GDAL says in this thread off the terminal: it goes to rasterio's log, which is the host program's."""
    from rasterio.env import env_ctx_if_needed

    context: AbstractContextManager[Any] = env_ctx_if_needed()
    return context


def cause_of(error: BaseException, path: str = "") -> str:
    """GDAL's own words for an error, from the whole chain that rasterio raised, the driver's summary first.

    GDAL puts the path of the file in front, which the caller names anyway.
    """
    messages: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = re.sub(r"^\[Errno \d+\] ", "", str(link).strip())
        for prefix in (f"{path}: ", f"{os.path.basename(path)}: "):  # noqa: PTH119, it may be a URL
            text = text.removeprefix(prefix)
        known = any(text in message for message in messages)
        if text and not known and "See previous exception" not in text:
            messages.append(text)
        link = link.__cause__ or link.__context__
    return "; ".join(messages) or type(error).__name__


_SIGNALLED = "GDAL signalled an error"


def _plain(text: str) -> str:
    """GDAL's words, without rasterio's before them."""
    # "CPLE_IllegalArg in ZSTD_LEVEL=99 ..." and "GDAL signalled an error: err_no=1, msg='...'"
    text = text.partition("msg=")[2].strip("'") if text.startswith(_SIGNALLED) else text
    return text.split(" in ", 1)[-1] if text.startswith("CPLE_") else text


class _Collector(logging.Filter):
    """Keeps one thread's GDAL messages, and keeps them out of the host program's log."""

    def __init__(self, host_level: int) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.host_level = host_level
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        told = record.levelno >= logging.WARNING or text.startswith(_SIGNALLED)
        if record.thread != self._thread or not told:
            return record.levelno >= self.host_level
        text = _plain(text)
        if text not in self.messages:
            self.messages.append(text)
        return False


@contextmanager
def messages() -> Iterator[list[str]]:
    """Collect what GDAL says in this thread and rasterio does not raise, in a list that fills meanwhile.

    GDAL only warns where it ignores a creation option. Where its last writes fail on a full disk, rasterio's
    ``close`` returns as if all were well (measured: the file then had a 50-byte block instead of one of a
    megabyte). Inside an ``Env`` both go to the logger ``rasterio._env``, such errors at the level of INFO.
    """
    logger = logging.getLogger("rasterio._env")
    with _messages_lock:
        level = logger.level
        collector = _Collector(logger.getEffectiveLevel())
        logger.filters.insert(0, collector)  # before one that this is within
        logger.setLevel(min(logging.INFO, collector.host_level))
        try:
            yield collector.messages
        finally:
            logger.removeFilter(collector)
            logger.setLevel(level)


_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end of")
"""Warnings, of libjpeg, by which a block is damaged. It warns of no more than a run of wrong pixels that follows."""
_NO_DAMAGE = "PROJ:"  # what errors begin with that are about a source's CRS, which a VRT opens when it is read
_listening = threading.local()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect what GDAL says of damaged blocks in this thread while it reads, in a list that fills meanwhile.

    LZMA's decoder signals an error and is believed to have succeeded; libjpeg warns of corrupt data, and goes on with
    grey. rasterio hands both to the logger ``rasterio._err``. Reads in other threads go on meanwhile.
    """
    _listen()
    said: list[str] = []
    _listening.messages = said
    try:
        yield said
    finally:
        _listening.messages = None


@functools.cache
def _listen() -> None:
    logger = logging.getLogger("rasterio._err")
    own = logger.level

    def keep(record: logging.LogRecord) -> bool:
        said, text = getattr(_listening, "messages", None), record.getMessage()
        told = text.startswith(_SIGNALLED) or _DAMAGE.search(text)
        if said is None or not told or _plain(text).startswith(_NO_DAMAGE):
            return record.levelno >= (own or (logger.parent or logger).getEffectiveLevel())
        said.append(_plain(text))
        return False

    logger.addFilter(keep)
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))


def read_a_block(path: Path) -> None:
    """Read one block of a file, as whoever opens it will: GDAL writes some that it does not read."""
    rasterio = load_rasterio()
    try:
        with quiet(), complaints() as said, rasterio.open(path, sharing=False) as dataset:
            rows, cols = (min(n, side) for n, side in zip(dataset.shape, dataset.block_shapes[0], strict=True))
            dataset.read(1, window=((0, rows), (0, cols)))
    except rasterio.errors.RasterioError as error:
        said = [cause_of(error)]
    if said:
        raise OSError(f"what was written cannot be read again: {'; '.join(said)}")


CODECS = ("DEFLATE", "LZW", "ZSTD", "LERC", "LERC_ZSTD", "LZMA", "PACKBITS", "JPEG", "WEBP", "JXL")
"""GeoTIFF's codecs; which of them GDAL has is a matter of how it was built."""


def gdal_versions() -> dict[str, str]:
    """The versions of rasterio and of GDAL."""
    rasterio = load_rasterio()
    return {"rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}


def codecs() -> list[str]:
    """The codecs that GDAL can write, found by writing a raster in memory with each."""
    return [codec for codec in CODECS if _writes(codec)]


def _writes(codec: str) -> bool:
    like = {"driver": "GTiff", "height": 16, "width": 16, "dtype": "uint8", "interleave": "pixel"}
    count = 3 if codec in {"JPEG", "WEBP", "JXL"} else 1
    try:
        with quiet(), messages() as warned, load_rasterio().MemoryFile() as memory:
            memory.open(count=count, compress=codec, **like).close()
    except Exception:  # noqa: BLE001 - whatever GDAL raises, it cannot write this
        return False
    return not warned

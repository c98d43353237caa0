"""The options of a ``rasterio.Env`` as a value: they hold for one thread, and go where its rasters are read."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tilejit.formats.gdal.library import load_rasterio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

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

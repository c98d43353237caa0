"""PNG pictures through GDAL."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.gdal.library import cause_of, load_rasterio, quiet
from tilejit.formats.target import checked_file, finished, give_name, temporary_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_png(path: str | os.PathLike[str], colours: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Writes a picture.

    Args:
        path: The file.
        colours: (row, col, 3): red, green, blue.
        overwrite: Whether one that is there may be replaced.

    Raises:
        SinkError: It cannot be written; what was there stays.
    """
    rasterio, name = load_rasterio(), os.fspath(path)
    target = checked_file(name, overwrite=overwrite)
    temporary = temporary_of(target)
    height, width, count = colours.shape
    profile = {
        "driver": "PNG",
        "height": height,
        "width": width,
        "count": count,
        "dtype": "uint8",
        "ZLEVEL": 9,
    }
    try:
        with (
            quiet(),
            rasterio.Env(GDAL_PAM_ENABLED="NO"),
            rasterio.open(temporary, "w", **profile) as dataset,
        ):
            dataset.write(colours.transpose(2, 0, 1))
        temporary = finished(temporary)
        give_name(name, temporary, target, overwrite=overwrite)
    except NameTakenError:
        raise
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, Exception):
            raise
        raise SinkError(f"{path}: cannot be written: {cause_of(error, str(temporary))}") from error

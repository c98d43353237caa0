"""PNG pictures through GDAL."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.io.gdal.library import cause_of, load_rasterio, quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_png(path: str | os.PathLike[str], colours: NDArray[np.uint8]) -> None:
    """Writes a picture.

    Args:
        path: The file; one that is there is replaced.
        colours: (row, col, 3): red, green, blue.

    Raises:
        SinkError: It cannot be written; what was there stays.
    """
    rasterio, target = load_rasterio(), Path(path)
    temporary = target.parent / f".{target.stem}.{os.getpid()}.tmp.png"
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
        temporary.replace(target)
    except Exception as error:
        raise SinkError(f"{path}: cannot be written: {cause_of(error, str(temporary))}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

"""Cloud-optimised GeoTIFFs, by GDAL's own driver: overviews and the order of blocks are of its making."""

from __future__ import annotations

import glob
import importlib
from typing import TYPE_CHECKING

from tilejit.errors import NameTakenError
from tilejit.formats.gdal.library import load_rasterio, messages, quiet
from tilejit.formats.output import OutputFile
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilejit.formats.sink import OutputProfile


def write_cog(source: Path, profile: OutputProfile, options: Mapping[str, str]) -> None:
    """Copy a raster into a COG.

    Args:
        source: What GDAL opens.
        profile: The output; its options are not used.
        options: Creation options of GDAL's COG driver.

    Raises:
        SinkError: It cannot be written, or GDAL warns that it is not as asked; nothing is left.
    """
    file = OutputFile(profile)
    complete = {"NUM_THREADS": str(available_cores()), "BIGTIFF": "IF_SAFER"} | dict(options)
    rasterio, shutil = load_rasterio(), importlib.import_module("rasterio.shutil")
    try:
        with file.completing():
            with quiet(), messages() as said, rasterio.Env(GDAL_PAM_ENABLED="NO"):
                shutil.copy(source, file.temporary, driver="COG", **complete)
            _refuse(said)
            file.finish()
            file.publish()
    except NameTakenError:  # it is finished, and stays
        raise
    except BaseException:
        # Overviews that were not finished lie beside it.
        for left in file.temporary.parent.glob(f"{glob.escape(file.temporary.name)}*"):
            left.unlink(missing_ok=True)
        raise


def _refuse(said: list[str]) -> None:
    """Raise what GDAL only said.

    Raises:
        OSError: It said something.
    """
    if said:
        raise OSError("; ".join(said))

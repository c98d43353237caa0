"""GeoTIFF outputs through GDAL, which takes every creation option and encodes on threads of its own."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.gdal.creation_options import is_sparse
from tilejit.formats.gdal.gdal_dataset import close_dataset, create_dataset
from tilejit.formats.gdal.library import cause_of, load_rasterio, quiet
from tilejit.formats.sink import check_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.output_file import OutputFile
    from tilejit.window import Window


class RasterioSink:
    """A GeoTIFF that GDAL writes, one window at a time; it compresses on threads of its own meanwhile.

    Raises:
        SinkError: The file cannot be created; nothing is left.
    """

    concurrent = False
    """GDAL takes one window at a time: workers that take turns themselves can tell how long they waited."""

    def __init__(self, file: OutputFile, threads: int = 1) -> None:
        self.grid = file.profile.grid
        """Where its cells lie."""
        self.block = file.block
        """Rows and columns of the storage blocks."""
        self._file = file
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._dataset: Any = None
        self._prepared = False
        try:
            self._dataset = create_dataset(file, {"NUM_THREADS": str(max(1, threads))} | file.options)
            file.start_flusher()
        except BaseException:
            self.abort()
            raise

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Sink.write`.

        Raises:
            SinkError: It cannot be written; the message has the file, window and GDAL's cause. The output
                cannot be completed after that.
        """
        profile = self._file.profile
        check_write(
            profile.path,
            grid=self.grid,
            count=profile.count,
            dtype=profile.dtype,
            window=window,
            array=array,
        )
        cells = array.view(np.uint8) if array.dtype == np.bool_ else array
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        with self._lock:
            self._require_open()
            try:
                self._dataset.write(cells, window=place)
            except Exception as error:
                self._failure = f"cannot write {window}: {cause_of(error)}{self._file.hint(error)}"
                raise SinkError(f"{profile.path}: {self._failure}") from error

    def prepare(self) -> None:
        """Close the file, check that every block is in it, and sync it: all that can still fail but its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind.
        """
        with self._lock:
            self._require_open()
            with self._file.completing():
                self._close()
                check_blocks(self._file)
                self._file.sync()
                self._prepared = True

    def commit(self) -> None:
        """Prepare the file where that is not done yet, and give it its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind, and a file that was to be
                replaced is untouched.
        """
        if not self._prepared:
            self.prepare()
        with self._lock, self._file.completing():
            self._file.publish()

    def abort(self) -> None:
        """Remove the temporary file; nothing happens after `commit`."""
        with self._lock:
            with contextlib.suppress(Exception):
                self._close()
            self._file.remove()

    def _require_open(self) -> None:
        path = self._file.profile.path
        if self._failure is not None:
            raise SinkError(f"{path}: an earlier write failed: {self._failure}")
        if self._dataset is None:
            raise SinkError(f"{path}: the output has been committed or aborted")

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            close_dataset(dataset)


def check_blocks(file: OutputFile) -> None:
    """Find each block in the closed file: a full disk leaves offsets of zero or beyond the file's end.

    Raises:
        OSError: A block is missing.
    """
    size = file.temporary.stat().st_size
    sparse = is_sparse(file.options)
    separate = file.options.get("INTERLEAVE", "PIXEL").upper() == "BAND"
    rows, cols = (math.ceil(n / side) for n, side in zip(file.profile.grid.shape, file.block, strict=True))
    with quiet(), load_rasterio().open(file.temporary) as dataset:
        for band in range(1, (file.profile.count if separate else 1) + 1):
            for row, col in np.ndindex(rows, cols):
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
                length = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
                if offset is None and sparse:
                    continue
                if offset is None or not int(length or 0) or int(offset) + int(length) > size:
                    raise OSError(
                        f"band {band}, block row {row}, block col {col} is not in the file: it should be at "
                        f"byte {offset}, {length} bytes long, and the file has {size}",
                    )

"""A store of tiles on the disk gives what was written to the places that it reads, whatever the window."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilejit.errors import ReadError, SinkError
from tilejit.formats.source import BandInfo
from tilejit.formats.tile_store import TileStore, TileStoreSink
from tilejit.grid import Grid
from tilejit.window import Window

SHAPE = (19, 23)


def store_of(folder, block, dtype="i2", nodata=-1):
    store = TileStore(
        str(folder / "tiles"), "state of kernel", Grid(*SHAPE), (BandInfo(1, np.dtype(dtype), nodata),), block
    )
    with Path(store.path).open("wb") as file:
        file.truncate(store.file_bytes)
    return store


@settings(deadline=None, max_examples=60)
@given(st.data(), st.tuples(st.integers(1, 24), st.integers(1, 24)))
def test_any_window_of_either_side(tmp_path_factory, data, block):
    rng = np.random.default_rng(1)
    store = store_of(tmp_path_factory.mktemp("store"), block)
    first, second = (rng.integers(0, 99, (1, *SHAPE)).astype(np.int16) for _ in range(2))
    turned = {(r, c) for r in range(store.shape[0]) for c in range(store.shape[1]) if rng.random() < 0.4}
    TileStoreSink(store).write(Window(0, 0, *SHAPE), first)
    TileStoreSink(store.turned()).write(Window(0, 0, *SHAPE), second)
    now = store.turned(turned)
    wanted = first.copy()
    for row, col in turned:
        place = slice(row * block[0], (row + 1) * block[0]), slice(col * block[1], (col + 1) * block[1])
        wanted[0][place] = second[0][place]
    row, col = data.draw(st.integers(0, SHAPE[0] - 1)), data.draw(st.integers(0, SHAPE[1] - 1))
    height, width = data.draw(st.integers(1, SHAPE[0] - row)), data.draw(st.integers(1, SHAPE[1] - col))
    buffer = np.full((1, height + 2, width + 2), -7, np.float32)
    now.read((1,), Window(row, col, height, width), buffer[:, 1:-1, 1:-1])
    assert np.array_equal(buffer[0, 1:-1, 1:-1], wanted[0, row : row + height, col : col + width])
    assert (buffer == -7).sum() == buffer.size - height * width


def test_validity_and_what_is_not_there(tmp_path):
    store = store_of(tmp_path, (4, 4))
    cells = np.zeros((1, *SHAPE), np.int16)
    cells[0, 5, 6] = -1
    TileStoreSink(store).write(Window(0, 0, *SHAPE), cells)
    out, valid = np.empty((1, *SHAPE), np.int16), np.empty((1, *SHAPE), np.uint8)
    store.read((1,), Window(0, 0, *SHAPE), out, valid)
    assert np.array_equal(np.argwhere(valid[0] == 0), [[5, 6]])
    (tmp_path / "tiles").unlink()
    with pytest.raises(ReadError, match="no longer there"):
        store.read((1,), Window(0, 0, *SHAPE), out)
    with pytest.raises(SinkError, match="cannot be written"):
        TileStoreSink(store).write(Window(0, 0, *SHAPE), cells)
    with pytest.raises(SinkError, match="not seen by a worker"):
        TileStoreSink(store).opener(local=False)()

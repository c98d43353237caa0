"""Files that threads append to: every byte in its place, and an error that is not lost."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilejit.formats import append_file
from tilejit.formats.append_file import CachedAppendFile, DirectAppendFile

KINDS = pytest.mark.parametrize("kind", [CachedAppendFile, DirectAppendFile])
MOST = 2**63 - 1


@pytest.fixture
def path(tmp_path):
    """A file with a head of some bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"head")
    return path


def _blocks(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def _assert_holds(path, blocks, offsets):
    stored = np.fromfile(path, np.uint8)
    assert stored[:4].tobytes() == b"head"
    for block, offset in zip(blocks, offsets, strict=True):
        np.testing.assert_array_equal(stored[offset : offset + block.size], block)
    ends = sorted((offset, offset + block.size) for block, offset in zip(blocks, offsets, strict=True))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ends))


@KINDS
@given(sizes=st.lists(st.integers(0, 3 * 8192), max_size=12))
def test_every_byte_is_in_its_place(kind, sizes, tmp_path_factory):
    path = tmp_path_factory.mktemp("append") / "file"
    path.write_bytes(b"head")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_file, "SEGMENT", 8192)
        file, blocks = kind(path), _blocks(sizes)
        with ThreadPoolExecutor(3) as pool:
            offsets = list(pool.map(lambda block: file.append(block, MOST), blocks))
        file.finish()
        file.close()
    _assert_holds(path, blocks, offsets)


@KINDS
def test_blocks_larger_than_all_segments(kind, path):
    file, blocks = kind(path), _blocks([30_000_000, 1, 9_000_000])
    offsets = [file.append(block, MOST) for block in blocks]
    file.finish()
    file.close()
    file.close()
    _assert_holds(path, blocks, offsets)


@KINDS
def test_a_file_that_would_become_too_large(kind, path):
    file = kind(path)
    with pytest.raises(OSError, match="would pass 4 GB"):
        file.append(np.zeros(100, np.uint8), 60)
    file.close()


def test_a_file_system_without_direct_writes(path, monkeypatch):
    real = os.pwrite

    def refusing(descriptor, data, offset):
        if descriptor == file._direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, data, offset)

    file, blocks = DirectAppendFile(path), _blocks([5_000_000, 5_000_000])
    monkeypatch.setattr(os, "pwrite", refusing)
    offsets = [file.append(block, MOST) for block in blocks]
    file.finish()
    file.close()
    _assert_holds(path, blocks, offsets)


def test_a_full_disk_is_told_at_the_latest_in_the_end(path, monkeypatch):
    def full(_descriptor, _data, _offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = DirectAppendFile(path)
    monkeypatch.setattr(os, "pwrite", full)
    file.append(np.zeros(append_file.SEGMENT, np.uint8), MOST)
    with pytest.raises(OSError, match="No space left"):
        file.finish()
    with pytest.raises(OSError, match="No space left"):
        file.append(np.zeros(1, np.uint8), MOST)
    file.close()

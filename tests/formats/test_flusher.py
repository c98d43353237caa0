"""The thread that sends an output's pages to the disk while it is being written."""

import errno
import os
import sys
import threading
import time

import numpy as np
import pytest

import tilejit as tj
from tilejit.formats import append_file
from tilejit.formats.append_file import Flusher, begin_writing


@tj.local
def double(a):
    return a * 2


@pytest.mark.parametrize("options", [{}, {"compress": "lerc"}], ids=["by blocks", "by GDAL"])
def test_every_geotiff_has_one(tmp_path, monkeypatch, options):
    names, before = set(), set(threading.enumerate())
    monkeypatch.setattr(
        append_file, "begin_writing", lambda _: names.update(thread.name for thread in threading.enumerate())
    )
    monkeypatch.setattr(append_file, "_SECONDS", 0.001)
    monkeypatch.setattr(append_file.Flusher, "stop", waiting(append_file.Flusher.stop, names))
    double(tj.from_array(np.ones((600, 600), np.float32))).save(tmp_path / "out.tif", profile=options)
    assert "tilejit-flusher" in names
    assert not flushers(before)


def flushers(before):
    """Threads that flush and were not there before."""
    return [thread for thread in set(threading.enumerate()) - before if thread.name == "tilejit-flusher"]


def waiting(stop, names):
    """Ends no flusher before it has run once."""

    def wait(self):
        while not names:
            time.sleep(0.001)
        stop(self)

    return wait


def test_what_could_not_be_written_is_told_at_the_end(tmp_path, monkeypatch):
    failed = threading.Event()

    def fails(descriptor):
        if descriptor == one._descriptor:
            failed.set()
            raise OSError(errno.EIO, "broken")

    path = tmp_path / "file"
    path.write_bytes(b"cells")
    one = Flusher(path)
    monkeypatch.setattr(append_file, "begin_writing", fails)
    assert failed.wait(10)
    with pytest.raises(OSError, match="broken"):
        one.finish()
    one.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems cannot begin without waiting")
def test_writing_is_begun(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"cells")
    descriptor = os.open(path, os.O_RDONLY)
    begin_writing(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        begin_writing(descriptor)


def test_where_writing_cannot_be_begun_there_is_no_thread_that_waits_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(append_file, "c_function", lambda _: None)
    monkeypatch.setattr(os, "fsync", None)
    path, before = tmp_path / "file", set(threading.enumerate())
    path.write_bytes(b"cells")
    one = Flusher(path)
    begin_writing(-1)
    assert not flushers(before)
    one.finish()
    one.stop()

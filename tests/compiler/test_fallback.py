"""Compiled functions through Numba's dispatchers: where tilejit does not know Numba's inner parts, the bits are the same.

``TILEJIT_NATIVE=0 pytest`` runs the whole suite so.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tilejit.compiler.jit import cache, modules, native_function
from tilejit.compiler.jit.machine_code import OPTIONS, MachineCode, ObjectCode
from tilejit.compiler.jit.native_function import NativeFunction, load_dispatcher, load_machine_code, loader

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
TELLING = [
    "test_conformance.py::TestCpu::test_loops_that_wait_for_data",
    "test_conformance.py::TestCpu::test_integers",
    "backends/test_cpu.py::test_nodata_propagates_from_every_cell_of_the_footprint[two results]",
    "compiler/test_c_functions.py::test_a_focal_body_with_a_helper[ctypes]",
    "formats/test_codecs.py::test_gdal_writes_the_same_before_compression[('DEFLATE', 'f8', 3)-PIXEL-LITTLE]",
    "formats/test_codecs.py::test_gdal_writes_the_same_before_compression[('LZW', 'u2', 2)-BAND-LITTLE]",
]
TEXT = f"""
from numba import njit

@njit(**{{{OPTIONS}}})
def shift(cells, by):
    for k in range(len(cells)):
        cells[k] += by
"""


def test_telling_tests_pass_through_numba():
    """What compares bits with the python backend, C functions, and codecs with GDAL."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TELLING]
    environment = {**os.environ, "TILEJIT_NATIVE": "0"}
    run = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """Decides anew which way functions are called, with an empty folder for compiled code."""

    def clear():
        cache.cache_folder.cache_clear()
        loader.cache_clear()

    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    clear()
    yield monkeypatch
    monkeypatch.undo()
    clear()


def test_versions_that_were_not_tested(anew):
    known = native_function._version
    anew.delenv("TILEJIT_NATIVE", raising=False)
    anew.setattr(native_function, "_version", lambda name: {"numba": "0.99.1"}.get(name) or known(name))
    load, obstacle = loader()
    assert load is load_dispatcher
    assert "not among those tested (numba 0.61, " in obstacle


def test_a_tested_version_is_tried_once(anew, tmp_path):
    anew.delenv("TILEJIT_NATIVE", raising=False)
    anew.setattr(native_function, "uses_dispatchers", lambda: "")
    assert loader() == (load_machine_code, "")
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "key"] == [".trial"]
    loader.cache_clear()
    anew.setattr(native_function, "_try", None)  # is not called
    assert loader() == (load_machine_code, "")


@pytest.mark.parametrize("change", ["no such part", "another result", "other cells"])
def test_another_convention(anew, tmp_path, change):
    """Whatever the trial finds is told, and asked again by the next process."""
    anew.delenv("TILEJIT_NATIVE", raising=False)
    anew.setattr(native_function, "uses_dispatchers", lambda: "")
    if change == "no such part":
        anew.setattr(ObjectCode, "load", property(lambda code: code.gone))
    elif change == "another result":
        anew.setattr(MachineCode, "__call__", lambda *_: 7)
    else:
        anew.setattr(MachineCode, "__call__", lambda *_: 3009)
    load, obstacle = loader()
    assert load is load_dispatcher
    assert {"no such part": "'gone'", "another result": "returned 7", "other cells": "other cells"}[change] in obstacle
    assert not list(tmp_path.glob("*.trial"))


def test_what_a_dispatcher_compiled_is_kept(anew, tmp_path):
    function, cells = NativeFunction(TEXT, "shift", "shift"), np.zeros(3, np.int32)
    for hits in (0, 1):
        assert load_dispatcher(function, ())((cells, 2)) == 0
        (name,) = (name for name in sys.modules if name.startswith("_tilejit_shift_"))
        assert sum(sys.modules[name].shift.stats.cache_hits.values()) == hits
        del sys.modules[name]  # as in another process
    assert cells.tolist() == [4, 4, 4]
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "key"] == [".nbc"]


def test_a_numba_with_other_parts_keeps_nothing(tmp_path):
    """Its dispatchers ask their cache for more, or what they compile cannot be taken apart."""
    asks_more = SimpleNamespace(load_overload=None, save_overload=None, looked_up=None)
    function = SimpleNamespace(_cache=asks_more)
    modules.keep_overloads(function, lambda *_: tmp_path / "a")
    assert function._cache is asks_more
    kept = modules._Overloads(lambda *_: tmp_path / "a")
    kept.save_overload("signature", SimpleNamespace(codegen=SimpleNamespace(magic_tuple=tuple), library=None))
    assert kept.load_overload("signature", SimpleNamespace()) is None
    assert not list(tmp_path.iterdir())

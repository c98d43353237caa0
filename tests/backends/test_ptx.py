"""What kernels compile to for a GPU, without one: PTX by NVVM, assembled by ptxas."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import ptx
import tilejit as tj
from oracles import SINGLE
from ptx_run import CAPABILITIES, CASES
from tilejit.errors import BackendError

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "ptx_run.py"
WIDE = [c for c in CASES if "int32" in c or "float64" in c or c == "located"]
"""Wide inputs, and a kernel that takes a coordinate."""
NARROW = [c for c in CASES if c not in {*WIDE, "precise_sine"}]
"""All shipped kernels over narrow inputs. The exception is a test's own sine of a pixel: the device library reduces
arguments beyond 1e5 in float64."""
MOST_REGISTERS = 40
"""Then six blocks of 256 threads share the 65,536 registers of a multiprocessor."""


def missing():
    if not find_spec("numba_cuda"):
        return "numba-cuda is not installed: pip install 'tilejit[ptx]'"
    try:
        ptx.find_ptxas()
    except BackendError as error:
        return str(error)
    return None


REASON = missing()
needs_compiler = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The report of every case for each capability, half of the cases in each of two processes."""
    variables = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path_factory.mktemp("cache")), "NUMBA_ENABLE_CUDASIM": "0"}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), first, "2"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables,
        )
        for first in "01"
    ]  # fmt: skip
    results = {capability: {} for capability in CAPABILITIES}
    for process in running:
        output, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
        for case, found in json.loads(output).items():
            for capability in CAPABILITIES:
                results[capability][case] = found[capability]
    return results


@needs_compiler
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_spilled(reports, case, capability):
    report = reports[capability][case]
    assert report["spill_stores"] == report["spill_loads"] == 0
    # A list that grows is put into at running places, which registers have none of.
    assert (report["stack"] > 0) == (case == "grown")


@needs_compiler
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("case", NARROW)
def test_float32_stays_float32(reports, case, capability):
    assert reports[capability][case]["float64_instructions"] == 0


@needs_compiler
@pytest.mark.parametrize("case", WIDE)
def test_wide_inputs_and_coordinates_compute_in_float64(reports, case):
    assert reports["9 0"][case]["float64_instructions"] > 0


@needs_compiler
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", SINGLE)
def test_shipped_kernels_leave_room_for_threads(reports, name, capability):
    assert reports[capability][name]["registers"] <= MOST_REGISTERS


@needs_compiler
@pytest.mark.parametrize("case", [c for c in CASES if c not in {"moved", "roughness", "smoothed", "weighted"}])
# One reads a cell that it cannot share, two as many as there are layers, and one a table in global memory.
def test_each_cell_is_loaded_once(reports, case):
    report = reports["9 0"][case]
    assert report["loads"] == report["expected_loads"]


@needs_compiler
@pytest.mark.parametrize("case", [n for n, (k, _) in CASES.items() if all(r.dtype is None for r in k.rasters)])
def test_indices_are_not_wrapped_around(reports, case):
    # Which hold indices within bounds, loop by a range, or count what they put where.
    if case not in {"moved", "roughness", "smoothed", "best_pixel", "weighted", "whole", "grown"}:
        assert reports["9 0"][case]["index_selects"] == 0


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_fastmath_leaves_the_tests_for_nan(reports, case):
    report = reports["9 0"][case]
    if report["asks_nan"]:
        assert report["nan_tests"] > 0


@needs_compiler
def test_only_a_fast_kernel_has_the_crude_sine(reports):
    assert reports["9 0"]["fast_sine"]["crude_sines"] == 1
    crude = [n for n, report in reports["9 0"].items() if report["crude_sines"] and n != "fast_sine"]
    assert crude == []


@tj.local
def doubled(z):
    return 2 * z


def test_missing_packages_are_named(monkeypatch):
    signature = doubled.signature([np.dtype(np.float32)])
    monkeypatch.setattr(ptx, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"no PTX without numba-cuda: pip install 'tilejit\[ptx\]'"):
        ptx.compile_ptx(doubled, signature)
    monkeypatch.setattr(ptx.importlib, "import_module", _no_module)
    with pytest.raises(BackendError, match="no ptxas: cuda-pathfinder"):
        ptx.find_ptxas()


def _no_module(name):
    raise ImportError(name)


@needs_compiler
def test_ptxas_says_what_it_refuses():
    with pytest.raises(BackendError, match=r"ptxas refuses the kernel for sm_90: .*version"):
        ptx.assemble("no such instruction", (9, 0))

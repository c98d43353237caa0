"""The CUDA backend in Numba's simulator: the generated kernels, launched, against the definition of their bodies."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tilejit as tj
from cuda_simulator_run import CASES
from tilejit import backends
from tilejit.backends.cuda import CudaBackend
from tilejit.backends.cuda_device import Device, too_old
from tilejit.errors import BackendError

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "cuda_simulator_run.py"
SIMULATORS = ("numba-cuda", "built-in") if find_spec("numba_cuda") else ("built-in",)
EPSILONS = {
    "math": 2, "math in float64": 2, "slope": 2, "aspect": 2, "hillshade": 2, "multidirectional_hillshade": 2,
    "gaussian": 4,
}  # fmt: skip
"""How many float epsilons of the largest result a kernel may be off that calls a function of ``math``, which is the C
library's here; every other one has no bit to spare."""
STRICT = [sys.executable, "-W", "error", "-W", "ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning"]
"""Importing numba-cuda 0.30 gives that warning with NumPy 2.5."""
H200 = Device("NVIDIA H200", 141 * 2**30, (9, 0), (13, 0))


def run(command, tmp_path, **environment):
    variables = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=600)


@pytest.fixture(scope="module", params=SIMULATORS)
def simulated(request, tmp_path_factory):
    """What every case came to in the simulator of numba-cuda, and in Numba's own."""
    command = [*STRICT, str(SCRIPT), request.param]
    done = run(command, tmp_path_factory.mktemp("cache"), NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert ("numba_cuda" in found["file"]) == (request.param == "numba-cuda")
    return found["results"]


@pytest.mark.parametrize("case", CASES)
def test_the_simulator_computes_what_the_body_says(simulated, case):
    result = simulated[case]
    assert "error" not in result, result["error"]
    assert result["epsilons"] <= EPSILONS.get(case, 0)


@tj.local
def doubled(z):
    return 2 * z


@tj.local(fast=True)
def fast_sine(z):
    return math_sin(z) ** z


def math_sin(z):
    return tj.math.sin(z)


def source_of(kernel, dtype="float32"):
    return CudaBackend().source(kernel, kernel.signature([np.dtype(dtype)] * len(kernel.rasters)))


def test_source_needs_no_cuda_and_says_where_it_comes_from():
    text = source_of(doubled)
    assert "from the body of doubled in test_cuda_simulator.py" in text
    assert "f32(2.0) * z[_y, _x]" in text
    compile(text, "generated", "exec")


def test_only_a_fast_kernel_takes_the_device_library_s_cruder_functions():
    precise = tj.local(fast_sine.source.function)
    assert '_MATH = {"device": True, "forceinline": True, "fastmath": True}' in source_of(fast_sine)
    assert '_MATH = {"device": True, "forceinline": True, "fastmath": False}' in source_of(precise)
    assert "_pow(" in source_of(precise)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    problem = CudaBackend().why_not()
    assert problem == "numba-cuda is not installed: pip install 'tilejit[cuda]'"
    with pytest.raises(BackendError, match="cannot run here: numba-cuda is not installed"):
        doubled(np.ones((2, 2), np.float32), backend="cuda")
    with pytest.raises(BackendError, match="no CUDA device: numba-cuda is not installed"):
        CudaBackend().device()


def test_a_driver_or_a_device_that_is_too_old_is_named():
    assert too_old(H200, (13, 5), (7, 5)) is None
    driver = too_old(Device("A100", 40 * 2**30, (8, 0), (12, 4)), (13, 5), (7, 5))
    assert driver is not None
    assert "CUDA 12.4" in driver
    assert "numba-cuda[cu12]" in driver
    device = too_old(Device("Quadro P2000", 5 * 2**30, (6, 1), (13, 0)), (13, 5), (7, 5))
    assert device is not None
    assert "Quadro P2000 has compute capability 6.1" in device


def test_a_device_describes_itself():
    assert str(H200) == "NVIDIA H200, 141 GiB, compute capability 9.0, driver for CUDA 13.0"
    assert str(Device("Numba's CUDA simulator", 0, (0, 0), (0, 0))) == "Numba's CUDA simulator"


def python(code, tmp_path, **environment):
    return run([*STRICT, "-c", code], tmp_path, **environment)


def test_importing_tilejit_imports_no_numba(tmp_path):
    code = "import sys, tilejit, tilejit.backends.cuda; assert not [m for m in sys.modules if m.startswith('numba')]"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr


KERNEL = """
import sys, numpy as np, tilejit_kernels.indices as indices
ones = np.ones((4, 4), np.float32)
"""


def test_the_cpu_backend_does_not_load_cuda(tmp_path):
    code = f"{KERNEL}indices.ndvi(ones, ones, backend='cpu'); assert 'numba.cuda.cudadrv' not in sys.modules"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_cpu_backend_works_beside_the_simulator(tmp_path):
    code = (
        f"{KERNEL}print(indices.ndvi(ones, 3 * ones, backend='cuda', scale=1.0, offset=0.0)[0, 0],"
        "indices.ndvi(ones, 3 * ones, backend='cpu', scale=1.0, offset=0.0)[0, 0])"
    )
    done = python(code, tmp_path, NUMBA_ENABLE_CUDASIM="1")
    assert done.stdout.split() == ["0.5", "0.5"], done.stderr


@pytest.mark.skipif(not find_spec("numba_cuda"), reason="numba-cuda is not installed")
def test_without_a_driver_the_reason_is_in_one_line(tmp_path):
    code = "from tilejit.backends.cuda import CudaBackend; print(CudaBackend().why_not())"
    done = python(code, tmp_path, NUMBA_DISABLE_CUDA="1", NUMBA_ENABLE_CUDASIM="0")
    assert done.stdout.startswith("the CUDA driver "), done.stderr
    assert done.stdout.count("\n") == 1

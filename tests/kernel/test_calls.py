"""Kernels as people meet them: signatures, help, notebooks, and what errors and warnings say."""

import copy
import doctest
import inspect
import pydoc
import sys
from pathlib import Path

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import write_module
from tilejit.errors import KernelError, ParameterError, SourceError
from tilejit_kernels import terrain

OPTIONS = "backend='cpu', workers=None, out=None, edge=None)"

WEIGHTED = "*, weight: float = 0.5, times: int = 2, bare: bool = False, dx: float = tj.GROUND_WIDTH, wanted: float"


@tj.focal
def weighted(z, mask: np.uint8, *, weight=0.5, times=2, bare=False, dx=tj.GROUND_WIDTH, wanted):
    """Weighs its neighbours.

    Example:
        >>> 1 + 1
        2
    """
    return (z[0, 1] + z[0, -1]) * weight * times / dx + wanted if bare else z[0, 0] + mask[0, 0]


@tj.chain
def both(z, w, *, wanted: int):
    """Weighs twice."""
    return weighted(z, w, wanted=wanted)


@pytest.mark.parametrize(
    ("kernel", "parameters"),
    [
        (weighted, f"(z, mask: numpy.uint8, /, {WEIGHTED}, {OPTIONS}"),
        (both, f"(z, w, /, *, wanted: int, {OPTIONS}"),
    ],
)
def test_a_kernel_looks_like_its_function(kernel, parameters):
    function = kernel.source.function
    assert str(inspect.signature(kernel)) == parameters
    assert (kernel.__name__, kernel.__qualname__, kernel.__module__) == (function.__name__, function.__name__, __name__)
    assert kernel.__doc__ == function.__doc__
    assert inspect.unwrap(kernel) is function
    assert inspect.getsource(kernel).startswith("@tj.")
    shown = pydoc.plain(pydoc.render_doc(kernel))
    assert f"{kernel.name}{kernel.usage}"[:30] in shown  # pydoc shortens what is long
    assert function.__doc__.split("\n")[0] in shown
    assert kernel == copy.copy(kernel)


def test_the_classes_keep_their_own_documents():
    assert tj.Kernel.__doc__.startswith("A decorated body.")
    assert tj.Chain.__module__ == "tilejit.kernel.decorators"
    assert "function" in inspect.signature(tj.Kernel).parameters
    assert "with_edge" in pydoc.plain(pydoc.render_doc(tj.Kernel))


def test_examples_of_kernels_are_found_once():
    found = [test.name for test in doctest.DocTestFinder().find(sys.modules[__name__]) if test.examples]
    assert found == [f"{__name__}.weighted"]


UNDEFINED = {
    "math": ("return math.sqrt(z)", r"the name math is not defined(?s:.*)write import math above the kernel"),
    "math.pi": ("return z * math.pi", r"the name math is not defined(?s:.*)write import math above the kernel"),
    "np": ("return np.float32(z)", r"the name np is not defined(?s:.*)write import numpy as np above the kernel"),
    "sqrt": ("return sqrt(z)", r"unknown function sqrt(?s:.*)write math\.sqrt, and import math above the kernel"),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_a_forgotten_import_is_told(tmp_path, name):
    body, message = UNDEFINED[name]
    module = write_module(tmp_path, f"import tilejit as tj\n\n@tj.local\ndef f(z):\n    {body}\n", head="")
    with pytest.raises(KernelError, match=message):
        module.f(np.zeros((1, 1)))


def test_a_forgotten_import_is_told_of_annotations_and_chains(tmp_path):
    text = "from __future__ import annotations\nimport tilejit as tj\n\n@tj.local\ndef f(z: np.uint8):\n    return z\n"
    with pytest.raises(KernelError, match="write import numpy as np above the kernel"):
        write_module(tmp_path, text, head="")
    module = write_module(tmp_path, "import tilejit as tj\n\n@tj.chain\ndef c(z):\n    return math.sqrt(z)\n", head="")
    with pytest.raises(KernelError, match="name 'math' is not defined\n  write import math above the chain"):
        module.c(np.zeros((1, 1)))


def test_paths_are_no_rasters():
    for call, message in (
        (lambda: terrain.slope("dem.tif"), r"slope: z is a path, .* give tj\.open\('dem\.tif'\)"),
        (lambda: both(Path("a.tif"), "b.tif", wanted=1), r"both: z is a path, .* give tj\.open\('a\.tif'\)"),
        (lambda: tj.from_array("dem.tif"), r"array is a path, .* give tj\.open\('dem\.tif'\)"),
    ):
        with pytest.raises(KernelError, match=message):
            call()


def test_grids_are_public():
    affine = pytest.importorskip("affine")
    transform = affine.Affine(30, 0, 5e5, 0, -30, 5e6)
    cells = np.float32(np.arange(12).reshape(3, 4))
    for crs in ("EPSG:32633", "EPSG:4326"):
        raster = tj.from_array(cells, grid=tj.Grid(3, 4, transform, crs))
        assert raster.grid.metric.kind == ("projected" if crs == "EPSG:32633" else "geographic")
        assert raster.grid.crs.startswith(("PROJCS", "GEOGCS"))
    slope = terrain.slope(tj.from_array(cells, grid=tj.Grid(3, 4, transform, "EPSG:32633"))).compute()[0]
    np.testing.assert_array_equal(slope, terrain.slope(cells, dx=30, dy=30))
    with pytest.raises(ParameterError, match="'EPSG:no' is no CRS: give a code, as EPSG:32633, or WKT"):
        tj.from_array(cells, grid=tj.Grid(3, 4, transform, "EPSG:no"))
    with pytest.raises(SourceError, match=r"its grid \(3, 5\)"):
        tj.from_array(cells, grid=tj.Grid(3, 5))


def users_lines(error):
    return "\n".join(error._render_traceback_())


def test_notebooks_show_the_users_own_lines():
    def mine():
        return weighted(np.zeros((2, 2, 2)), np.zeros((2, 2), np.uint8), wanted=1)

    with pytest.raises(KernelError) as caught:
        mine()
    shown = users_lines(caught.value)
    assert "in mine\n" in shown
    assert str(Path(tj.__file__).parent) not in shown
    assert shown.endswith(str(caught.value))


def test_notebooks_show_where_a_chain_failed(tmp_path):
    module = write_module(tmp_path, "import tilejit as tj\n\n@tj.chain\ndef c(z):\n    return z.nothing\n", head="")
    with pytest.raises(KernelError) as caught:
        module.c(np.zeros((1, 1)))
    shown = users_lines(caught.value)
    assert "    return z.nothing\n" in shown
    assert "AttributeError: 'Raster' object has no attribute 'nothing'\n" in shown
    assert "was the direct cause of" in shown
    assert str(Path(tj.__file__).parent) not in shown

"""What every backend is held to: kernels of all kinds, against the interpreted bodies."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import tilejit as tj
from tilejit.arrays import run_on_arrays
from tilejit.backends import get_backend
from tilejit.errors import KernelError, NodataWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]


@tj.local
def _ratio(a, b):
    return (b - a) / (b + a)


@tj.focal
def _gradient(z, *, cell=2.0):
    return (z[0, 1] - z[0, -1]) / (2 * cell), (z[1, 0] - z[-1, 0]) / (2 * cell)


@tj.focal(nodata="kernel")
def _valid_mean(z):
    total, count = 0.0, 0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            if tj.is_valid(z[dy, dx]):
                total += z[dy, dx]
                count += 1
    return total / count if count > 0 else math.nan


@tj.focal(edge="reflect")
def _largest(z):
    return max(z[-1, 0], z[0, -1], z[0, 0], z[0, 1], z[1, 0])


@tj.local
def _steps(z):
    count = 0
    while z > 1.0:
        z = z / 2
        count += 1
    return count


@tj.local
def _flags(qa: np.uint16) -> np.uint8:
    return (qa >> 3) & 1 | (qa & 1) << 1


@tj.focal
def _by_place(z):
    return z[0, 0] - z[0, 1] if z[0, 0] > 50 else z[1, 0]


@tj.local
def _rounded(z) -> np.int16:
    return z * 1000


@tj.local
def _of_layers(t: tj.Stack, which):
    total = 0.0
    for k in range(len(t)):
        total += t[k] * k
    return total - t[int(which)] + t[-1]


def _cells(dtype: type, *, holes: bool = False) -> Array:
    rng = np.random.default_rng(7)
    cells: Array = (rng.random((17, 23)) * 100).astype(dtype)
    if holes:
        cells[3, 4] = cells[10:12, 7] = np.nan
    return cells


class BackendTests:
    """A backend gives what the interpreted bodies give.

    Attributes:
        name: The backend's name.
        ulps: How many units in the last place its floats may differ by; 0 asks for the same bits.
    """

    name: ClassVar[str]
    ulps: ClassVar[int] = 0

    def same(self, kernel: Kernel, *inputs: Array, **parameters: Any) -> None:
        """Asserts that the backend and the python backend agree on ``kernel``."""
        wanted = run_on_arrays(kernel, inputs, parameters, backend="python", workers=1)
        given = run_on_arrays(kernel, inputs, parameters, backend=self.name, workers=2)
        for a, b in zip(_listed(wanted), _listed(given), strict=True):
            assert a.dtype == b.dtype
            if a.dtype.kind != "f" or self.ulps == 0:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_array_max_ulp(np.nan_to_num(a), np.nan_to_num(b), self.ulps)
                np.testing.assert_array_equal(np.isnan(a), np.isnan(b))

    def test_it_says_who_it_is(self) -> None:
        """Its name is the one that it is asked for by, and it can run here."""
        backend = get_backend(self.name)
        assert backend.name == self.name
        assert backend.why_not() is None

    def test_it_shows_its_source(self) -> None:
        """The generated source names the kernel."""
        assert "_gradient" in get_backend(self.name).source(_gradient, _gradient.signature((np.dtype("f4"),)))

    def test_a_local_kernel(self) -> None:
        """Floats, integers cast without wrapping, and float64."""
        for dtype in (np.float32, np.uint16, np.float64, np.int32):
            self.same(_ratio, _cells(dtype), _cells(dtype)[::-1].copy())

    def test_several_results_and_a_parameter(self) -> None:
        """Tuples, and keyword-only parameters."""
        self.same(_gradient, _cells(np.float32), cell=0.5)

    def test_invalid_cells_reach_every_result(self) -> None:
        """NaN propagates whatever the branches do."""
        self.same(_gradient, _cells(np.float32, holes=True))
        self.same(_by_place, _cells(np.float32, holes=True))

    def test_a_body_that_deals_with_nodata(self) -> None:
        """``nodata="kernel"``: the body asks which cells are valid."""
        self.same(_valid_mean, _cells(np.float32, holes=True))
        self.same(_valid_mean, _cells(np.uint8))

    def test_edges(self) -> None:
        """Cells outside repeat those inside."""
        self.same(_largest, _cells(np.float32, holes=True))

    def test_loops_that_wait_for_data(self) -> None:
        """``while``, where NaN must not enter."""
        self.same(_steps, _cells(np.float32, holes=True))

    def test_stacks(self) -> None:
        """Any number of layers, and one that the pixel chooses; of one that is not there, an error."""
        stack, which = np.stack([_cells(np.float32, holes=True)] * 3), _cells(np.float32) % 3
        self.same(_of_layers, stack, which)
        self.same(_of_layers, stack[:1], which * 0)
        said = ""
        try:
            run_on_arrays(_of_layers, (stack[:2], which), {}, backend=self.name, workers=2)
        except KernelError as error:
            said = str(error)
        assert "is of no layer of the stack, which has 2" in said

    def test_integers(self) -> None:
        """Bits of annotated integers, and results rounded and saturated."""
        self.same(_flags, _cells(np.uint16))
        with warnings.catch_warnings():
            # What does not fit is told, once for each backend.
            warnings.simplefilter("ignore", NodataWarning)
            self.same(_rounded, _cells(np.float32, holes=True))


def _listed(results: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return results if isinstance(results, tuple) else (results,)

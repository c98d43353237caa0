"""Kernels whose body takes whole tiles: arrays in, arrays out, with any library."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload
from weakref import WeakKeyDictionary

import numpy as np

from tilejit.compiler.form.kinds import ALL, Kind
from tilejit.compiler.form.parameters import read_output_dtypes, read_parameters
from tilejit.compiler.form.source import read_source
from tilejit.errors import KernelError
from tilejit.kernel.facts import Facts, names_in
from tilejit.kernel.kernel import Edge, Kernel, Nodata
from tilejit.kernel.reach import check_edge, read_radius

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.form.captured import Changing
    from tilejit.compiler.form.form import Form
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.kernel.reach import RadiusRule


@dataclass(frozen=True)
class BlockKernel(Kernel):
    """A body that takes arrays, under `block`. Call it as any kernel.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.block
        ... def reversed_sign(z):
        ...     return -z
        >>> reversed_sign(np.float32([[1, 2]]))
        array([[-1., -2.]], dtype=float32)
    """

    __hash__ = Kernel.__hash__
    device_bodies: ClassVar[WeakKeyDictionary[Any, Callable[..., object]]] = WeakKeyDictionary()
    """Body -> what `cuda` gave it."""

    @functools.cached_property
    def source(self) -> FunctionSource:
        """The body's text."""
        return read_source(self.function)

    @functools.cached_property
    def facts(self) -> Facts:
        """What a run must know of it; nobody knows how long a tile takes."""
        outputs = self.declared_outputs or (np.dtype(np.float32),)
        deciding = tuple((k, frozenset({ALL})) for k in range(len(self.rasters) * (self.nodata == "propagate")))
        contract = self.nodata, self.edge, self.declared_radius, self.declared_outputs
        return Facts(
            fingerprint=hashlib.sha256(repr((self.source.lines, contract)).encode()).hexdigest(),
            radius=self.declared_radius or (0, 0),
            results=tuple(int(Kind.INT if dtype.kind in "iu" else Kind.FLOAT) for dtype in outputs),
            returns_tuple=len(outputs) > 1,
            windows=frozenset(),
            border_is_nodata=False,
            deciding_inputs=deciding,
            operations=1000,
            is_open_ended=True,
            layers=(),
            is_sized=False,
            reads_times=False,
            calls_c=False,
            changing=(),
        )

    @functools.cached_property
    def form(self) -> Form:
        """There is none: a body of arrays is not compiled."""
        raise KernelError(f"{self.name} is a body of arrays, of which nothing is compiled: its text is all there is")

    @property
    def _changing(self) -> Sequence[Changing]:
        return ()

    @property
    def device_body(self) -> Callable[..., object] | None:
        """What runs on a GPU, where `cuda` gave it any."""
        return self.device_bodies.get(self.function)

    def cuda(self, body: Callable[..., object]) -> Callable[..., object]:
        """Gives the kernel a body for a GPU, as a decorator.

        Args:
            body: It takes device arrays: the inputs as the other body has them, without masks, then one of the inner
                shape for each result, to write to; and as keyword arguments the scalars, and ``stream``, on which it
                launches its own kernels.

        Example:
            >>> import tilejit as tj
            >>> @tj.block
            ... def doubled(z):
            ...     return z * 2
            >>> @doubled.cuda
            ... def doubled_on_gpu(z, out, *, stream):
            ...     from numba import cuda
            ...     grid = -(-out.shape[0] // 16), -(-out.shape[1] // 16)
            ...     double_kernel[grid, (16, 16), stream](z, out)  # of numba.cuda, or CuPy's
        """
        self.device_bodies[self.function] = body
        return body


@overload
def block(body: Callable[..., object], /) -> BlockKernel: ...
@overload
def block(
    *,
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | RadiusRule = 0,
    edge: Edge = "nodata",
    unit: str | None = None,
) -> Callable[[Callable[..., object]], BlockKernel]: ...
def block(
    body: Callable[..., object] | None = None,
    /,
    *,
    nodata: Nodata = "propagate",
    radius: int | tuple[int, int] | RadiusRule = 0,
    edge: Edge = "nodata",
    unit: str | None = None,
) -> BlockKernel | Callable[[Callable[..., object]], BlockKernel]:
    """Declares a kernel whose body takes whole tiles: any function of arrays, of NumPy, SciPy, PyTorch or one's own.

    Args:
        body: A plain function. Its positional parameters are (row, col) arrays, its own to change: a tile and
            ``radius`` cells around it, floats with NaN where there is no data. One that is annotated with an integer
            dtype is a masked array. Keyword-only parameters are scalars; a grid quantity that varies is an array of a
            column, or of a row, without the cells around. It returns an array of the inputs' shape, of which the cells
            around are cut off, or one without them; or a tuple of such. NaN, and what is masked, is nodata. The return
            annotation declares their dtypes; without one the result is one array of floats.
        nodata: ``"propagate"``: where a pixel's own cell is invalid in any input, so is the result.
            ``"kernel"``: the body alone says which are.
        radius: How far the result of a pixel depends on cells around it, in cells or as (rows, columns), or a function
            of scalar parameters. Nothing checks it but `tilejit.testing.check_tiling`.
        edge: What lies outside the raster, as for `focal`.
        unit: The unit of the results, as for `focal`.

    Raises:
        KernelError: Its signature says what no kernel's may.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.block(radius=1, edge="nearest")
        ... def steepest(z):
        ...     return np.maximum(*map(abs, np.gradient(z)))
        >>> steepest(np.float32([[1, 2, 5]]))
        array([[0.5, 2. , 1.5]], dtype=float32)
    """
    if body is None:
        return lambda function: block_kernel(function, nodata, radius, edge, unit)
    return block_kernel(body, nodata, radius, edge, unit)


def block_kernel(
    function: Callable[..., object], nodata: Nodata, radius: Any, edge: Edge, unit: str | None
) -> BlockKernel:
    """Makes a kernel of a body of arrays; see `block`."""
    names_in(function, "chain")
    if nodata not in {"propagate", "kernel"}:
        raise KernelError(f"{function.__name__}: nodata={nodata!r}; it is 'propagate' or 'kernel'")
    rasters, scalars = read_parameters(function)
    check_edge(function.__name__, edge, rasters)
    declared, rule = read_radius(function.__name__, radius, scalars)
    outputs = read_output_dtypes(function)
    return BlockKernel(
        function, "block", rasters, scalars, declared, outputs, nodata, edge, unit, fast=False, radius_rule=rule
    )

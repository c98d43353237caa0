"""Expressions in the graph: applications whose kernel is made of operations when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.compiler.kinds import Kind
from tilejit.engine.planning.demands import storable
from tilejit.engine.planning.graph import Application, ResultBand, SourceBand
from tilejit.kernel.expressions.nodes import BOOL, Leaf, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tilejit.compiler.kinds import LazyScalar
    from tilejit.engine.planning.graph import Band
    from tilejit.kernel.expressions.body import Composed
    from tilejit.kernel.expressions.nodes import Node
    from tilejit.kernel.kernel import Kernel


class Expression(Application):
    """Operations on bands: an application of one local kernel, which is made when something is asked of it.

    What takes an expression further takes its operations, and not its result: a tree of them is one kernel, whatever
    names its parts had in between.
    """

    __slots__ = ("_made", "root")

    def __init__(self, root: Operation) -> None:
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "_made", None)

    root: Operation
    """The operations."""
    _made: Composed | None

    @property
    def _composed(self) -> Composed:
        if self._made is None:
            from tilejit.kernel.expressions.body import composed

            object.__setattr__(self, "_made", composed(self.root))
        assert self._made is not None  # noqa: S101 - for type checkers
        return self._made

    @property
    def kernel(self) -> Kernel:
        """The kernel that it becomes."""
        return self._composed.kernel

    @property
    def ports(self) -> tuple[tuple[Band, ...], ...]:
        """Its bands."""
        return tuple((band,) for band in self._composed.bands)

    @property
    def parameters(self) -> Mapping[str, LazyScalar]:
        """The numbers that earlier passes make."""
        return self._composed.scalars


def band_of(node: Node) -> Band:
    """Returns what a node makes, as a band."""
    return ResultBand(Expression(node), 0) if isinstance(node, Operation) else node.band  # type: ignore[union-attr]


def node_of(band: Band) -> Operation | Leaf:
    """Returns a band as a part of an expression: its own operations, where it is one."""
    if isinstance(band, ResultBand) and isinstance(band.application, Expression):
        return band.application.root
    return Leaf(band, dtype_of(band), _key(band))


def _key(band: Band) -> Any:
    if isinstance(band, SourceBand):
        return id(band.source), band.info.index, band.values is None
    return id(band.application), band.index


def dtype_of(band: Band) -> np.dtype:
    """Returns the dtype of a band's cells, as kernels take them; bool for a kernel's truth values."""
    if isinstance(band, SourceBand):
        return storable(band.for_kernel(None).info.dtype)
    application = band.application
    known: dict[int, tuple[np.dtype, ...]] = {}
    if isinstance(application, Expression):
        return application.root.dtype
    from tilejit.engine.planning.graph import applications_of

    for one in applications_of([band]):
        known[id(one)] = _results_of(one, known)
    index = 0 if application.kernel.by_date else band.index
    is_truth = application.kernel.declared_outputs is None and application.kernel.results[index] is Kind.BOOL
    return BOOL if is_truth else known[id(application)][index]


def _results_of(application: Application, known: Mapping[int, tuple[np.dtype, ...]]) -> tuple[np.dtype, ...]:
    """The dtypes of an application's results, for those of what it takes."""
    from tilejit.compiler.kinds import common_dtype

    held = []
    for port in application.ports:
        of_kernels = (known[id(b.application)][0 if b.application.kernel.by_date else b.index]
                      for b in port if isinstance(b, ResultBand))  # fmt: skip
        of_files = (storable(b.for_kernel(None).info.dtype) for b in port if isinstance(b, SourceBand))
        held.append(common_dtype((*of_kernels, *of_files)))
    return application.kernel.signature(held).outputs

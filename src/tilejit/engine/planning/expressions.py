"""Expressions in the graph: applications whose kernel is made of operations when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import Kind, common_dtype
from tilejit.engine.planning.demands import storable, taken_ports
from tilejit.engine.planning.graph import Application, ResultBand, SourceBand, applications_of
from tilejit.kernel.expressions.nodes import BOOL, Leaf, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tilejit.compiler.form.kinds import LazyScalar, Signature
    from tilejit.engine.planning.graph import Band
    from tilejit.kernel.expressions.body import Composed
    from tilejit.kernel.expressions.nodes import Node
    from tilejit.kernel.kernel import Kernel


class Expression(Application):
    """Operations on bands: an application of one local kernel, which is made when something is asked of it.

    What takes an expression further takes its operations, and not its result: a tree of them is one kernel, whatever
    names its parts had in between.
    """

    __slots__ = ("_made", "like", "root")

    def __init__(self, root: Operation, like: Kernel | None = None) -> None:
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "like", like)
        object.__setattr__(self, "_made", None)

    root: Operation
    """The operations."""
    like: Kernel | None
    """The kernel of which it has the name; None for an expression's own."""
    _made: Composed | None

    @property
    def _composed(self) -> Composed:
        if self._made is None:
            from tilejit.kernel.expressions.body import composed

            object.__setattr__(self, "_made", composed(self.root, self.like))
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
    return Leaf(band, dtype_of(band), key_of(band))


def key_of(band: Band) -> Any:
    """Returns what tells a band from others."""
    if isinstance(band, SourceBand):
        return id(band.source), band.info.index, band.values is None
    return id(band.application), band.index


def dtype_of(band: Band) -> np.dtype:
    """Returns the dtype of a band's cells, as kernels take them; bool for a kernel's truth values."""
    if isinstance(band, SourceBand):
        return storable(band.for_kernel(None).info.dtype)
    application = band.application
    if isinstance(application, Expression):
        return application.root.dtype
    known: dict[int, Signature] = {}
    for one in applications_of([band]):
        known[id(one)] = signature_of(one, known)
    index = 0 if application.kernel.by_date else band.index
    is_truth = application.kernel.declared_outputs is None and application.kernel.results[index] is Kind.BOOL
    return BOOL if is_truth else known[id(application)].outputs[index]


def signature_of(application: Application, known: Mapping[int, Signature]) -> Signature:
    """Returns the dtypes of an application, for those of what it takes, by the identities of what makes that."""

    def dtype(band: Band) -> np.dtype:
        if isinstance(band, SourceBand):
            return storable(band.info.dtype)
        return known[id(band.application)].outputs[0 if band.application.kernel.by_date else band.index]

    held = [common_dtype(map(dtype, port)) for port in taken_ports(application)]
    return application.kernel.signature(held)

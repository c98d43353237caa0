"""Chains of local kernels: what one makes for another alone becomes a value in its loop, and no plane."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from tilejit.compiler.form.kinds import Kind, LazyScalar
from tilejit.engine.planning.demands import requested_applications
from tilejit.engine.planning.expressions import Expression, dtype_of, key_of, signature_of
from tilejit.engine.planning.graph import Application, ResultBand
from tilejit.errors import KernelError
from tilejit.kernel.expressions.functions import CHOOSING
from tilejit.kernel.expressions.nodes import Awaited, Function, Leaf, Number, Operation, operations_in, with_leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.form.parameters import ScalarParameter
    from tilejit.engine.planning.demands import Request
    from tilejit.engine.planning.graph import Band
    from tilejit.kernel.expressions.nodes import Node


def fused(requests: Sequence[Request]) -> list[Request]:
    """Returns requests whose chains of local kernels are one application each, with the same bits.

    A kernel joins the one that takes its result where nothing else does, neither an output nor another kernel, and
    where both compute in one dtype, so that nothing is rounded or converted in between.
    """
    fusion = _Fusion(requests)
    return [replace(request, bands=tuple(map(fusion.band, request.bands))) for request in requests]


class _Fusion:
    """The applications of some requests, as they are fused."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.applications = requested_applications(requests)
        self.signatures: dict[int, Signature] = {}
        takers: dict[int, list[Application | None]] = defaultdict(list)
        for band in (band for request in requests for band in request.bands):
            if isinstance(band, ResultBand):
                takers[id(band.application)].append(None)
        for application in self.applications:
            self.signatures[id(application)] = signature_of(application, self.signatures)
            producers = {id(b.application) for b in application.inputs if isinstance(b, ResultBand)}
            for number in producers:
                takers[number].append(application)
        self.taker = {number: found[0] for number, found in takers.items() if len(found) == 1}
        self.made: dict[int, Application] = {}
        for application in self.applications:
            self.made[id(application)] = self._made(application)

    def band(self, band: Band) -> Band:
        """A band of what was made instead."""
        if not isinstance(band, ResultBand) or self.made[id(band.application)] is band.application:
            return band
        return replace(band, application=self.made[id(band.application)], called=band.label)

    def _joins(self, band: Band) -> bool:
        """Whether the kernel that makes a band becomes a part of the one that takes it."""
        taker = self.taker.get(id(band.application)) if isinstance(band, ResultBand) else None
        if taker is None or not isinstance(band, ResultBand):
            return False
        signature = self.signatures[id(band.application)]
        return (
            _is_plain(band.application)
            and _takes(taker)
            and band.application.kernel.results == (Kind.FLOAT,)
            and signature.outputs == (signature.compute,)
            and signature.compute == self.signatures[id(taker)].compute
        )

    def _made(self, application: Application) -> Application:
        """An application with what joins it, or of what was made instead of its inputs."""
        if not any(self._joins(band) for band in application.inputs):
            ports = tuple(tuple(map(self.band, port)) for port in application.ports)
            if ports == application.ports:
                return application
            return Application(application.kernel, ports, application.parameters)
        whole = Expression(self._root(application), None if isinstance(application, Expression) else application.kernel)
        try:
            is_one = whole.kernel.facts.radius == (0, 0)
        except KernelError:  # what is no helper, for it asks more of its raster than a value
            is_one = False
        return whole if is_one else Application(application.kernel, application.ports, application.parameters)

    def _root(self, application: Application) -> Operation:
        """An application's result, as an operation on what it takes."""
        if isinstance(application, Expression):
            return with_leaves(application.root, lambda leaf: self._node(leaf.band, leaf.dtype))
        kernel, signature = application.kernel, self.signatures[id(application)]
        nodes: list[Node] = [self._node(band, dtype_of(band)) for band in application.inputs]
        texts = [f"{{{k}}}" for k in range(len(nodes))]
        for name, value in application.parameters.items():
            texts.append(f"{name}={{{len(nodes)}}}")
            nodes.append(Awaited(value) if isinstance(value, LazyScalar) else Number(value))
        call = Function(
            f"{kernel.name} {id(kernel.function)}", f"{{name}}({', '.join(texts)})", hides=True,
            helper=kernel.function, is_integer=kernel.results[0] is not Kind.FLOAT,
        )  # fmt: skip
        return Operation(call, tuple(nodes), signature.outputs[0])

    def _node(self, band: Band, dtype: np.dtype) -> Operation | Leaf:
        if isinstance(band, ResultBand) and self._joins(band):
            made = self.made[id(band.application)]
            return made.root if isinstance(made, Expression) else self._root(band.application)
        band = self.band(band)
        return Leaf(band, dtype, key_of(band))


def _takes(application: Application) -> bool:
    """Whether an application may have values for inputs that its kernel takes as cells."""
    if isinstance(application, Expression):
        return all(one.function not in CHOOSING for one in operations_in(application.root))
    return _is_plain(application)


def _is_plain(application: Application) -> bool:
    """Whether a kernel is a function of one value of each band, which has no data where one of them has none."""
    if isinstance(application, Expression):
        return _takes(application)
    kernel = application.kernel
    return (
        kernel.kind == "local"
        and (kernel.nodata, kernel.fast, kernel.star, len(kernel.results)) == ("propagate", False, "", 1)
        and all(raster.dtype is None and not raster.is_stack for raster in kernel.rasters)
        and {k for k, _ in kernel.facts.deciding_inputs} == set(range(len(kernel.rasters)))
        and not (kernel.facts.calls_c or kernel.facts.returns_tuple or kernel.is_double)
        and all(_is_number(value, scalar.kind) for scalar, value in _scalars(application))
    )


def _scalars(application: Application) -> list[tuple[ScalarParameter, object]]:
    return [(scalar, application.parameters[scalar.name]) for scalar in application.kernel.scalars]


def _is_number(value: object, kind: Kind) -> bool:
    return kind is Kind.FLOAT if isinstance(value, LazyScalar) else isinstance(value, (bool, int, float))

"""A kernel: a body with its contract, and nothing about how it is run."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from tilejit.compiler.form.captured import Changing, frozen
from tilejit.compiler.form.kinds import ALL, Kind, Quantity, Signature, compute_dtype, integer_dtype
from tilejit.errors import KernelError, ParameterError
from tilejit.kernel.facts import Dependencies, Facts, facts_of, kept
from tilejit.kernel.raster_function import RasterFunction
from tilejit.kernel.reach import check_edge, radius_of
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form.form import Cell, Form
    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.kernel.reach import RadiusRule

INPUT_UNIT = "input"
"""What a kernel declares whose results have the unit of its first raster."""

Edge = Literal["nodata", "nearest", "reflect", "wrap"] | float
"""What lies outside the raster: nodata, the nearest cell, a mirror image, the other side, or a constant."""
Nodata = Literal["propagate", "kernel"]
"""Who deals with invalid cells: tilejit (the result is nodata), or the body (it sees NaN)."""

SEE_NEIGHBOURS = {"focal", "series", "block"}


@dataclass(frozen=True)
class Kernel(RasterFunction):
    """A decorated body. Call it with arrays to get arrays, with Rasters to get a lazy Raster.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.local
        ... def ndvi(red, nir):
        ...     return (nir - red) / (nir + red)
        >>> ndvi(np.float32([[1, 2]]), np.float32([[3, 2]]))
        array([[0.5, 0. ]], dtype=float32)
    """

    function: Callable[..., object]
    """The undecorated body."""
    kind: Literal["local", "focal", "series", "zonal", "block"]
    """Whether it reads neighbours, takes stacks alone, makes a table, or takes arrays."""
    rasters: tuple[RasterParameter, ...]
    """Its positional parameters."""
    scalars: tuple[ScalarParameter, ...]
    """Its keyword-only parameters."""
    declared_radius: tuple[int, int] | None
    """The radius that the decorator gives, or None: it is read from the offsets."""
    declared_outputs: tuple[np.dtype, ...] | None
    """The dtypes of the return annotation, or None."""
    nodata: Nodata
    """Who deals with invalid cells."""
    edge: Edge
    """What lies outside the raster."""
    unit: str | None
    """The unit of its results, which outputs carry; `INPUT_UNIT` for that of its first raster, or None."""
    fast: bool
    """Whether results may differ in the last bits between tile sizes, for speed."""
    radius_rule: RadiusRule | None = None
    """What gives the radius at a call, of the scalars that are given; None where it is known."""
    layers: int = 0
    """How many layers its stacks have, where arrays of the body are as long; 0 before that is known: `for_layers`."""
    by_date: bool = False
    """Whether its result is an array of a value for each layer, and not one value, or a tuple."""
    is_double: bool = False
    """Whether it computes floats in float64, whatever its inputs are."""

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.function, self.kind, self.rasters, self.scalars, self.nodata, self.edge, self.layers))

    def __hash__(self) -> int:
        """Is asked for whenever compiled code is looked up, so that it is worth keeping."""
        return self._hash

    @functools.cached_property
    def source(self) -> FunctionSource:
        """The body's text, in the core of the language; a run whose code is kept does without it."""
        from tilejit.compiler.syntax.rewriting import core_source

        return core_source(self.function)

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """All that it depends on, as it was when it was first used."""
        return Dependencies(self.function)

    def kept(self, what: object, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Returns what ``make`` finds out of it: plain values, which one process finds and others read."""
        key = self.dependencies.key
        given = [getattr(self, f.name) for f in fields(Kernel) if f.name not in {"function", "radius_rule"}]
        contract = *given, self.radius_rule is None
        return kept(self.name, None if key is None else f"{key} {contract}", what, make)

    @functools.cached_property
    def facts(self) -> Facts:
        """What a run must know of it."""
        return Facts(*self.kept("facts", self._found))

    def _found(self) -> Facts:
        from tilejit.compiler.syntax.neighbours import window_parameters

        form, names = self.form, [raster.name for raster in self.rasters]
        contract = self.kind, self.nodata, self.edge, form.radius, self.declared_outputs, self.fast, self.layers
        found = window_parameters(self.source)
        windows = {r.name for r in self.rasters if r.is_stack or (r.star or r.name) in found}
        return facts_of(form, contract, names, windows, self.dependencies.owners)

    @functools.cached_property
    def form(self) -> Form:
        """The body, lowered for tiles that may hold invalid cells."""
        if self.radius_rule is not None and self.declared_radius is None:
            self.source.fail(None, "its radius is decided by parameters that have no default",
                             "give them defaults, or call it: its code is made for the radius of the call")  # fmt: skip
        if self.dependencies.key != Dependencies(self.function).key:
            self.source.fail(None, "a constant or a function that it uses was changed since it was first used",
                             "define the kernel again, or make the constant a keyword-only parameter")  # fmt: skip
        try:
            return self._lowered(all_valid=False)
        except KernelError:
            self.__dict__.pop("dependencies", None)  # its author may define what is missing, and use it again
            raise

    @functools.cached_property
    def clean_form(self) -> Form:
        """The body, lowered for tiles in which every cell is valid."""
        if not self.form.asks_validity:
            return self.form
        # Arrays are padded by what the body may read at all, also where it then never asks.
        clean = replace(self._lowered(all_valid=True), footprint=self.form.footprint, radius=self.form.radius)
        return self.form if clean.texts == self.form.texts else clean

    @functools.cached_property
    def looped_form(self) -> Form | None:
        """The body with its longer loops kept, for rows that go through them together; None of a short one."""
        from tilejit.compiler.emitter.interchange import looped

        return looped(self.form, lambda limit: self._lowered(all_valid=False, limit=limit))

    @functools.cached_property
    def checked_cells(self) -> dict[str, frozenset[Cell]]:
        """For each raster, the cells whose validity is asked for each pixel: NaN of the others finds its own way."""
        if self.nodata != "propagate":
            return {}
        from tilejit.compiler.emitter.passes import carried

        itself = carried(self.form)
        return {
            raster: frozenset(cell for cell in cells if (raster, *cell) not in itself)
            for raster, cells in self.form.footprint.items()
        }

    @property
    def c_functions(self) -> dict[str, int]:
        """The addresses of the C functions that it calls, by their names in the generated module."""
        return {f.name: f.pointer.address for f in self.form.c_functions} if self.facts.calls_c else {}

    @property
    def radius(self) -> tuple[int, int]:
        """How far it reads, in rows and columns."""
        return self.facts.radius

    @functools.cached_property
    def results(self) -> tuple[Kind, ...]:
        """The kinds of its results."""
        return tuple(map(Kind, self.facts.results))

    @property
    def bands(self) -> int:
        """How many bands its results are: of one value for each layer, as many as there are layers."""
        return self.layers if self.by_date else len(self.results)

    def result_shape(self, rows: int, cols: int) -> tuple[int, ...]:
        """Returns the shape of an output of a launch: (row, col), or (layer, row, col)."""
        return (self.layers, rows, cols) if self.by_date else (rows, cols)

    @property
    def fingerprint(self) -> str:
        """A hash of what it computes: its lowered body, with helpers and constants, and its contract."""
        return self.facts.fingerprint

    @functools.cached_property
    def _changing(self) -> Sequence[Changing]:
        """The captured objects that may be changed in place, as they were when it was first used."""
        owners, places = self.dependencies.owners, self.facts.changing
        if any(place < 0 for place, _ in places):
            return self.form.changing
        return [Changing(owners[place], label, frozen(owners[place])) for place, label in places]

    def _lowered(self, *, all_valid: bool, limit: int | None = None) -> Form:
        from tilejit.compiler.lowering.body import lower_body

        form = lower_body(
            self.source, self.rasters, self.scalars, is_focal=self.kind in SEE_NEIGHBOURS, radius=self.declared_radius,
            all_valid=all_valid, c_functions=self.form.c_functions if all_valid else (),
            tables=self.form.tables if all_valid else (), layers=self.layers, by_layer=self.by_date, limit=limit,
        )  # fmt: skip
        declared = self.declared_outputs
        if declared is not None and len(declared) != len(form.body.results):
            self.source.fail(
                self.source.tree.returns,
                f"annotated with {counted(len(declared), 'result')}, returns {len(form.body.results)}",
                "annotate each result: -> tuple[np.uint8, np.float32]",
            )
        if self.kind in SEE_NEIGHBOURS and self.nodata == "propagate":
            # A lone hole stays one, also of a body that skips the centre.
            centred = {r: cells | {(layer, 0, 0) for layer, _, _ in cells} for r, cells in form.footprint.items()}
            form = replace(form, footprint=centred)
        return form

    def signature(self, inputs: Sequence[np.dtype], nodata: Sequence[float | None] | None = None) -> Signature:
        """Returns the dtypes that it is compiled for, given those of its inputs.

        The nodata values are those of its results; None means NaN for floats and the dtype's own for integers.

        Raises:
            KernelError: A list, dict or array that it captures was changed in place since it was first used.
        """
        changed = [one for one in self._changing if frozen(one.owner) != one.then]
        if changed:
            self.source.fail(None, f"{changed[0].label} was changed since {self.name} was first used",
                             "define the kernel again after a change, or pass what changes as a parameter")  # fmt: skip
        return self._signature(tuple(inputs), None if nodata is None else tuple(nodata))

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - kernels live as long as the program, or nearly
    def _signature(self, inputs: tuple[np.dtype, ...], nodata: tuple[float | None, ...] | None) -> Signature:
        compute = self._compute(inputs)
        arrays = tuple(d if r.dtype is None else r.dtype for d, r in zip(inputs, self.rasters, strict=True))
        defaults = {Kind.FLOAT: compute, Kind.INT: integer_dtype(arrays), Kind.BOOL: np.dtype(np.uint8)}
        outputs = self.declared_outputs or tuple(defaults[k] for k in self.results)
        given = nodata or (None,) * len(outputs)
        nan = tuple(d.kind == "f" and (v is None or v != v) for d, v in zip(outputs, given, strict=True))  # noqa: PLR0124
        return Signature(arrays, compute, outputs, nan)

    def _compute(self, inputs: Sequence[np.dtype]) -> np.dtype:
        """What it computes floats in; no coordinate is rounded to float32, nor what is made of one."""
        if self.is_double or any(s.quantity is not None and s.quantity.is_coordinate for s in self.scalars):
            return np.dtype(np.float64)
        return compute_dtype(tuple(r.dtype or d for d, r in zip(inputs, self.rasters, strict=True)))

    def for_layers(self, counts: Sequence[int]) -> Self:
        """Returns the kernel for rasters of so many layers each: another one where arrays of the body are as long.

        Raises:
            ParameterError: Stacks differ in their number of layers.
            KernelError: The body reads a layer that they lack; with the line.
        """
        stacks = {r.name: count for r, count in zip(self.rasters, counts, strict=True) if r.is_stack}
        if len(set(stacks.values())) > 1:
            said = ", ".join(f"{name} has {count}" for name, count in stacks.items())
            raise ParameterError(f"{self.name}: the stacks of a kernel have one number of layers: {said}")
        for count in set(stacks.values()):
            if any(not -count <= number < count for number in self.facts.layers):
                asked = next(a for a in self.form.asked if a.number != ALL and not -count <= a.number < count)
                asked.source.fail(asked.node, f"layer {asked.number} of a stack of {counted(count, 'layer')}",
                                  f"layers are numbered 0 to {count - 1}, and from the end -1 to {-count}")  # fmt: skip
        return self.with_layers(*set(stacks.values())) if stacks and self.facts.is_sized else self

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - as for _signature
    def with_layers(self, count: int) -> Self:
        """Returns this kernel with arrays as long as so many layers."""
        return self if count == self.layers else replace(self, layers=count)

    def with_edge(self, edge: Edge) -> Kernel:
        """Returns this kernel as it would be with another edge in its decorator.

        Args:
            edge: What lies outside the raster; see `tilejit.focal`.

        Raises:
            KernelError: It reads no neighbours, or there is no such edge.
        """
        if self.kind not in SEE_NEIGHBOURS:
            raise KernelError(f"{self.name} reads one pixel and has no edge: leave edge={edge!r} out")
        check_edge(self.name, edge, self.rasters)
        return self if edge == self.edge else self._with_edge(edge)

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - as for _signature; what is compiled of it is found again
    def _with_edge(self, edge: Edge) -> Kernel:
        return replace(self, edge=edge)

    def with_parameters(self, given: Mapping[str, Any]) -> Kernel:
        """Returns this kernel with the radius that its scalar parameters decide, as it is called.

        Args:
            given: The parameters that are given; what is none of the radius's is left to `bind`.

        Raises:
            ParameterError: They decide no radius, or are not known yet.
        """
        rule = self.radius_rule
        return self if rule is None else self.with_radius(radius_of(self.name, rule, self.scalars, given))

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - as for _with_edge
    def with_radius(self, radius: tuple[int, int] | None) -> Kernel:
        """Returns this kernel as it would be with a radius in its decorator that no parameter decides."""
        return replace(self, declared_radius=radius, radius_rule=None)

    def debug(self, *arguments: Any, **parameters: Any) -> Any:
        """Runs the undecorated body on one pixel in plain Python, where print and a debugger work.

        Args:
            *arguments: The arrays, then the row and the column of the pixel.
            **parameters: The keyword-only parameters.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> @tj.focal
            ... def rise(z):
            ...     return z[0, 1] - z[0, -1]
            >>> rise.debug(np.float32([[1, 2, 5]]), 0, 1)
            np.float32(4.0)
        """
        from tilejit.kernel.debugging import pixel_values

        *arrays, row, col = arguments
        if len(arrays) != len(self.rasters) and not self.star:
            raise KernelError(f"{self.name}.debug takes {counted(len(self.rasters), 'array')}, a row and a column")
        if self.taking(len(arrays)) is not self:
            return self.taking(len(arrays)).debug(*arguments, **parameters)
        arrays = [np.asanyarray(a) for a in arrays]
        compute = self._compute([a.dtype for a in arrays])
        facts = self.with_parameters(parameters).facts
        values = pixel_values(self.rasters, arrays, (row, col), compute, facts.radius, facts.windows)
        bound = {n: 1.0 if v is Quantity.Z_FACTOR else v for n, v in self.bind(parameters).items()}
        for name, value in bound.items():
            if value is not None and not isinstance(value, (bool, int, float)):
                raise ParameterError(f"{self.name}.debug needs {name}: give it as {name}=…")
        return self.function(*values, **bound)

    def __repr__(self) -> str:
        return f"<{self.kind} kernel {self.name}{self.usage} from {self.source.where}>"

"""A form as a Python module for the CPU: the loops around a body, over the pixels of rows and strips of rows.

Rules, each measured (docs/performance.md): bodies are inlined by force and compiled with NumPy's error model, arrays
are C-contiguous with loops from 0, literals are typed, and no fast-math flag is on, so that vector code and its scalar
remainder give the same bits.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilejit.compiler.emitter.array_places import arrays_on_stack, sorting_functions
from tilejit.compiler.emitter.beside import PLACE
from tilejit.compiler.emitter.imported import uses
from tilejit.compiler.emitter.interchange import interchanged, is_scalar
from tilejit.compiler.emitter.library import BITS, library_parts
from tilejit.compiler.emitter.module import (
    Target,
    arrays_of,
    float_name,
    function_text,
    module_text,
)
from tilejit.compiler.emitter.pixels import Pixels, arguments_of, saturating_casts
from tilejit.compiler.emitter.spread import spread
from tilejit.compiler.emitter.together import Together, constants_of, lanes_of
from tilejit.compiler.form.form import OWN, Renamer, copied
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.form.tables import module_parts
from tilejit.compiler.jit.machine_code import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.compiler.emitter.module import Body
    from tilejit.compiler.emitter.nest import Nest
    from tilejit.compiler.emitter.together import Lanes
    from tilejit.compiler.form.form import Form
    from tilejit.compiler.form.kinds import Signature

STRIP_PIXELS = 65536
"""Pixels of a strip that is scanned for invalid cells and then computed: 256 kB of float32 stays in a core's L2."""

_FAST = "{'contract', 'reassoc', 'nsz', 'arcp', 'afn'}"
"""fast=True: all but nnan and ninf, which would fold tests for NaN to False."""
TARGET = Target(
    module="njit",
    decorator="@njit(**_INLINE)",
    shifted="{0} + {1}",
    shifted_by="{0} + ({1} + {2})",
    running="{0}",
    counted="{0}",
    array="_array_{0}_{1}()",
    own_math=frozenset(OWN),
    # Numba has no math.fmod, and its math.floor makes an integer of what may not fit one.
    of_numpy=frozenset({"fmod", "floor", "ceil", "rint"}),
    has_select=True,
    helpers={},
    operations=(
        "_cut",
        "_isnan",
        "_maximum",
        "_minimum",
        "_select",
        "_within",
        *BITS[32].values(),
        "_local",
        "_sorting",
        "_sort_by_lanes",
        "_c_function",
    ),
    options={
        "_INLINE": f'{{{{{OPTIONS}, "forceinline": True, "fastmath": {{fast}}}}}}',
        "_MATH": f'{{{{{OPTIONS}, "forceinline": True}}}}',
        "_NATIVE": f'{{{{{OPTIONS}, "fastmath": {{fast}}}}}}',
    },
)

_COUNTED = "_row_{0} = np.int32(_row_{0} + ({1}))"
"""A row's counts in 32 bits: with 64 LLVM takes half as many pixels at once, and a slope twice as long."""
_UNLESS_STOPPED = "if _control[0] == 0:"
"""Asked before each row, of memory that another thread writes: see `tilejit.backends`."""
_FIRST_OUTSIDE = "_all_first = _height - _y if (_all_outside > 0) & (_all_first == 0) else _all_first"
_ROW_DONE = "_control[1] += 1"


def cpu_source(kernel: Body, signature: Signature, *, together: bool = True) -> str:
    """Returns the module's text: ``tile``, from padded inputs to the inner part of outputs, whose rows may be longer.

    Pixels of a row go through layers together where they may.
    """
    checked = any(kernel.checked_cells.values())
    nest = _nest(kernel) if together else None
    form = first_form(kernel) if nest is None else nest.form
    target = TARGET if nest is None or not nest.is_unsigned else replace(TARGET, counted="i64({0})")
    rows = _Rows(target, kernel, signature, form, checked, "_row", nest)
    two = has_two_variants(kernel)
    functions = []
    if two:
        also = replace(rows, form=renamed(kernel), name="_row_checked", checked=False)
        functions += [f"{TARGET.decorator}\n{text}" for text in (rows.row_text(), also.row_text(), _is_clean(kernel))]
    functions.append(rows.entry_text(two=two))
    constants = constants_of(rows) if nest is not None else ()
    return module_of(kernel, signature, functions, "one tile at a time, on the CPU", nest, constants)


def module_of(  # noqa: PLR0917
    kernel: Body, signature: Signature, functions: Sequence[str], shape: str, nest: Nest | None = None,
    constants: Sequence[str] = (),
) -> str:  # fmt: skip
    """Returns the text of a module that holds some functions, and before them the body and what it uses.

    With a nest they call its functions in the place of the body.
    """
    form = nest.form if nest is not None else kernel.form if has_two_variants(kernel) else first_form(kernel)
    bodies = _bodies(kernel, signature, nest)
    used = {name for name in TARGET.own_math if uses("\n".join([*bodies, *functions]), f"_{name}")}
    own, before = library_parts(used, signature.compute, "@njit(**_MATH)")
    arrays, readers = module_parts(form.tables, signature.compute, TARGET.decorator)
    called = [f"{f.name} = _c_function{(f.name, *f.pointer.types)}" for f in form.c_functions]
    constants = [*constants, *own, *arrays, *arrays_on_stack(form, float_name(signature.compute)), *called]
    before += [*readers, *sorting_functions(form, TARGET.decorator)]
    before += [*saturating_casts(TARGET, kernel, signature), *bodies]
    fast = _FAST if kernel.fast else "False"
    return module_text(TARGET, kernel, signature, [*before, *functions], constants, shape=shape, fast=fast)


def launch_lanes(kernel: Body, signature: Signature) -> list[Lanes]:
    """Returns the arrays of one row that a launch takes last, for variables of all its pixels."""
    nest, checked = _nest(kernel), any(kernel.checked_cells.values())
    return [] if nest is None else list(lanes_of(nest, Pixels(TARGET, kernel, signature, nest.form, checked)).values())


def _nest(kernel: Body) -> Nest | None:
    return interchanged(kernel, kernel.looped_form) or interchanged(kernel, first_form(kernel))


def has_two_variants(kernel: Body) -> bool:
    """Whether tiles without invalid cells run other code than tiles with them.

    They do where the body asks for validity of planes; stacks without an invalid cell are rare. Where tilejit checks
    it, one variant that always checks is up to 1.4 times as fast as scanning for a second one, because the cells are
    in registers already (docs/performance.md).
    """
    has_stacks = any(window.is_stack for window in kernel.form.body.windows)
    return kernel.nodata == "kernel" and kernel.clean_form is not kernel.form and not has_stacks


def first_form(kernel: Body) -> Form:
    """Returns the body for cells that are valid; for all where only the body knows, and there is one variant."""
    is_clean = kernel.nodata == "propagate" or has_two_variants(kernel)
    variables = spread(kernel.clean_form if is_clean else kernel.form)
    if variables is not None:
        return variables
    if kernel.looped_form is not None and is_scalar(kernel.form):
        return kernel.looped_form
    return kernel.clean_form if is_clean else kernel.form


def _bodies(kernel: Body, signature: Signature, nest: Nest | None) -> list[str]:
    first = first_form(kernel) if nest is None else nest.form
    forms = [first] + ([renamed(kernel)] if has_two_variants(kernel) else [])
    clean = {f.name for f in forms[0].functions}
    functions = [(form, f) for form in forms for f in form.functions if form is forms[0] or f.name not in clean]
    if nest is not None:
        form = replace(forms[0], functions=(*forms[0].functions[:-1], *nest.helpers, forms[0].body))
        functions = [(form, f) for f in (*form.functions[:-1], *nest.functions)]
    return [function_text(TARGET, signature, form, f) for form, f in functions]


def renamed(kernel: Body) -> Form:
    """The form for all tiles to stand beside the clean one, with ``_checked`` after the names of what differs there."""
    form, clean = kernel.form, {text[0]: text for text in kernel.clean_form.texts}
    names: dict[str, str] = {}
    for function, text in zip(form.functions, form.texts, strict=True):
        used = {n.id for s in function.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        if function is form.body or clean.get(function.name) != text or used & names.keys():
            names[function.name] = f"_{function.name}_checked"
    renamer = Renamer(names)
    bodies = [tuple(renamer.visit(copied(s)) for s in f.body) for f in form.functions]
    pairs = zip(form.functions, bodies, strict=True)
    return replace(form, functions=tuple(replace(f, name=names.get(f.name, f.name), body=body) for f, body in pairs))


@dataclass(frozen=True, slots=True)
class _Rows(Pixels):
    """The loop over rows for tiles with or without invalid cells."""

    name: str
    """The loop's name in the module."""
    nest: Nest | None = None
    """The body with loops over layers outside, where it has such."""

    @property
    def _arguments(self) -> str:
        return ", ".join(arguments_of(self.kernel, self.signature))

    @property
    def _lanes(self) -> str:
        """The arrays for variables of all pixels of a row."""
        lanes = {} if self.nest is None else lanes_of(self.nest, self)
        return "".join(f", {name}" for name in lanes)

    @property
    def _counts(self) -> str:
        """The counts of one row, as a tuple."""
        return "".join(f"_row_{name}, " for name in self._of_rows).rstrip() or "0"

    @property
    def _of_rows(self) -> list[str]:
        """What is counted in each row."""
        return [name for name in self.counters if name != "first"]

    def row_text(self) -> str:
        """A function that goes over the pixels of one row and returns what it counts there."""
        lines = [*self._row(), f"return {self._counts}"]
        return "\n".join([f"def {self.name}({self._arguments}, _y):", *indented(lines)])

    def _row(self) -> list[str]:
        """The loop over the pixels of row ``_y``, and the row's counts."""
        looked_up, values = self.scalars()
        at_pixels = [line for line, axis in looked_up.items() if axis == "col"]
        width = self._width
        is_cut = self.nest is not None and bool(self.nest.arrays)
        pixels = [f"for {PLACE} in range(_last - _first):"] if is_cut else [f"for _x in range({width}):"]
        if is_cut:
            is_unsigned = self.nest is not None and self.nest.is_unsigned
            column = f"_x = u64(_first) + u64({PLACE})" if is_unsigned else f"_x = _first + {PLACE}"
            at_pixels = [column, *at_pixels]

        def for_pixels(lines: list[str]) -> list[str]:
            return [*pixels, *indented([*at_pixels, *lines])]

        before = [line for line, axis in looked_up.items() if axis == "row"]
        if self.nest is None:
            row = for_pixels(self.lines(values, self._cell, _COUNTED.format))
        else:
            row = Together(self, self.nest, values, for_pixels).lines(self._cell, _COUNTED.format)
        if self.nest is not None and is_cut:
            row = [f"for _first in range(0, {width}, {self.nest.lanes}):",
                   *indented([f"_last = _minimum(_first + {self.nest.lanes}, {width})", *row])]  # fmt: skip
        return [*(f"_row_{name} = np.int32(0)" for name in self._of_rows), *before, *row]

    @property
    def _width(self) -> str:
        """The pixels of a row: of the inner part of the inputs, for rows of outputs may be longer."""
        first, margin = self.form.body.windows[0], 2 * self.form.radius[1]
        return f"{first.name}.shape[{2 if first.is_stack else 1}] - {margin}" if margin else self.extent(1)

    def _cell(self, result: int) -> str:
        """A cell of an output; of a layer, as many cells further as layers are apart."""
        column = "u64(_x) + u64(_layer) * u64(_apart)"
        return f"_out{result}[{'_y, _x' if self.form.body.result is None else f'0, _y, {column}'}]"

    def entry_text(self, *, two: bool) -> str:
        """The module's entry: all rows, in strips where there are two variants to choose between."""
        counts = ", _counts" if self.counters else ""
        return "\n".join([
            "@njit(**_NATIVE)",
            f"def tile(_control, {self._arguments}{counts}{self._lanes}):",
            f"    _height = {self.extent(0)}",
            *["    _apart = _out0.strides[0] // _out0.itemsize"] * bool(self.form.body.result),
            *(f"    _all_{name} = 0" for name in self.counters),
            *indented(self._strips() if two else self._all_rows()),
            *(f"    _counts[{k}] += _all_{name}" for k, name in enumerate(self.counters)),
        ])  # fmt: skip

    def _all_rows(self) -> list[str]:
        """The lines that go over all rows.

        The loop over a row stands here and not in a function of its own: as one that LLVM inlines, along with the body,
        it is 3 to 5 % slower. Inside the strips of two variants it is the other way round, by 8 %.
        """
        return ["for _y in range(_height):", *indented(self._unless_stopped(self._row()))]

    def _unless_stopped(self, row: list[str]) -> list[str]:
        """The lines of a row, done and counted where the launch is to go on."""
        first = [_FIRST_OUTSIDE] * ("first" in self.counters)
        return [
            _UNLESS_STOPPED,
            *indented([*row, *(f"_all_{n} += _row_{n}" for n in self._of_rows), *first, _ROW_DONE]),
        ]

    def _strips(self) -> list[str]:
        """The lines that scan one strip after the other and run one variant or the other over its rows."""
        loops = []
        for name in ("_row", "_row_checked"):
            row = f"{self._counts} = " * bool(self.counters) + f"{name}({self._arguments}, _y)"
            loops.append(["for _y in range(_first, _last):", *indented(self._unless_stopped([row]))])
        rows = self.form.radius[0]
        clean = ", ".join([*arrays_of(self.kernel.form.body), "_first", f"_last{f' + {2 * rows}' if rows else ''}"])
        return [
            f"_step = _maximum(1, {STRIP_PIXELS} // _maximum(1, _out0.shape[1]))",
            "for _strip in range((_height + _step - 1) // _step):",
            *indented([
                "_first = _strip * _step",
                "_last = _minimum(_first + _step, _height)",
                f"if _is_clean({clean}):",
                *indented(loops[0]),
                "else:",
                *indented(loops[1]),
            ]),
        ]  # fmt: skip


def indented(lines: list[str]) -> list[str]:
    """Lines of a block."""
    return [f"    {line}" for line in lines]


def _is_clean(kernel: Body) -> str:
    """The scan of some rows of the padded inputs."""
    lines = [f"def _is_clean({', '.join(arrays_of(kernel.form.body))}, _first, _last):"]
    for window in kernel.form.body.windows:
        if not kernel.form.footprint[window.raster]:
            continue
        array = f"_{window.name}_valid" if window.kind is Kind.INT else window.name
        test = "{0} == 0" if window.kind is Kind.INT else "{0} != {0}"
        lines += [
            "    for _y in range(_first, _last):",
            "        _bad = False",
            f"        for _x in range({array}.shape[1]):",
            f"            _bad |= {test.format(f'{array}[_y, _x]')}",
            "        if _bad:",
            "            return False",
        ]
    return "\n".join([*lines, "    return True"])

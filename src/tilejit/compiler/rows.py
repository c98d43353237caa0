"""The loops around a body on the CPU: over the pixels of some rows, and over strips of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.compiler.kinds import Kind
from tilejit.compiler.spelling import device_parameters
from tilejit.compiler.stores import counters_of, settling_lines, store_lines, validity_test

if TYPE_CHECKING:
    from tilejit.compiler.form import Form
    from tilejit.compiler.signature import Signature
    from tilejit.kernel.kernel import Kernel

STRIP_PIXELS = 65536
"""Pixels of a strip that is scanned for invalid cells and then computed: 256 kB of float32 stays in a core's L2."""

_NONE_COUNTED, _COUNTED = "_row_{0} = np.int32(0)", "_row_{0} = np.int32(_row_{0} + ({1}))"
"""A row's counts in 32 bits: with 64 LLVM takes half as many pixels at once, and a slope twice as long."""
_UNLESS_STOPPED = "if _pulse[0] == 0:"
"""Asked before each row, of memory that another thread writes: see `tilejit.backends.pulse`."""
_ROW_DONE = "_pulse[1] += 1"
"""Only of tiles, which have a pulse each: threads that share one would count over each other."""
_NOTHING = {Kind.FLOAT: "_NAN", Kind.BOOL: "False", Kind.INT: "0"}


@dataclass(frozen=True, slots=True)
class Variant:
    """The loop over rows for tiles with or without invalid cells."""

    kernel: Kernel
    """The kernel."""
    signature: Signature
    """The dtypes."""
    form: Form
    """The body in this variant."""
    name: str
    """The loop's name in the module."""
    checked: bool
    """Whether each pixel's cells are checked."""
    whole: bool
    """Whether outputs have the shape of the inputs; otherwise they are smaller by the radius on every side."""

    @property
    def counters(self) -> tuple[str, ...]:
        """What is counted."""
        return counters_of(self.kernel, self.signature)

    @property
    def results(self) -> str:
        """The left side of the call of the body."""
        names = [*(f"_v{k}" for k in range(len(self.kernel.results))), *(f"_{note}" for note in self.form.body.notes)]
        return ", ".join(names) + self.comma

    @property
    def nothing(self) -> str:
        """What a pixel gets for which the body is not called."""
        values = [*(_NOTHING[kind] for kind in self.kernel.results), *("False" for _ in self.form.body.notes)]
        return ", ".join(values) + self.comma

    @property
    def comma(self) -> str:
        """A tuple of one value ends in a comma."""
        is_one = len(self.kernel.results) == 1 and not self.form.body.notes
        return "," if self.form.body.is_tuple and is_one else ""


def arguments_of(kernel: Kernel, signature: Signature) -> list[str]:
    """The parameters of the entry function but for the counts: arrays, outputs, nodata values, scalars."""
    count = range(len(signature.outputs))
    outputs = [*(f"_out{k}" for k in count), *(f"_nodata{k}" for k in count)]
    return [*_arrays(kernel), *outputs, *kernel.form.body.scalars]


def _arrays(kernel: Kernel) -> list[str]:
    parameters = [p for p in device_parameters(kernel.form.body) if p not in {"_y", "_x"}]
    return parameters[: len(parameters) - len(kernel.scalars)]


def row_text(variant: Variant) -> str:
    """A function that goes over the pixels of one row and returns what it counts there."""
    arguments = ", ".join(arguments_of(variant.kernel, variant.signature))
    lines = [*_none_counted(variant), *_row(variant), f"return {_here(variant)}"]
    return "\n".join([f"def {variant.name}({arguments}, _y):", *_indented(lines)])


def _none_counted(variant: Variant) -> list[str]:
    return [_NONE_COUNTED.format(name) for name in variant.counters]


def _here(variant: Variant) -> str:
    """The counts of one row, as a tuple."""
    return "".join(f"_row_{name}, " for name in variant.counters).rstrip() or "0"


def _row(variant: Variant) -> list[str]:
    """The loop over the pixels of row ``_y``, which adds to the row's counts."""
    shrink = 2 * variant.form.radius[1] if variant.whole else 0
    at_row, at_pixels, values = _scalars(variant)
    loop = f"for _x in range(_out0.shape[1]{f' - {shrink}' if shrink else ''}):"
    return [*at_row, loop, *_indented([*at_pixels, *_pixel(variant, values)])]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _border_columns(variant: Variant) -> list[str]:
    """The lines that put nodata at both ends of the rows.

    In a loop of their own they cost nothing; at the end of each row's loop, 4 % of a slope.
    """
    rows, cols = variant.form.radius
    if not (variant.whole and cols):
        return []
    stores = [
        f"            _out{k}[{_moved('_y', rows)}, {col}] = _nodata{k}"
        for k in range(len(variant.kernel.results))
        for col in ("_x", "_out0.shape[1] - 1 - _x")
    ]
    return ["    for _y in range(_height):", f"        for _x in range({cols}):", *stores]


def _scalars(variant: Variant) -> tuple[list[str], list[str], list[str]]:
    """The lines that look scalars up in each row and at each pixel, and what the body is called with."""
    at_rows: list[str] = []
    at_pixels: list[str] = []
    values = []
    for scalar, name in zip(variant.kernel.scalars, variant.form.body.scalars, strict=True):
        axis = scalar.quantity.axis if scalar.quantity else "grid"
        index = {"row": "_y", "col": "_x"}.get(axis)
        if scalar.quantity is None or index is None:
            values.append(name)
            continue
        held = f"_{name}_here"
        lines = at_rows if axis == "row" else at_pixels
        sign = variant.signature.sign(scalar.quantity)
        lines.append(f"{held} = {name} {sign} {index}" if scalar.quantity.is_index else f"{held} = {name}[{index}]")
        values.append(held)
    return at_rows, at_pixels, values


def _pixel(variant: Variant, scalars: list[str]) -> list[str]:
    form, kernel = variant.form, variant.kernel
    call = f"{form.body.name}({', '.join([*_arrays(kernel), '_y', '_x', *scalars])})"
    lines: list[str] = []
    if variant.checked:
        lines.append("_ok = True")
        for window in form.body.windows:
            lines += validity_test(kernel, window, lambda a, dy, dx: f"{a}[{_index(form, dy, dx)}]")
    if variant.checked and form.takes_valid_cells_only:
        lines += ["if _ok:", f"    {variant.results} = {call}", "else:", f"    {variant.results} = {variant.nothing}"]
    else:
        lines.append(f"{variant.results} = {call}")
    row, col = (_moved(i, r) for i, r in zip(("_y", "_x"), form.radius if variant.whole else (0, 0), strict=True))
    settling, settled = settling_lines(kernel, form, checked=variant.checked, count=_COUNTED.format)
    stores = store_lines(kernel, variant.signature, lambda k: f"_out{k}[{row}, {col}]",
                         checked=settled, count=_COUNTED.format)  # fmt: skip
    return [*lines, *settling, *stores]


def _index(form: Form, dy: int, dx: int) -> str:
    return f"{_moved('_y', dy + form.radius[0])}, {_moved('_x', dx + form.radius[1])}"


def _moved(index: str, step: int) -> str:
    return f"{index} + {step}" if step else index


def is_clean_text(kernel: Kernel) -> str:
    """The scan of some rows of the padded inputs."""
    lines = [f"def _is_clean({', '.join(_arrays(kernel))}, _first, _last):"]
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


def entry_text(variant: Variant, *, two: bool) -> str:
    """The module's entry: all rows, in strips where there are two variants to choose between."""
    kernel, whole = variant.kernel, variant.whole
    rows = kernel.radius[0]
    arguments = ", ".join(arguments_of(kernel, variant.signature))
    return "\n".join([
        "@njit(**_NATIVE)",
        f"def {'whole' if whole else 'tile'}(_pulse, {arguments}{', _counts' if variant.counters else ''}):",
        f"    _height = _out0.shape[0]{f' - {2 * rows}' if whole and rows else ''}",
        *(f"    _all_{name} = 0" for name in variant.counters),
        *_indented(_strips(variant, arguments) if two else _all_rows(variant)),
        *_border_columns(variant),
        *(f"    _counts[{k}] += _all_{name}" for k, name in enumerate(variant.counters)),
    ])  # fmt: skip


def _all_rows(variant: Variant) -> list[str]:
    """The lines that go over all rows.

    The loop over a row stands here and not in a function of its own: as one that LLVM inlines, along with the body, it
    is 3 to 5 % slower. Inside the strips of two variants it is the other way round, by 8 %.
    """
    row = [*_none_counted(variant), *_row(variant), *(f"_all_{name} += _row_{name}" for name in variant.counters)]
    return ["for _y in range(_height):", *_indented(_unless_stopped(variant, row))]


def _unless_stopped(variant: Variant, row: list[str]) -> list[str]:
    """The lines of a row, done and counted where the launch is to go on."""
    return [_UNLESS_STOPPED, *_indented(row if variant.whole else [*row, _ROW_DONE])]


def _strips(variant: Variant, arguments: str) -> list[str]:
    """The lines that scan one strip after the other and run one variant or the other over its rows."""
    kernel, rows = variant.kernel, []
    for name in ("_row", "_row_checked"):
        line = f"{name}({arguments}, _y)"
        counted = f"{_here(variant)} = {line}" if variant.counters else line
        row = _unless_stopped(variant, [counted, *(f"_all_{n} += _row_{n}" for n in variant.counters)])
        rows.append(["        for _y in range(_first, _last):", *(f"            {part}" for part in row)])
    reach = f" + {2 * kernel.radius[0]}" if kernel.radius[0] else ""
    return [
        f"_step = max(1, {STRIP_PIXELS} // max(1, _out0.shape[1]))",
        "for _strip in range((_height + _step - 1) // _step):",
        "    _first = _strip * _step",
        "    _last = min(_first + _step, _height)",
        f"    if _is_clean({', '.join(_arrays(kernel))}, _first, _last{reach}):",
        *rows[0],
        "    else:",
        *rows[1],
    ]

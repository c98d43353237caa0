"""A form as a function that goes over a tile in place, to and fro, until no cell of it changes any more.

Each cell is computed of what its neighbours are now, so that a value runs through the tile in one scan where its way
leads with the scan. That comes to the same end as whole sweeps where cells only rise, or only fall (see
`tilejit.iterate`); the function tells where they do both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.compiler.emitter.cpu import TARGET, first_form, has_two_variants, indented, module_of, renamed
from tilejit.compiler.emitter.pixels import Pixels, arguments_of
from tilejit.compiler.form.kinds import Kind

if TYPE_CHECKING:
    from tilejit.compiler.emitter.module import Body
    from tilejit.compiler.form.kinds import Signature

SETTLED, LIMIT, BOTH_WAYS = 0, 1, 2
"""What the function returns: no cell changes; some still do; some have risen, and some have fallen."""


def settling_source(kernel: Body, signature: Signature) -> str:
    """Returns the module's text.

    It holds ``settle``, whose arguments are those of ``tile``, and then: when each row was last gone over, and when it
    last changed, both 0, and the most scans. The first array is changed in place; of the output only the shape matters.
    A row is left out where none within the radius has changed since it was gone over.
    """
    two = has_two_variants(kernel)
    form, checked = (renamed(kernel), False) if two else (first_form(kernel), any(kernel.checked_cells.values()))
    scans = _Scans(TARGET, kernel, signature, form, checked)
    return module_of(kernel, signature, [scans.entry_text()], "a tile until it is settled, on the CPU")


@dataclass(frozen=True, slots=True)
class _Scans(Pixels):
    """The loops over a tile."""

    def entry_text(self) -> str:
        """The module's entry."""
        arguments = ", ".join([*arguments_of(self.kernel, self.signature), *["_counts"] * bool(self.counters)])
        looked_up, values, reach = *self.scalars(), self.form.radius[0]
        at_rows, at_pixels = ([line for line, where in looked_up.items() if where == axis] for axis in ("row", "col"))
        pixel = [*at_pixels, *self.lines(values, "_new{}".format, lambda *_: "pass"), *self._taken_in()]
        return "\n".join([
            "@njit(**_NATIVE)",
            f"def settle(_control, {arguments}, _seen, _moved, _limit):",
            "    _height, _width = _out0.shape",
            "    _rose = _fell = False",
            "    _time = 0",
            "    for _scan in range(_limit):",
            "        _changed = False",
            "        for _j in range(_height):",
            "            _y = _j if _scan % 2 == 0 else _height - 1 - _j",
            "            _due = _scan == 0",
            f"            for _k in range(_maximum(0, _y - {reach}), _minimum(_height, _y + {reach + 1})):",
            "                _due |= _moved[_k] > _seen[_y]",
            "            if _due & (_control[0] == 0):",
            "                _time += 1",
            "                _seen[_y] = _time",
            *(f"                {line}" for line in at_rows),
            "                for _i in range(_width):",
            "                    _x = _i if _scan % 2 == 0 else _width - 1 - _i",
            *(f"                    {line}" for line in pixel),
            "                if _moved[_y] > _seen[_y]:",
            "                    _time += 1",
            "                    _changed = True",
            "        if not _changed:",
            f"            return {SETTLED}",
            "        if _rose & _fell:",
            f"            return {BOTH_WAYS}",
            f"    return {LIMIT}",
        ])  # fmt: skip

    def _taken_in(self) -> list[str]:
        """The lines that put the new cell in the place of the old one, where they differ."""
        state, array = self.form.body.windows[0], self.form.body.windows[0].name
        cell, dtype, nan = f"{array}[{self._index(0, 0)}]", self.signature.inputs[0], self.signature.nan_nodata[0]
        valid = "_new0 == _new0" if nan else "_new0 != _nodata0"
        if state.kind is Kind.INT:
            flag = f"_{array}_valid[{self._index(0, 0)}]"
            was_valid, put = f"{flag} != 0", [f"{flag} = np.uint8(1) if _now else np.uint8(0)"]
        else:
            was_valid, put = "_old == _old", []
        value = f"np.{dtype}(_new0)"
        if not (nan or state.kind is Kind.INT):
            value += f" if _now else np.{dtype}(np.nan)"
        return [
            f"_old, _now = {cell}, {valid}",
            f"_was, _next = {was_valid}, {value}",
            "if (_was != _now) | (_was & (_next != _old)):",
            *indented([
                "_moved[_y] = _time + 1",
                "_rose |= _was & _now & (_next > _old)",
                "_fell |= _was & _now & (_next < _old)",
                f"{cell} = _next",
                *put,
            ]),
        ]  # fmt: skip

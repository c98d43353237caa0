"""The parts of a generated module that local arrays need: their places, and what sorts them."""

from __future__ import annotations

import ast
import functools
import inspect
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import call, is_call
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.jit.sorting import SHORT, by_gaps, pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tilejit.compiler.form.form import Form, LocalArray

_NUMBA = {"f32": "float32", "f64": "float64", "i64": "int64", "_u8": "uint8"}


def element_name(kind: Kind, float_name: str) -> str:
    """The dtype of an array's elements, by its name in a module; truth values lie as bytes."""
    return {Kind.FLOAT: float_name, Kind.INT: "i64", Kind.BOOL: "_u8"}[kind]


def sort_name(element: str, size: int) -> str:
    """What sorts an array."""
    return f"_sort_{element}_{size}" if size <= SHORT else "_sort_by_gaps"


def place_text(kind: Kind, size: int, float_name: str, spelling: str) -> str:
    """What gives an array its place, in a target's spelling."""
    element = element_name(kind, float_name)
    return spelling.format(element, size, f"np.{_NUMBA[element]}")


def local_array(name: str, arguments: list[ast.expr], arrays: Mapping[str, LocalArray], float_name: str,
                spelling: str) -> ast.expr:  # fmt: skip
    """Spells ``_array`` and ``_sort``, calls of a function that has ``arrays``."""
    first, size = arguments
    if name == "_array":
        kind, count = (a.value for a in arguments)  # type: ignore[attr-defined]
        spelled: ast.expr = ast.parse(place_text(Kind[kind], count, float_name, spelling), mode="eval").body
        return spelled
    array = arrays[first.id]  # type: ignore[attr-defined]
    return call(sort_name(element_name(array.kind, float_name), array.size), first, call("i64", size))


def arrays_on_stack(form: Form, float_name: str) -> list[str]:
    """The statements that make, on the CPU, the functions which give arrays their places and sort the short ones."""
    made = {(element_name(a.kind, float_name), a.size) for f in form.functions for a in f.arrays}
    if not made:
        return []
    short = _sorted(form, float_name, short=True)
    lines = [f'_array_{element}_{size} = _local("{_NUMBA[element]}", {size})' for element, size in sorted(made)]
    lines += [f'{sort_name(*one)} = _sorting("{_NUMBA[one[0]]}", {one[1]}, {tuple(pairs(one[1]))})' for one in short]
    return lines


def sorting_functions(form: Form, decorator: str) -> list[str]:
    """The function that sorts long arrays, where there are such."""
    text = f"{decorator}\n{_text(by_gaps)}".replace("by_gaps", "_sort_by_gaps")
    return [text] * bool(_sorted(form, "f64", short=False))


def networks(form: Form, float_name: str, decorator: str) -> list[str]:
    """The functions that sort short arrays, written out for a GPU."""
    return [f"{decorator}\n{_network(*one)}" for one in _sorted(form, float_name, short=True)]


def _sorted(form: Form, float_name: str, *, short: bool) -> list[tuple[str, int]]:
    """The arrays that are sorted, by the dtype and number of their elements."""
    found = {(element_name(a.kind, float_name), a.size) for a in _sorted_arrays(form) if (a.size <= SHORT) is short}
    return sorted(found)


def _sorted_arrays(form: Form) -> Iterator[LocalArray]:
    for function in form.functions:
        arrays = {a.name: a for a in function.arrays}
        for node in (n for s in function.body for n in ast.walk(s)):
            if is_call(node, "_sort"):
                yield arrays[node.args[0].id]  # type: ignore[attr-defined]


@functools.cache
def _text(function: Callable[..., object]) -> str:
    """A function as text, without its description and what its types are."""
    tree = ast.parse(inspect.getsource(function)).body[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    del tree.body[0]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _network(element: str, size: int) -> str:
    """The text of a function that sorts by a network; NaN comes last."""
    is_float = element != "i64"
    largest, cells = ("_INF" if is_float else "2**63 - 1"), [f"a[u64({k})]" for k in range(size)]
    known = "(n > {0}) & (k{0} == k{0})" if is_float else "n > {0}"
    lines = [f"k{k} = {cell}" for k, cell in enumerate(cells)]
    lines += [f"b{k} = {known.format(k)}" for k in range(size)]
    lines += [f"m = {' + '.join(f'i64(b{k})' for k in range(size))}"]
    key = "k{0} + _ZERO" if is_float else "k{0}"  # -0.0 becomes 0.0
    lines += [f"s{k} = {key.format(k)} if b{k} else {largest}" for k in range(size)]
    names = [f"s{k}" for k in range(size)]  # each is assigned once, which spares Numba half of its time
    for step, (i, j) in enumerate(pairs(size)):
        lines += [f"{word}_{step} = {word}({names[i]}, {names[j]})" for word in ("min", "max")]
        names[i], names[j] = f"min_{step}", f"max_{step}"
    for k, cell in enumerate(cells):
        value = f"({names[k]} if m > {k} else _NAN)" if is_float else names[k]
        lines.append(f"{cell} = {value} if n > {k} else k{k}")
    return "\n".join([f"def {sort_name(element, size)}(a, n):", *(f"    {line}" for line in lines)])

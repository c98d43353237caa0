"""A form as a Python module for Numba on the CPU.

Rules, each measured (docs/performance.md): bodies are inlined by force and compiled with NumPy's error model, arrays
are C-contiguous with loops from 0, literals are typed, and no fast-math flag is on, so that vector code and its scalar
remainder give the same bits.
"""

from __future__ import annotations

import ast
import copy
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.functions import OWN
from tilejit.compiler.jit.object_code import OPTIONS
from tilejit.compiler.kinds import Kind
from tilejit.compiler.rows import Variant, arguments_of, entry_text, is_clean_text, row_text
from tilejit.compiler.spelling import Spelling, device_parameters, function_text, library_parts, math_used
from tilejit.compiler.stores import most_below, saturating_casts, unparse

if TYPE_CHECKING:
    from tilejit.compiler.form import Form
    from tilejit.compiler.signature import Signature
    from tilejit.kernel.kernel import Kernel

__all__ = ["arguments_of", "cpu_source", "has_two_variants"]

_FAST = "{'contract', 'reassoc', 'nsz', 'arcp', 'afn'}"
"""fast=True: all but nnan and ninf, which would fold tests for NaN to False."""

_DOC = '''"""{name}: {signature}, {shape}, on the CPU.

Written by tilejit from the body of {name} in {file}. Change that and not this: another body makes another file.
"""'''
_HELPERS = {
    "_cut": "(value):\n    held = _select(value > _LEAST, value, _LEAST)\n"
    "    held = _select(_isnan(value), _ZERO, _select(held < _MOST, held, _MOST))\n"
    "    return _select(value > _MOST, i64(2**63 - 1), i64(held))",
    "_minimum": "(a, b):\n    return b if b < a else a",
    "_maximum": "(a, b):\n    return b if b > a else a",
    "_select": "(test, a, b):\n    return a if test else b",
    "_isnan": "(a):\n    return a != a",
}
_NAMES = {
    "f32": "np.float32",
    "f64": "np.float64",
    "i64": "np.int64",
    "u64": "np.uint64",
    "_NAN": "{float}(np.nan)",
    "_INF": "{float}(np.inf)",
    "_LEAST": "{float}(-(2.0**63))",
    "_MOST": "{float}({most})",
    "_ZERO": "{float}(0.0)",
    "_INLINE": '{{"error_model": "numpy", "forceinline": True, "fastmath": {fast}}}',
    "_BODY": '{{"error_model": "numpy", "inline": "always", "fastmath": {fast}}}',
    "_MATH": '{{"error_model": "numpy", "forceinline": True}}',
    "_NATIVE": f'{{{{{OPTIONS}, "fastmath": {{fast}}}}}}',
}
_DECORATOR = "@njit(**_INLINE)"
_BODY_DECORATOR = "@njit(**_BODY)"
_MOST_CALLS, _MOST_ARGUMENTS = 30, 30
"""Where Numba inlines a body and its functions, loops are 6 to 8 % faster than where LLVM does. But each call takes it
time (a 5x5 median, a network of calls, 76 s instead of 3), and it does not inline calls of more than 30 arguments."""


def cpu_source(kernel: Kernel, signature: Signature, *, whole: bool) -> str:
    """Returns the module's text.

    Args:
        kernel: The kernel.
        signature: The dtypes.
        whole: False for ``tile``: from padded inputs to an output of the inner shape. True for ``whole``: inputs and
            outputs of one shape, of which the inner part is written.
    """
    width = 64 if signature.compute == np.float64 else 32
    spelling = Spelling(f"f{width}", _shifted, _math_name, "_select")
    constants, library = library_parts(math_used(kernel.form) & set(OWN), width, "@njit(**_MATH)")
    functions = [*library, *_saturation(kernel, signature), *_bodies(kernel, spelling)]
    two = has_two_variants(kernel)
    clean = Variant(kernel, signature, kernel.clean_form, "_row", checked=kernel.is_checked, whole=whole)
    if two:
        also = replace(clean, form=_renamed(kernel.form), name="_row_checked", checked=False)
        functions += [f"{_DECORATOR}\n{text}" for text in (row_text(clean), row_text(also), is_clean_text(kernel))]
    functions.append(entry_text(clean, two=two))
    return _module(kernel, signature, constants, functions, whole=whole)


def has_two_variants(kernel: Kernel) -> bool:
    """Whether tiles without invalid cells run other code than tiles with them.

    They do where the body asks for validity. Where tilejit checks it, one variant that always checks is up to 1.4 times
    as fast as scanning for a second one, because the cells are in registers already (docs/performance.md).
    """
    return kernel.nodata == "kernel" and kernel.form.asks_validity


def _module(kernel: Kernel, signature: Signature, constants: list[str], functions: list[str], *, whole: bool) -> str:
    """Puts in front of the functions what they use, and two empty lines between all."""
    text = "\n".join(functions)
    helpers: list[str] = []
    for name, body in _HELPERS.items():  # the first uses others
        if _uses("\n".join([text, *helpers]), name):
            helpers.append(f"{_DECORATOR}\ndef {name}{body}")
    text += "\n".join([*helpers, *constants])
    fill = {
        "float": f"f{8 * signature.compute.itemsize}",
        "most": most_below(2.0**63, signature.compute),
        "fast": _FAST if kernel.fast else False,
    }
    names = [f"{n} = {value.format(**fill)}" for n, value in _NAMES.items()
             if _uses(text, n) and f"{n} = " not in "\n".join(constants)]  # fmt: skip
    imports = ["import math\n"] if _uses(text, "math") else []
    imports += ["import numpy as np", "from numba import njit"]
    doc = _DOC.format(name=kernel.name, signature=signature, file=kernel.source.file,
                      shape="rows of whole arrays" if whole else "one tile at a time")  # fmt: skip
    head = "\n".join([doc, "", *imports, "", *names])
    for called in kernel.form.c_functions:
        takes = ", ".join(map(str, called.pointer.arguments))
        head += f"\n# {called.name}({takes}) -> {called.pointer.result} is a C function, which this module is given."
    if constants:
        head += "\n\n" + "\n".join(constants)
    return "\n\n\n".join([head, *(part.strip("\n") for part in (*helpers, *functions))]) + "\n"


def _uses(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){name}\b", text) is not None


def _saturation(kernel: Kernel, signature: Signature) -> list[str]:
    text = saturating_casts(signature, _DECORATOR)
    return [text] if text and Kind.FLOAT in kernel.results else []


def _bodies(kernel: Kernel, spelling: Spelling) -> list[str]:
    forms = [kernel.clean_form] + ([_renamed(kernel.form)] if has_two_variants(kernel) else [])
    texts = [function_text(spelling, form, f, _DECORATOR) for form in forms for f in form.functions]
    if not _is_small(kernel, "\n".join(texts)):
        return texts
    return [text.replace(_DECORATOR, _BODY_DECORATOR, 1) for text in texts]


def _is_small(kernel: Kernel, text: str) -> bool:
    """Whether Numba inlines the body and its functions, and not LLVM."""
    functions = kernel.form.functions
    names = "|".join([*_HELPERS, *(f.name for f in functions)])
    calls = len(re.findall(rf"(?<![\w.])(?<!def )({names})\(", text))
    return calls <= _MOST_CALLS and max(len(device_parameters(f)) for f in functions) <= _MOST_ARGUMENTS


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def _renamed(form: Form) -> Form:
    """The same form with ``_checked`` after every function's name, to stand beside the clean one."""
    names = {f.name: f"_{f.name}_checked" for f in form.functions}
    rename = _Rename(names)
    functions = tuple(
        replace(f, name=names[f.name], body=tuple(rename.visit(copy.deepcopy(s)) for s in f.body))
        for f in form.functions
    )
    return replace(form, functions=functions)


def _math_name(name: str) -> str:
    if name in OWN:
        return f"_{name}"
    # Numba has no math.fmod, and its math.floor makes an integer of what may not fit one.
    return f"np.{name}" if name in {"fmod", "floor", "ceil", "rint"} else f"math.{name}"


def _shifted(index: str, offset: ast.expr, radius: int) -> ast.expr:
    """Padded arrays start a radius before the pixel, so offsets are never negative."""
    if isinstance(offset, ast.Constant):
        moved = int(offset.value) + radius  # type: ignore[arg-type]
        return ast.parse(f"{index} + {moved}" if moved else index, mode="eval").body
    return ast.parse(f"{index} + ({unparse(offset)} + {radius})", mode="eval").body

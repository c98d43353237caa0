"""The functions that a body may call, and what they return."""

from __future__ import annotations

from tilejit.compiler.kinds import Kind

TO_FLOAT = {
    1: ("sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp",
        "expm1", "log", "log2", "log10", "log1p", "degrees", "radians", "fabs", "erf", "erfc", "gamma", "lgamma"),
    2: ("atan2", "hypot", "pow", "fmod", "copysign"),
}  # fmt: skip
TO_INT = {1: ("floor", "ceil", "trunc")}
TO_BOOL = {1: ("isnan", "isinf", "isfinite")}

MATH: dict[str, tuple[int, Kind]] = {
    name: (count, kind)
    for table, kind in ((TO_FLOAT, Kind.FLOAT), (TO_INT, Kind.INT), (TO_BOOL, Kind.BOOL))
    for count, names in table.items()
    for name in names
}
"""Function of ``math`` -> number of arguments, kind of the result."""

OWN = ("atan", "atan2", "sin", "cos", "exp", "log", "degrees", "radians", "hypot", "pow")
"""Those that tj.math has branch-free forms of, used on the CPU."""

NAN_PASSES = {*OWN, "sqrt", "tan", "asin", "acos", "sinh", "cosh", "tanh", "expm1", "log2", "log10", "log1p",
              "fabs"} - {"pow"}  # fmt: skip
"""Those that return NaN whenever an argument is NaN; the zeroth power of NaN is 1."""

MULTIPLIED_OUT = 64
"""``x ** n`` with a literal n up to this is multiplications, by squares; beyond, and for other powers, it is pow."""

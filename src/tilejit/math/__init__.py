"""Scalar math with the same bits in plain Python and in compiled CPU kernels.

`tj.math.atan(x)` and its nine companions take scalars and compute in the precision of their arguments:
`np.float32` (or `np.float16`) gives an `np.float32`, everything else an `np.float64`. As in NumPy, a Python
number beside a NumPy scalar takes on that scalar's precision. Inside a kernel the compiler replaces these
names by the text of `float32` or `float64`, which vectorises: Numba's wheels bring no vector math library,
and a call to libm's scalar functions keeps a whole loop out of SIMD.

Errors are in ulps of the exact result, float32 first; `tests/compiler/test_math.py` holds the functions to them.
NaN in gives NaN out. Arguments outside a function's range give what C99 says, and in plain Python may raise
NumPy's floating-point warnings, which `np.errstate` silences.
"""

import numpy as np

from tilejit.math import float32, float64

__all__ = ["atan", "atan2", "cos", "degrees", "exp", "hypot", "log", "pow", "radians", "sin"]

Real = float | np.floating | np.integer
Float = np.float32 | np.float64


def __dir__() -> list[str]:
    return sorted(__all__)


def _computed(name: str, *values: Real) -> Float:
    """Calls the function of float32 where NumPy would compute with these values in float32 or less, else of float64."""
    dtype = np.result_type(*values)
    is_narrow = dtype.kind == "f" and dtype.itemsize <= 4
    library, cast = (float32, np.float32) if is_narrow else (float64, np.float64)
    result: Float = getattr(library, name)(*map(cast, values))
    return result


def atan(x: Real) -> Float:
    """Return the arctangent in radians, between -pi/2 and pi/2.

    One of three reductions around 0, 1 and infinity with a single division, then FreeBSD msun's odd
    polynomial (s_atanf.c, s_atan.c).
    Max error 1.9 ulp in float32, 1.9 in float64.

    Args:
        x: Any number; an infinity gives pi/2 with its sign.

    Example:
        >>> atan(1.0)
        np.float64(0.7853981633974483)
    """
    return _computed("atan", x)


def atan2(y: Real, x: Real) -> Float:
    """Return the angle of the point (x, y) in radians, between -pi and pi, anticlockwise from the positive x axis.

    The reductions and the polynomial of `atan` applied to |y| / |x|, then the quadrant. Signed zeros and
    infinities as in C99.
    Max error 2.0 ulp in float32, 2.0 in float64.

    Args:
        y: Ordinate; its sign is the sign of the result.
        x: Abscissa.

    Example:
        >>> atan2(np.float32(1), np.float32(-1))
        np.float32(2.3561945)
    """
    return _computed("atan2", y, x)


def cos(x: Real) -> Float:
    """Return the cosine of an angle in radians.

    Cody-Waite reduction by multiples of pi/2 (msun's e_rem_pio2f.c, e_rem_pio2.c), then the polynomials
    of Cephes (sinf.c) in float32 and of msun (k_sin.c, k_cos.c) in float64. Beyond 4e8 (1.6e6) the absolute
    error grows to |x| * 2**-53, which in float64 is that of x itself.
    Max error 1.6 ulp in float32, 1.1 in float64 up to 4e8 (1.6e6).

    Args:
        x: Angle; NaN beyond 2**51 and for infinities.

    Example:
        >>> cos(0.0)
        np.float64(1.0)
    """
    return _computed("cos", x)


def degrees(x: Real) -> Float:
    """Convert radians to degrees.

    One product with 180 / pi.
    Max error 0.7 ulp in float32, 0.9 in float64.

    Args:
        x: Angle in radians.

    Example:
        >>> degrees(np.float32(1))
        np.float32(57.29578)
    """
    return _computed("degrees", x)


def exp(x: Real) -> Float:
    """Return e to the power of x.

    Cody-Waite reduction by multiples of ln 2, then Cephes's polynomial (expf.c) in float32 and msun's
    rational form (e_exp.c) in float64. Denormal results are kept.
    Max error 1.0 ulp in float32, 0.9 in float64.

    Args:
        x: Exponent; inf above 88.72 (709.78), 0 below -103.97 (-745.13).

    Example:
        >>> exp(np.float32(1))
        np.float32(2.7182817)
    """
    return _computed("exp", x)


def hypot(x: Real, y: Real) -> Float:
    """Return the length of the vector (x, y).

    sqrt(x*x + y*y) as it stands, for speed: inf where a square overflows, from about 1.8e19 (1.3e154), and
    inaccurate where the squares are denormal, below about 1e-18 (1e-153). Unlike C99, NaN beside an
    infinity gives NaN.
    Max error 1.2 ulp in float32, 1.2 in float64 for lengths above 1e-18 (1e-153).

    Args:
        x: One component.
        y: The other.

    Example:
        >>> hypot(3.0, 4.0)
        np.float64(5.0)
    """
    return _computed("hypot", x, y)


def log(x: Real) -> Float:
    """Return the natural logarithm.

    FreeBSD msun's series in (m - 1) / (m + 1) for the mantissa m, plus the exponent times ln 2
    (e_logf.c, e_log.c).
    Max error 0.9 ulp in float32, 0.9 in float64.

    Args:
        x: Positive number; 0 gives -inf, a negative one NaN.

    Example:
        >>> log(np.float32(10))
        np.float32(2.3025851)
    """
    return _computed("log", x)


def pow(x: Real, y: Real) -> Float:  # noqa: A001
    """Return x to the power of y.

    exp(y * log(x)), in float64 for float32, and with a logarithm of some 65 bits for float64. Signed zeros, infinities
    and NaN as in C99: the zeroth power of anything is 1, and so is every power of 1.
    Max error 0.6 ulp in float32, 0.9 in float64.

    Args:
        x: Base; a negative one has powers that are whole.
        y: Exponent.

    Example:
        >>> pow(2.0, -3.0)
        np.float64(0.125)
    """
    return _computed("pow", x, y)


def radians(x: Real) -> Float:
    """Convert degrees to radians.

    One product with pi / 180.
    Max error 0.7 ulp in float32, 0.7 in float64 where the result is a normal number.

    Args:
        x: Angle in degrees.

    Example:
        >>> radians(180.0)
        np.float64(3.141592653589793)
    """
    return _computed("radians", x)


def sin(x: Real) -> Float:
    """Return the sine of an angle in radians.

    Cody-Waite reduction by multiples of pi/2 (msun's e_rem_pio2f.c, e_rem_pio2.c), then the polynomials
    of Cephes (sinf.c) in float32 and of msun (k_sin.c, k_cos.c) in float64. Beyond 4e8 (1.6e6) the absolute
    error grows to |x| * 2**-53, which in float64 is that of x itself.
    Max error 1.6 ulp in float32, 1.1 in float64 up to 4e8 (1.6e6).

    Args:
        x: Angle; NaN beyond 2**51 and for infinities.

    Example:
        >>> sin(np.float32(0.5))
        np.float32(0.47942555)
    """
    return _computed("sin", x)

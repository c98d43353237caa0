"""Branch-free float32 math that LLVM vectorises without a vector math library.

Every function is a straight line of float32 and int32 operations: no `if`, no loop, no table, no call to
libm, so a loop over pixels becomes packed SIMD code, and plain Python on `np.float32` scalars gives the same
bits as compiled code.

Rules that keep it so (the code generator pastes this text into modules, which Numba compiles for GPUs):
every constant is a typed module-level name, because Numba types `2 * x` as float64; integers go back through
`np.int32`, because Numba widens their sums to int64; no fast-math, which would undo the roundings; a NaN made
here is always the one constant `NAN`, because LLVM does not define the sign and payload of a computed NaN.

Sources: `atan` and `log` take their coefficients from FreeBSD msun (s_atanf.c, e_logf.c), `exp`, `sin` and
`cos` from Cephes (expf.c, sinf.c); the pi/2 reduction is msun's (e_rem_pio2f.c) and works in float64, which
still fills half a vector. All were reordered to select between values instead of branching.
The one-line docstrings give the largest error, over all float32 inputs for atan, sin, cos, exp and log
(`tests/compiler/test_math.py` has samples), over millions of samples for the others.
"""

# ruff: noqa: PLR0124 - `x == x` is the NaN test that Python and Numba share
# ruff: noqa: FURB136 - `max` and `min` do not pass NaN on in the same way in Python and in Numba

import numpy as np

ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
TWO = np.float32(2.0)
INF = np.float32(np.inf)
NEG_INF = np.float32(-np.inf)
NAN = np.float32(np.nan)

NO_BITS = np.int32(0)
SIGN_BIT = np.int32(-0x80000000)
MAGNITUDE_BITS = np.int32(0x7FFFFFFF)
EXPONENT_BIAS = np.int32(127)
MANTISSA_WIDTH = np.int32(23)

# atan: one of three reductions leaves the polynomial an argument up to 7/16, as far as its coefficients hold.
NEAR_LIMIT = np.float32(0.4375)
FAR_LIMIT = np.float32(2.2857143)
PI_4 = np.float32(0.7853982)
PI_4_LOW = np.float32(-2.1855694e-08)
PI_2 = np.float32(1.5707964)
PI_2_LOW = np.float32(-4.3711388e-08)
PI = np.float32(3.1415927)
PI_LOW = np.float32(-8.742278e-08)
ATAN_0 = np.float32(-3.3333328366e-01)
ATAN_1 = np.float32(1.9999158382e-01)
ATAN_2 = np.float32(-1.4253635705e-01)
ATAN_3 = np.float32(1.0648017377e-01)
ATAN_4 = np.float32(-6.1687607318e-02)
# atan2 adds its arguments and compares multiples of them: scaled where that would leave the range.
HUGE = np.float32(2.0**125)
TINY = np.float32(2.0**-100)
SCALE_DOWN = np.float32(2.0**-3)
SCALE_UP = np.float32(2.0**25)

# sin, cos: adding 1.5 * 2**52 rounds a float64 to an integer and leaves that integer in its low bits.
ROUND_64 = np.float64(6755399441055744.0)
TWO_OVER_PI_64 = np.float64(0.6366197723675814)
# 25 bits of pi/2, so that its product with a 28-bit integer is exact, and the rest.
PI_2_HIGH_64 = np.float64(1.57079631090164184570)
PI_2_LOW_64 = np.float64(1.58932547735281966916e-08)
TRIG_LIMIT = np.float32(2.0**51)
SIN_1 = np.float32(-1.6666654611e-1)
SIN_2 = np.float32(8.3321608736e-3)
SIN_3 = np.float32(-1.9515295891e-4)
COS_1 = np.float32(4.166664568298827e-2)
COS_2 = np.float32(-1.388731625493765e-3)
COS_3 = np.float32(2.443315711809948e-5)
QUADRANT_MASK = np.int64(3)
ODD_QUADRANT = np.int32(1)
LOWER_HALF = np.int32(2)
TO_SIGN_BIT = np.int32(30)

# exp: the clamps lie just outside the range of finite, non-zero results.
EXP_LOW = np.float32(-104.0)
EXP_HIGH = np.float32(89.0)
LOG2_E = np.float32(1.44269504088896341)
# 1.5 * 2**23 rounds a float32 to an integer, which stays in its low bits.
ROUND = np.float32(12582912.0)
LN2_SHORT = np.float32(0.693359375)
LN2_SHORT_LOW = np.float32(-2.12194440e-4)
EXP_1 = np.float32(5.0000001201e-1)
EXP_2 = np.float32(1.6666665459e-1)
EXP_3 = np.float32(4.1665795894e-2)
EXP_4 = np.float32(8.3334519073e-3)
EXP_5 = np.float32(1.3981999507e-3)
EXP_6 = np.float32(1.9875691500e-4)

MIN_NORMAL = np.float32(1.1754943508222875e-38)
NORMALISE = np.float32(2.0**25)
NORMALISE_LOG2 = np.float32(25.0)
SQRT_HALF_BITS = np.int32(0x3F3504F3)
LN2_HIGH = np.float32(6.9313812256e-01)
LN2_LOW = np.float32(9.0580006145e-06)
LOG_1 = np.float32(0.66666662693)
LOG_2 = np.float32(0.40000972152)
LOG_3 = np.float32(0.28498786688)
LOG_4 = np.float32(0.24279078841)

# pow works in float64, where neither its logarithm nor its product loses a bit that a float32 has.
ONE_64 = np.float64(1.0)
TWO_64 = np.float64(2.0)
SQRT_HALF_64 = np.int64(0x3FE6A09E667F3BCD)
MANTISSA_WIDTH_64 = np.int64(52)
EXPONENT_BIAS_64 = np.int64(1023)
ROUND_64_BITS = np.int64(0x4338000000000000)
LN2_64 = np.float64(0.6931471805599453)
LOG2_E_64 = np.float64(1.4426950408889634)
POW_HIGH_64 = np.float64(150.0)
LOG_64_1, LOG_64_2, LOG_64_3, LOG_64_4 = 1 / 3, 1 / 5, 1 / 7, 1 / 9
LOG_64_5, LOG_64_6, LOG_64_7 = 1 / 11, 1 / 13, 1 / 15
EXP_64_2, EXP_64_3, EXP_64_4, EXP_64_5, EXP_64_6 = 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720
EXP_64_7, EXP_64_8, EXP_64_9, EXP_64_10, EXP_64_11 = 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800, 1 / 39916800

DEGREES_PER_RADIAN = np.float32(57.29577951308232)
RADIANS_PER_DEGREE = np.float32(0.017453292519943295)


def _bits(x: np.float32) -> np.int32:
    """Bit pattern of x; the cast does nothing, but Numba wants to see a NumPy type before `view`."""
    return np.float32(x).view(np.int32)


def _from_bits(bits: np.int32) -> np.float32:
    """Number with this bit pattern; the cast takes Numba's wider integers back."""
    return np.int32(bits).view(np.float32)


def _atan_ratio(y: np.float32, x: np.float32) -> np.float32:
    """Arctangent of y / x for y, x >= 0, not both zero, not both infinite; one division."""
    far = y > FAR_LIMIT * x
    near = y <= NEAR_LIMIT * x
    top = -x if far else y - x
    top = y if near else top
    bottom = y if far else y + x
    bottom = x if near else bottom
    base = PI_2 if far else PI_4
    base = ZERO if near else base
    base_low = PI_2_LOW if far else PI_4_LOW
    base_low = ZERO if near else base_low
    z = top / bottom
    s = z * z
    p = (((ATAN_4 * s + ATAN_3) * s + ATAN_2) * s + ATAN_1) * s + ATAN_0
    return base + (z + (p * s * z + base_low))


def atan(x: np.float32) -> np.float32:
    """Arctangent in radians; 1.89 ulp."""
    r = _atan_ratio(abs(x), ONE)
    signed = _from_bits(_bits(r) | (_bits(x) & SIGN_BIT))
    return signed if x == x else NAN


def atan2(y: np.float32, x: np.float32) -> np.float32:
    """Angle of the point (x, y) in radians, C99's signs and special cases; 1.91 ulp."""
    ay = abs(y)
    ax = abs(x)
    # (0, 0) becomes (0, 1) and (inf, inf) becomes (1, 1): what C99 wants, and what divides.
    same = ay == ax
    unit = ONE if ay > ZERO else ZERO
    total = ay + ax
    scale = SCALE_UP if total < TINY else ONE
    scale = SCALE_DOWN if total > HUGE else scale
    ay = unit if same else ay * scale
    ax = ONE if same else ax * scale
    r = _atan_ratio(ay, ax)
    r = PI - (r - PI_LOW) if _bits(x) < NO_BITS else r
    signed = _from_bits(_bits(r) | (_bits(y) & SIGN_BIT))
    return signed if r == r else NAN


def _bits_64(x: np.float64) -> np.int64:
    """Bit pattern of x."""
    return np.float64(x).view(np.int64)


def _from_bits_64(bits: np.int64) -> np.float64:
    """Number with this bit pattern."""
    return np.int64(bits).view(np.float64)


def _quarter_turns(x: np.float32) -> np.float64:
    """Quarter turns in x, rounded to an integer, plus ROUND_64."""
    return np.float64(x) * TWO_OVER_PI_64 + ROUND_64


def _reduce(x: np.float32, rounded: np.float64) -> np.float32:
    """The rest of x after its multiple of pi/2, in [-pi/4, pi/4]."""
    n = rounded - ROUND_64
    return np.float32((np.float64(x) - n * PI_2_HIGH_64) - n * PI_2_LOW_64)


def _sin_reduced(r: np.float32) -> np.float32:
    """Sine for |r| <= pi/4."""
    z = r * r
    return ((SIN_3 * z + SIN_2) * z + SIN_1) * z * r + r


def _cos_reduced(r: np.float32) -> np.float32:
    """Cosine for |r| <= pi/4."""
    z = r * r
    return (ONE - HALF * z) + ((COS_3 * z + COS_2) * z + COS_1) * z * z


def sin(x: np.float32) -> np.float32:
    """Sine of radians; 1.58 ulp to 4e8, then |x| * 2**-53 absolute; NaN for |x| > 2**51."""
    ax = abs(x)
    rounded = _quarter_turns(ax)
    quadrant = np.int32(_bits_64(rounded) & QUADRANT_MASK)
    r = _reduce(ax, rounded)
    sine = _sin_reduced(r)
    cosine = _cos_reduced(r)
    value = cosine if (quadrant & ODD_QUADRANT) == ODD_QUADRANT else sine
    flip = np.int32((quadrant & LOWER_HALF) << TO_SIGN_BIT) ^ (_bits(x) & SIGN_BIT)
    signed = _from_bits(_bits(value) ^ flip)
    return signed if ax <= TRIG_LIMIT else NAN


def cos(x: np.float32) -> np.float32:
    """Cosine of radians; 1.57 ulp to 4e8, then |x| * 2**-53 absolute; NaN for |x| > 2**51."""
    ax = abs(x)
    rounded = _quarter_turns(ax)
    quadrant = np.int32(_bits_64(rounded) & QUADRANT_MASK)
    r = _reduce(ax, rounded)
    sine = _sin_reduced(r)
    cosine = _cos_reduced(r)
    value = sine if (quadrant & ODD_QUADRANT) == ODD_QUADRANT else cosine
    flip = np.int32(((quadrant + ODD_QUADRANT) & LOWER_HALF) << TO_SIGN_BIT)
    signed = _from_bits(_bits(value) ^ flip)
    return signed if ax <= TRIG_LIMIT else NAN


def _power_of_two(rounded: np.float32) -> np.float32:
    """2**n for rounded = n + ROUND, -126 <= n <= 127."""
    return _from_bits((_bits(rounded) + EXPONENT_BIAS) << MANTISSA_WIDTH)


def exp(x: np.float32) -> np.float32:
    """Exponential; 0, denormal and inf where it leaves the range; 0.99 ulp."""
    clamped = EXP_LOW if x < EXP_LOW else x
    clamped = EXP_HIGH if clamped > EXP_HIGH else clamped
    rounded = clamped * LOG2_E + ROUND
    n = rounded - ROUND
    r = (clamped - n * LN2_SHORT) - n * LN2_SHORT_LOW
    p = ((((EXP_6 * r + EXP_5) * r + EXP_4) * r + EXP_3) * r + EXP_2) * r + EXP_1
    mantissa = p * (r * r) + r + ONE
    # Two factors, because 2**n itself is out of range at both ends; the first product is exact.
    half = n * HALF + ROUND
    rest = (n - (half - ROUND)) + ROUND
    value = mantissa * _power_of_two(half) * _power_of_two(rest)
    return value if x == x else NAN


def log(x: np.float32) -> np.float32:
    """Natural logarithm; -inf at zero, NaN below; 0.84 ulp."""
    denormal = x < MIN_NORMAL
    scaled = x * NORMALISE if denormal else x
    bits = np.int32(_bits(scaled) & MAGNITUDE_BITS)
    # scaled = 2**k * m, sqrt(1/2) <= m < sqrt(2)
    k = np.int32(np.int32(bits - SQRT_HALF_BITS) >> MANTISSA_WIDTH)
    m = _from_bits(bits - np.int32(k << MANTISSA_WIDTH))
    n = np.float32(k)
    n = n - NORMALISE_LOG2 if denormal else n
    f = m - ONE
    s = f / (TWO + f)
    z = s * s
    w = z * z
    p = z * (LOG_1 + w * LOG_3) + w * (LOG_2 + w * LOG_4)
    half_square = HALF * f * f
    value = s * (half_square + p) + n * LN2_LOW - half_square + f + n * LN2_HIGH
    value = x if x == INF else value
    outside = NEG_INF if x == ZERO else NAN
    return value if x > ZERO else outside


def _log_64(x: np.float64) -> np.float64:
    """Natural logarithm of 0 < x < inf."""
    bits = _bits_64(x)
    k = np.int64((bits - SQRT_HALF_64) >> MANTISSA_WIDTH_64)
    f = _from_bits_64(bits - (k << MANTISSA_WIDTH_64)) - ONE_64
    s = f / (TWO_64 + f)
    z = s * s
    tail = LOG_64_4 + z * (LOG_64_5 + z * (LOG_64_6 + z * LOG_64_7))
    tail = z * (LOG_64_1 + z * (LOG_64_2 + z * (LOG_64_3 + z * tail)))
    return (_from_bits_64(k + ROUND_64_BITS) - ROUND_64) * LN2_64 + TWO_64 * (s + s * tail)


def _exp_64(x: np.float64) -> np.float64:
    """Exponential for |x| <= 200."""
    rounded = x * LOG2_E_64 + ROUND_64
    r = x - (rounded - ROUND_64) * LN2_64
    e = EXP_64_8 + r * (EXP_64_9 + r * (EXP_64_10 + r * EXP_64_11))
    e = EXP_64_4 + r * (EXP_64_5 + r * (EXP_64_6 + r * (EXP_64_7 + r * e)))
    e = ONE_64 + r * (ONE_64 + r * (EXP_64_2 + r * (EXP_64_3 + r * e)))
    return e * _from_bits_64((_bits_64(rounded) + EXPONENT_BIAS_64) << MANTISSA_WIDTH_64)


def pow(x: np.float32, y: np.float32) -> np.float32:  # noqa: A001
    """X to the power of y, in float64, with C99's special cases; 0.51 ulp."""
    ax = abs(x)
    ay = abs(y)
    whole = y == np.floor(y)
    odd = whole & (y * HALF != np.floor(y * HALF))
    finite = (ax > ZERO) & (ax < INF)
    product = np.float64(y) * _log_64(np.float64(ax if finite else ONE))
    product = POW_HIGH_64 if product > POW_HIGH_64 else product
    product = -POW_HIGH_64 if product < -POW_HIGH_64 else product
    value = np.float32(_exp_64(product if product == product else ONE_64))
    beyond = INF if (ax > ONE) == (y > ZERO) else ZERO
    value = value if finite else beyond
    value = NAN if finite & (x < ZERO) & (not whole) else value
    negative = odd & (_bits(x) < NO_BITS)
    value = -value if negative else value
    value = value if (x == x) & (y == y) else NAN
    return ONE if (y == ZERO) | (x == ONE) | ((ax == ONE) & (ay == INF)) else value


def degrees(x: np.float32) -> np.float32:
    """Radians to degrees; 0.70 ulp."""
    return x * DEGREES_PER_RADIAN


def radians(x: np.float32) -> np.float32:
    """Degrees to radians; 0.63 ulp."""
    return x * RADIANS_PER_DEGREE


def hypot(x: np.float32, y: np.float32) -> np.float32:
    """Length of (x, y), unscaled: inf above 1.8e19, 0 below 2e-23; 1.18 ulp between 1e-18 and 1e18."""
    r = np.sqrt(x * x + y * y)
    return np.float32(r) if r == r else NAN

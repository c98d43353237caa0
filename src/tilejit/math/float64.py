"""Branch-free float64 math that LLVM vectorises without a vector math library.

The twin of `float32.py`, where the rules for this code are written down. Every function is a straight line of
float64 and int64 operations, and no float64 is converted to an integer or back: AVX2 has no packed
instruction for that, so integers travel in the low bits of `n + ROUND` instead. Literals are float64 already.

Source: FreeBSD msun, that is fdlibm (s_atan.c, k_sin.c, k_cos.c, e_rem_pio2.c, e_exp.c, e_log.c), reordered
to select between values instead of branching. The one-line docstrings give the largest error found against
80-bit references in samples of six million values each.
"""

# ruff: noqa: PLR0124 - `x == x` is the NaN test that Python and Numba share
# ruff: noqa: FURB136 - `max` and `min` do not pass NaN on in the same way in Python and in Numba

import numpy as np

ZERO = np.float64(0.0)
HALF = np.float64(0.5)
ONE = np.float64(1.0)
TWO = np.float64(2.0)
INF = np.float64(np.inf)
NEG_INF = np.float64(-np.inf)
NAN = np.float64(np.nan)

NO_BITS = np.int64(0)
SIGN_BIT = np.int64(-0x8000000000000000)
MAGNITUDE_BITS = np.int64(0x7FFFFFFFFFFFFFFF)
EXPONENT_BIAS = np.int64(1023)
MANTISSA_WIDTH = np.int64(52)

# Adding 1.5 * 2**52 rounds a float64 to an integer and leaves that integer in its low bits.
ROUND = np.float64(6755399441055744.0)
ROUND_BITS = np.int64(0x4338000000000000)

# atan: one of three reductions leaves the polynomial an argument up to 7/16, as far as its coefficients hold.
NEAR_LIMIT = np.float64(0.4375)
FAR_LIMIT = np.float64(2.2857142857142856)
PI_4 = np.float64(7.85398163397448278999e-01)
PI_4_LOW = np.float64(3.06161699786838301793e-17)
PI_2 = np.float64(1.57079632679489655800e00)
PI_2_LOW = np.float64(6.12323399573676603587e-17)
PI = np.float64(3.1415926535897931160e00)
PI_LOW = np.float64(1.2246467991473531772e-16)
ATAN_0, ATAN_1, ATAN_2 = -3.33333333333329318027e-01, 1.99999999998764832476e-01, -1.42857142725034663711e-01
ATAN_3, ATAN_4, ATAN_5 = 1.11111104054623557880e-01, -9.09088713343650656196e-02, 7.69187620504482999495e-02
ATAN_6, ATAN_7, ATAN_8 = -6.66107313738753120669e-02, 5.83357013379057348645e-02, -4.97687799461593236017e-02
ATAN_9, ATAN_10 = 3.65315727442169155270e-02, -1.62858201153657823623e-02
# atan2 adds its arguments and compares multiples of them: scaled where that would leave the range.
HUGE = np.float64(2.0**1021)
TINY = np.float64(2.0**-960)
SCALE_DOWN = np.float64(2.0**-3)
SCALE_UP = np.float64(2.0**54)

# sin, cos: pi/2 in pieces of 33, 33 and 53 bits, so that the first two times a 20-bit integer are exact.
TWO_OVER_PI = np.float64(6.36619772367581382433e-01)
PI_2_A, PI_2_B, PI_2_C = 1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21
TRIG_LIMIT = np.float64(2.0**51)
SIN_1, SIN_2, SIN_3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
SIN_4, SIN_5, SIN_6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
COS_1, COS_2, COS_3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
COS_4, COS_5, COS_6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11
ODD_QUADRANT = np.int64(1)
LOWER_HALF = np.int64(2)
TO_SIGN_BIT = np.int64(62)

# exp: the clamps lie just outside the range of finite, non-zero results.
EXP_LOW = np.float64(-746.0)
EXP_HIGH = np.float64(710.0)
LOG2_E = np.float64(1.44269504088896338700e00)
LN2_HIGH = np.float64(6.93147180369123816490e-01)
LN2_LOW = np.float64(1.90821492927058770002e-10)
EXP_1, EXP_2, EXP_3 = 1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05
EXP_4, EXP_5 = -1.65339022054652515390e-06, 4.13813679705723846039e-08

MIN_NORMAL = np.float64(2.2250738585072014e-308)
NORMALISE = np.float64(2.0**54)
NORMALISE_LOG2 = np.float64(54.0)
SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
LOG_1, LOG_2, LOG_3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
LOG_4, LOG_5, LOG_6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
LOG_7 = 1.479819860511658591e-01

# pow: logarithm and product in pairs of numbers, the second what rounding took from the first.
SPLIT = np.float64(134217729.0)
POW_LIMIT = np.float64(2.0**64)
THIRD = np.float64(0.3333333333333333)
THIRD_LOW = np.float64(1.850371707708594e-17)
POW_2, POW_3, POW_4, POW_5, POW_6 = 1 / 5, 1 / 7, 1 / 9, 1 / 11, 1 / 13
POW_7, POW_8, POW_9, POW_10, POW_11 = 1 / 15, 1 / 17, 1 / 19, 1 / 21, 1 / 23

DEGREES_PER_RADIAN, RADIANS_PER_DEGREE = 57.29577951308232, 0.017453292519943295


def _bits(x: np.float64) -> np.int64:
    """Bit pattern of x; the cast does nothing, but Numba wants to see a NumPy type before `view`."""
    return np.float64(x).view(np.int64)


def _from_bits(bits: np.int64) -> np.float64:
    """Number with this bit pattern; the cast takes Numba's wider integers back."""
    return np.int64(bits).view(np.float64)


def _atan_ratio(y: np.float64, x: np.float64) -> np.float64:
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
    w = s * s
    even = ((((ATAN_10 * w + ATAN_8) * w + ATAN_6) * w + ATAN_4) * w + ATAN_2) * w + ATAN_0
    odd = (((ATAN_9 * w + ATAN_7) * w + ATAN_5) * w + ATAN_3) * w + ATAN_1
    return base + (z + ((even + s * odd) * s * z + base_low))


def atan(x: np.float64) -> np.float64:
    """Arctangent in radians; 1.81 ulp."""
    r = _atan_ratio(abs(x), ONE)
    signed = _from_bits(_bits(r) | (_bits(x) & SIGN_BIT))
    return signed if x == x else NAN


def atan2(y: np.float64, x: np.float64) -> np.float64:
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


def _reduce(x: np.float64, rounded: np.float64) -> np.float64:
    """The rest of x after its multiple of pi/2, in [-pi/4, pi/4]."""
    n = rounded - ROUND
    a = x - n * PI_2_A
    b = a - n * PI_2_B
    return b - (n * PI_2_C - ((a - b) - n * PI_2_B))


def _reduce_low(x: np.float64, rounded: np.float64) -> np.float64:
    """What rounding took from _reduce (2.4 ulp without it); LLVM computes the common terms once."""
    n = rounded - ROUND
    a = x - n * PI_2_A
    b = a - n * PI_2_B
    c = n * PI_2_C - ((a - b) - n * PI_2_B)
    return (b - (b - c)) - c


def _sin_reduced(r: np.float64, low: np.float64) -> np.float64:
    """Sine of r + low for |r| <= pi/4."""
    z = r * r
    p = ((((SIN_6 * z + SIN_5) * z + SIN_4) * z + SIN_3) * z + SIN_2) * z + SIN_1
    return r + (p * z * r + low)


def _cos_reduced(r: np.float64, low: np.float64) -> np.float64:
    """Cosine of r + low for |r| <= pi/4."""
    z = r * r
    p = ((((COS_6 * z + COS_5) * z + COS_4) * z + COS_3) * z + COS_2) * z + COS_1
    half_square = HALF * z
    top = ONE - half_square
    return top + (((ONE - top) - half_square) + (p * z * z - r * low))


def sin(x: np.float64) -> np.float64:
    """Sine of radians; 1.07 ulp to 1.6e6, then |x| * 2**-53 absolute; NaN for |x| > 2**51."""
    ax = abs(x)
    rounded = ax * TWO_OVER_PI + ROUND
    quadrant = _bits(rounded)
    r = _reduce(ax, rounded)
    low = _reduce_low(ax, rounded)
    sine = _sin_reduced(r, low)
    cosine = _cos_reduced(r, low)
    value = cosine if (quadrant & ODD_QUADRANT) == ODD_QUADRANT else sine
    flip = (_bits(x) & SIGN_BIT) ^ ((quadrant & LOWER_HALF) << TO_SIGN_BIT)
    signed = _from_bits(_bits(value) ^ flip)
    return signed if ax <= TRIG_LIMIT else NAN


def cos(x: np.float64) -> np.float64:
    """Cosine of radians; 1.07 ulp to 1.6e6, then |x| * 2**-53 absolute; NaN for |x| > 2**51."""
    ax = abs(x)
    rounded = ax * TWO_OVER_PI + ROUND
    quadrant = _bits(rounded)
    r = _reduce(ax, rounded)
    low = _reduce_low(ax, rounded)
    sine = _sin_reduced(r, low)
    cosine = _cos_reduced(r, low)
    value = sine if (quadrant & ODD_QUADRANT) == ODD_QUADRANT else cosine
    flip = ((quadrant + ODD_QUADRANT) & LOWER_HALF) << TO_SIGN_BIT
    signed = _from_bits(_bits(value) ^ flip)
    return signed if ax <= TRIG_LIMIT else NAN


def _power_of_two(rounded: np.float64) -> np.float64:
    """2**n for rounded = n + ROUND, -126 <= n <= 127."""
    return _from_bits((_bits(rounded) + EXPONENT_BIAS) << MANTISSA_WIDTH)


def exp(x: np.float64) -> np.float64:
    """Exponential; 0, denormal and inf where it leaves the range; 0.88 ulp."""
    clamped = EXP_LOW if x < EXP_LOW else x
    clamped = EXP_HIGH if clamped > EXP_HIGH else clamped
    n = clamped * LOG2_E + ROUND - ROUND
    value = _scaled(clamped - n * LN2_HIGH, n * LN2_LOW, n)
    return value if x == x else NAN


def _scaled(high: np.float64, low: np.float64, n: np.float64) -> np.float64:
    """exp(high - low) * 2**n, |high| <= ln(2) / 2."""
    r = high - low
    s = r * r
    c = r - s * (EXP_1 + s * (EXP_2 + s * (EXP_3 + s * (EXP_4 + s * EXP_5))))
    mantissa = ONE - ((low - (r * c) / (TWO - c)) - high)
    # Two factors, because 2**n itself is out of range at both ends; the first product is exact.
    half = n * HALF + ROUND
    rest = (n - (half - ROUND)) + ROUND
    return mantissa * _power_of_two(half) * _power_of_two(rest)


def log(x: np.float64) -> np.float64:
    """Natural logarithm; -inf at zero, NaN below; 0.83 ulp."""
    denormal = x < MIN_NORMAL
    scaled = x * NORMALISE if denormal else x
    bits = np.int64(_bits(scaled) & MAGNITUDE_BITS)
    # scaled = 2**k * m, sqrt(1/2) <= m < sqrt(2)
    k = np.int64((bits - SQRT_HALF_BITS) >> MANTISSA_WIDTH)
    m = _from_bits(bits - (k << MANTISSA_WIDTH))
    n = _from_bits(k + ROUND_BITS) - ROUND
    n = n - NORMALISE_LOG2 if denormal else n
    f = m - ONE
    s = f / (TWO + f)
    z = s * s
    w = z * z
    odd = z * (LOG_1 + w * (LOG_3 + w * (LOG_5 + w * LOG_7)))
    even = w * (LOG_2 + w * (LOG_4 + w * LOG_6))
    half_square = HALF * f * f
    value = s * (half_square + (even + odd)) + n * LN2_LOW - half_square + f + n * LN2_HIGH
    value = x if x == INF else value
    outside = NEG_INF if x == ZERO else NAN
    return value if x > ZERO else outside


def _rest(a: np.float64, b: np.float64, product: np.float64) -> np.float64:
    """What rounding took from the product of a and b (Dekker)."""
    high_a = a * SPLIT - (a * SPLIT - a)
    high_b = b * SPLIT - (b * SPLIT - b)
    low_a = a - high_a
    low_b = b - high_b
    return low_a * low_b - (((product - high_a * high_b) - low_a * high_b) - high_a * low_b)


def _log_term(f: np.float64, s: np.float64) -> np.float64:
    """What f / (2 + f) is beyond its rounded value s."""
    bottom = TWO + f
    bottom_low = f - (bottom - TWO)
    top = s * bottom
    return (((f - top) - _rest(s, bottom, top)) - s * bottom_low) / bottom


def _power(x: np.float64, y: np.float64) -> np.float64:
    """x**y for 0 < x < inf and |y| <= 2**64: exp(y * log(x)) with a logarithm of some 65 bits."""
    denormal = x < MIN_NORMAL
    scaled = x * NORMALISE if denormal else x
    bits = _bits(scaled)
    k = np.int64((bits - SQRT_HALF_BITS) >> MANTISSA_WIDTH)
    m = _from_bits(bits - (k << MANTISSA_WIDTH))
    n = _from_bits(k + ROUND_BITS) - ROUND
    n = n - NORMALISE_LOG2 if denormal else n
    # log(m) = 2 (s + s**3 / 3 + s**5 / 5 + ...)
    f = m - ONE
    s = f / (TWO + f)
    s_low = _log_term(f, s)
    z = s * s
    z_low = _rest(s, s, z) + TWO * s * s_low
    tail = POW_8 + z * (POW_9 + z * (POW_10 + z * POW_11))
    tail = POW_4 + z * (POW_5 + z * (POW_6 + z * (POW_7 + z * tail)))
    tail = z * (POW_2 + z * (POW_3 + z * tail))
    t = THIRD + tail
    t_low = ((THIRD - t) + tail) + THIRD_LOW
    u = z * t
    u_low = _rest(z, t, u) + (z * t_low + z_low * t)
    v = s * u
    v_low = _rest(s, u, v) + (s * u_low + s_low * u)
    half = s + v
    half_low = ((s - half) + v) + (s_low + v_low)
    whole = n * LN2_HIGH
    log = whole + TWO * half
    log_low = ((whole - log) + TWO * half) + (TWO * half_low + n * LN2_LOW)
    top = log + log_low
    log_low = log_low - (top - log)
    product = y * top
    inside = EXP_LOW < product < EXP_HIGH
    clamped = product if inside else (EXP_LOW if product < ZERO else EXP_HIGH)
    low = _rest(y, top, product) + y * log_low if inside else ZERO
    n = clamped * LOG2_E + ROUND - ROUND
    return _scaled(clamped - n * LN2_HIGH, n * LN2_LOW - low, n)


def pow(x: np.float64, y: np.float64) -> np.float64:  # noqa: A001
    """X to the power of y, with C99's special cases; 0.9 ulp."""
    ax = abs(x)
    ay = abs(y)
    whole = y == np.floor(y)
    odd = whole & (y * HALF != np.floor(y * HALF))
    bounded = POW_LIMIT if y > POW_LIMIT else y
    bounded = -POW_LIMIT if bounded < -POW_LIMIT else bounded
    finite = (ax > ZERO) & (ax < INF)
    value = _power(ax if finite else ONE, bounded if y == y else ONE)
    beyond = INF if (ax > ONE) == (y > ZERO) else ZERO
    value = value if finite else beyond
    value = NAN if finite & (x < ZERO) & (not whole) else value
    negative = odd & (_bits(x) < NO_BITS)
    value = -value if negative else value
    value = value if (x == x) & (y == y) else NAN
    return ONE if (y == ZERO) | (x == ONE) | ((ax == ONE) & (ay == INF)) else value


def degrees(x: np.float64) -> np.float64:
    """Radians to degrees; 0.82 ulp."""
    return x * DEGREES_PER_RADIAN


def radians(x: np.float64) -> np.float64:
    """Degrees to radians; 0.66 ulp."""
    return x * RADIANS_PER_DEGREE


def hypot(x: np.float64, y: np.float64) -> np.float64:
    """Length of (x, y), unscaled: inf above 1.3e154, 0 below 1.5e-162; 1.18 ulp between 1e-153 and 1e153."""
    r = np.sqrt(x * x + y * y)
    return np.float64(r) if r == r else NAN

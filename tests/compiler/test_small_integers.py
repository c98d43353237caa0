"""Integers that fit 32 bits are computed in these: what no 32 bits hold must not be."""

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits
from tilejit.compiler.jit.values import ENDS, Small, ends_of

RNG = np.random.default_rng(32)


@tj.local
def bits_of(q: np.uint16, n: np.int8, m: np.int16) -> np.int64:
    if q & 1:
        return (q >> 3) ^ (m | 5)
    if (q >> 8) & 3 == 3:
        return n - m
    if (m >> 2) & 1 and n < m:
        return n * m
    return (q | 255) - (n & 12) + (n >> 1)


@tj.local
def large(q: np.uint16, n: np.int8, m: np.int16) -> np.int64:
    """Up to 48 bits, and sums at the edge of 32."""
    cube = q * q * q
    most = 32768 * 65535 + (q - 65535)
    return cube + m * q * n if q > 3 * m else most + q + n * (1 << 40)


@tj.local
def floats(q: np.uint16, n: np.int8, m: np.int16) -> np.float64:
    return (q - m) / 3 + n * 0.5 + (q if n > 0 else m) + abs(m) + -n + q // 7 + m % 5 + n**2


@pytest.mark.parametrize("kernel", [bits_of, large, floats], ids=lambda kernel: kernel.name)
def test_bits_are_those_of_the_body(kernel):
    limits = [(0, 65535, np.uint16), (-128, 127, np.int8), (-32768, 32767, np.int16)]
    arrays = [RNG.integers(low, high, (9, 40), endpoint=True).astype(dtype) for low, high, dtype in limits]
    for array, (low, high, _) in zip(arrays, limits, strict=True):
        array[0], array[1, ::2], array[1, 1::2] = high, low, high
    wanted, found = (kernel(*arrays, backend=backend) for backend in ("python", "cpu"))
    np.testing.assert_array_equal(bits(wanted), bits(found))


WORDS = {
    "and": int.__and__,
    "or": int.__or__,
    "xor": int.__xor__,
    "ashr": int.__rshift__,
    "add nsw": int.__add__,
    "sub nsw": int.__sub__,
    "mul nsw": int.__mul__,
}


@pytest.mark.parametrize("word", WORDS)
def test_a_result_lies_between_its_ends(word):
    for k in range(300):
        most = 40 if k % 2 else 2**31
        a, b = RNG.integers(-most, most, (2, 3)).tolist()
        if word == "ashr":
            b = [abs(b[0]) % 40] * 3
        sides = [Small("", min(three), max(three)) for three in (a, b)]
        ends = ends_of(word, *sides)
        if ends is not None:
            assert -(2**31) <= ends[0] <= WORDS[word](a[1], b[1]) <= ends[1] < 2**31


def test_narrow_types_lie_between_their_ends():
    for name in ("int8", "int16", "uint8", "uint16"):
        limits = np.iinfo(name)
        assert ENDS[name[0] + name.lstrip("uint")] == (limits.min, limits.max)

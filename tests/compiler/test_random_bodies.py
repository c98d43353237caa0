"""Random bodies of the language: the interpreted body and the compiled one give the same bits."""

import zlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from kernels_for_tests import assert_same_bits, holes, write_module

pytestmark = pytest.mark.slow

FLOATS = ("v0", "v1", "v2")
INTEGERS = ("k0", "k1")


class Writer:
    """Draws the text of a body whose variables keep their kinds."""

    def __init__(self, draw):
        self.draw = draw
        self.loops = []

    def pick(self, *choices):
        return self.draw(st.sampled_from(choices))

    def float(self, depth):
        if depth == 0 or self.pick(True, False, False):
            return self.pick(
                *FLOATS, "p", "a[0, 0]", "b[-1, 1]", "a[1, 0]", "b[0, -2]", "0.5", "-1.25", "3", "0.1", "C"
            )
        x, y = self.float(depth - 1), self.float(depth - 1)
        return self.pick(
            f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"({x} / {y})", f"min({x}, {y}, 2.5)", f"max({x}, {y})",
            f"abs({x})", f"-({x})", f"({x} // {y})", f"({x} % {y})", f"({x}) ** {self.pick(2, 3, -1)}",
            f"math.sqrt(abs({x}))", f"math.atan({x})", f"math.atan2({x}, {y})", f"math.exp(-abs({x}))",
            f"({x} if {self.truth(depth - 1)} else {y})", f"({x} * {self.integer(depth - 1)})", f"helper({x}, {y})",
            f"helper(w={x}, v={y})", f"float({self.integer(depth - 1)})", f"near(a, {self.pick(-1, 0, 1)})",
            f"{self.pick(3, x)} ** {self.pick('n', y, self.integer(depth - 1))}", f"a[{self.pick(*INTEGERS)}, 1]",
            f"reached(b, {self.pick('k0', 'k1', 'k0 - 1')})", f"({x} {self.pick('or', 'and')} {y})", f"inner({x})",
            f"np.{self.pick('maximum', 'minimum', 'fmax', 'fmin', 'heaviside')}({x}, {y})", f"np.clip({x}, -1, {y})",
            f"np.where({self.truth(depth - 1)}, {x}, {y})", f"np.{self.pick('sign', 'floor', 'trunc', 'square')}({x})",
            f"np.float32({x})", f"round({x}, {self.pick(1, -1)})", f"pow({x}, {self.pick(3, y)})",
        )  # fmt: skip

    def integer(self, depth):
        if depth == 0 or self.pick(True, False):
            return self.pick(*INTEGERS, *self.loops, "n", "1", "-3", "7")
        x, y, k = self.integer(depth - 1), self.integer(depth - 1), self.pick(*INTEGERS)
        return self.pick(
            f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"({x} // {y})", f"({x} % {y})", f"({x} & {y})", f"({x} | {y})",
            f"({x} ^ {y})", f"({x} << {self.pick(0, 1, 5)})", f"({x} >> {self.pick(0, 2)})", f"~{x}", f"abs({x})",
            f"{self.pick('round', 'int', 'math.floor', 'math.ceil', 'math.trunc')}({self.float(depth - 1)})",
            f"({x} {self.pick('<<', '>>')} {k})", f"{k} ** {self.pick(2, 5, 63)}", f"({k} * 9223372036854775807)", f"-{x}",
            f"min({x}, {y})", f"({x} if {self.truth(depth - 1)} else {y})", f"int({self.truth(depth - 1)})", "small(v0)", "whole(v1)",
            f"np.{self.pick('int16', 'uint8', 'int32')}({self.pick(x, self.float(depth - 1))})", f"np.sign({x})",
            f"np.maximum({x}, {y})", f"({x} {self.pick('or', 'and')} {y})", f"np.where({self.truth(depth - 1)}, {x}, {y})",
        )  # fmt: skip

    def truth(self, depth):
        x, y = self.float(max(0, depth - 1)), self.float(max(0, depth - 1))
        k = self.integer(max(0, depth - 1))
        simple = (f"{x} < {y}", f"{x} >= {y}", f"{k} == 1", f"{k} % 2 != 0", "flag", f"-2 < {x} <= 2", f"{k} in (1, 3, -3)",
                  f"math.isfinite({x})")  # fmt: skip
        if depth == 0:
            return f"({self.pick(*simple)})"
        u, v = self.truth(depth - 1), self.truth(depth - 1)
        return self.pick(*(f"({s})" for s in simple), f"({u} and {v})", f"({u} or {v})", f"(not {u})", f"({u} ^ {v})")

    def assignment(self):
        if self.pick(True, True, False):
            name = self.pick(*FLOATS)
            other = self.pick(*FLOATS)
            return self.pick(
                f"{name} = {self.float(2)}", f"{name} {self.pick('+', '-', '*', '/')}= {self.float(1)}",
                f"{name} = {other} = {self.float(1)}", f"v0, v1 = v1, {self.float(1)}", f"{name}, v2 = both({self.float(1)})",
            )  # fmt: skip
        return f"{self.pick(*INTEGERS)} {self.pick('', '+', '-', '&', '^')}= {self.integer(2)}"

    def block(self, depth, *, in_loop=False):
        lines = []
        for _ in range(self.pick(1, 2, 3)):
            lines += self.statement(depth, in_loop=in_loop)
        return [f"    {line}" for line in lines]

    def statement(self, depth, *, in_loop):
        kinds = ("assign", "assign", "if", "else", "for", "while", "match", "walrus")
        what = self.pick(*kinds) if depth else "assign"
        if what == "assign":
            return [self.assignment()]
        if what in {"if", "else"}:
            tail = [f"    {self.pick('continue', 'break', 'pass')}"] if in_loop else []
            lines = [f"if {self.truth(1)}:", *self.block(depth - 1, in_loop=in_loop), *tail]
            return lines + (["else:", *self.block(depth - 1, in_loop=in_loop)] if what == "else" else [])
        if what == "match":
            return self.match(depth, in_loop=in_loop)
        if what == "walrus":
            head = f"if (v2 := {self.float(1)}) < {self.float(1)} or {self.truth(0)}:"
            return [head, *self.block(depth - 1, in_loop=in_loop)]
        name = f"i{len(self.loops)}"
        if what == "while":
            head = [f"{name} = 0", f"while {name} < {self.pick(2, 5)} and {self.truth(0)}:", f"    {name} += 1"]
        else:
            head = [f"for {name} in range({self.pick('3', '-2, 2', 'n', '5, -1, -2', '1, n + 2', 'n, -n, -3', '0')}):"]
        self.loops.append(name)
        body = self.block(depth - 1, in_loop=True)
        self.loops.pop()
        orelse = ["else:", *self.block(depth - 1, in_loop=in_loop)] if self.pick(True, False, False) else []
        return head + body + orelse

    def match(self, depth, *, in_loop):
        patterns = self.pick("1", "-3 | 0", "2 | 7"), f"3 if {self.truth(0)}", f"k1 if k1 > {self.integer(1)}", "_"
        lines = [f"match {self.integer(1)}:"]
        for pattern in patterns[self.pick(0, 1, 2) :]:
            lines += [f"    case {pattern}:", *(f"    {line}" for line in self.block(depth - 1, in_loop=in_loop))]
        return lines


@st.composite
def bodies(draw):
    writer = Writer(draw)
    lines = [line for _ in range(4) for line in writer.statement(2, in_loop=False)]
    return "\n".join([
        "@tj.focal(radius=2, nodata={!r})".format(writer.pick("propagate", "propagate", "kernel")),
        f"def body(a, b, *, p=0.3, n=3, flag=True){writer.pick('', RESULTS)}:",
        "    v0, v1, v2 = a[0, 0], p, 0.0",
        "    k0, k1 = n, 0",
        "    inner = lambda v: v * p - v0",
        *(f"    {line}" for line in lines),
        f"    return v0, v1 + v2, k0, {writer.float(2)}, {writer.truth(1)}, k1 * 1.0, {writer.integer(2)}",
    ])  # fmt: skip


RESULTS = " -> tuple[np.uint8, np.int64, np.int16, np.float32, np.uint8, np.uint64, np.int64]"
SENTINELS = (
    3.4028235e38,
    -3.4028235e38,
    2.0**31,
    2.0**31 - 1,
    -(2.0**31) - 1,
    2.0**63,
    -(2.0**63),
    1e30,
    -0.0,
    254.5,
    -0.5,
)

HELPERS = """
C = 0.7

def reached(z, k):
    return z[k, 0] - z[0, 0]

def whole(v):
    return round(v) if v != 2.5 else math.floor(v * 1e10)

def helper(v, w, scale=0.25):
    if v < w:
        return v * scale
    return w - v

def both(v):
    return v + 1, v * 0.5

def near(z, k):
    return z[0, k] - z[k, 0]

def small(v):
    return int(v) if abs(v) < 1e6 else 0

"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=10, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(text=bodies())
def test_random_bodies(tmp_path_factory, dtype, text):
    kernel = write_module(tmp_path_factory.mktemp("random"), HELPERS + text + "\n").body
    rng = np.random.default_rng(zlib.crc32(text.encode()))  # not drawn: no body comes twice
    rows, cols = kernel.radius
    arrays = [holes(rng, (6 + 2 * rows, 19 + 2 * cols), dtype, scale=3, share=0.01) for _ in range(2)]
    for array in arrays:
        array[rng.random(array.shape) < 0.02] = rng.choice(SENTINELS)
    try:
        assert_same_bits(kernel, arrays)
        assert_same_bits(kernel, arrays, n=0, p=-1.5, flag=False)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{text}") from None

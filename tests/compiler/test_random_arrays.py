"""Random bodies with arrays and tuples: the interpreted body and the compiled one give the same bits."""

import zlib

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from test_random_bodies import HELPERS, SENTINELS, Writer

from kernels_for_tests import assert_same_bits, holes, write_module

ARRAYS = """
SIZE = 5
TABLE = (0.5, -2.0, 3.0)

def put(h, k, v):
    h[k % len(h)] = v
    return h[0]

def count(g, k):
    g[k & 3] += 1

"""


class ArrayWriter(Writer):
    """Draws such a body: ``h`` is an array of five floats, ``g`` of four integers, ``t`` a tuple of three."""

    def index(self, size):
        k = self.pick("k0", "k1", *self.loops, "n")
        return self.pick(0, size - 1, -1, f"{k} % {size}", f"{k} % n if n < {size} else 0", f"min(abs({k}), {size - 1})",
                         f"-({k} % {size}) - 1", "round(v1) & 1")  # fmt: skip

    def float(self, depth):
        if self.pick(True, False, False):
            return self.pick(f"h[{self.index(5)}]", "t[0]", "t[-1]", f"t[{self.index(3)}]", "f[2]")
        if depth == 0 or self.pick(True, True, False):
            return super().float(depth)
        x, of = Writer.float(self, 0), self.pick("h", "t", "f", "g", "TABLE")
        return self.pick(
            f"sum({of})", f"min({of})", f"max({of})", f"sum(v * {x} for v in {of})", "sum(h[k] * k for k in range(n))",
            f"sum(v for v in h if v > {x})", "max(x - y for x, y in zip(t, f))", f"sorted({of})[{self.index(3)}]",
            f"sum(k * v for k, v in enumerate({of}))", f"max(({x}, t[1], 1))", "tj.median(h, len(h))", "tj.percentile(h, n, 40.0)",
        )  # fmt: skip

    def integer(self, depth):
        if self.pick(True, False, False):
            return self.pick(f"g[{self.index(4)}]", "len(h)", "max(g)", "sum(g)", "sum(v > 0.5 for v in h)")
        return super().integer(depth)

    def truth(self, depth):
        if self.pick(True, False, False, False):
            x = super().float(0)
            return self.pick(f"any(v > {x} for v in h)", f"all(v < {x} for v in t)", "any(g[k & 3] == k for k in range(n))",
                             "b[1]", f"(b[{self.index(2)}] and {x} > 0)")  # fmt: skip
        return super().truth(depth)

    def assignment(self):
        if self.pick(True, False):
            return super().assignment()
        i, j = self.index(5), self.index(5)
        return self.pick(
            f"h[{i}] = {self.float(1)}", f"h[{i}] {self.pick('+', '-', '*')}= {self.float(1)}", f"h[{i}], h[{j}] = h[{j}], h[{i}]",
            f"g[{self.index(4)}] {self.pick('', '+', '^')}= {self.integer(1)}", f"v0 = put(h, k0, {self.float(1)})",
            "count(g, k1)", "tj.sort(h)", "tj.sort(h, min(abs(n), 5))", "tj.sort(g, 3)", "f = list(h)", "f = sorted(h)", f"t = v0, {self.float(0)}, v2",
            f"b[{self.index(2)}] = {self.truth(0)}", "f = [v * 2 for v in h]", f"f = [{self.float(0)}] * SIZE", "v0, v1, v2 = t",
        )  # fmt: skip

    def statement(self, depth, *, in_loop):
        if depth and self.pick(True, False, False, False):
            name = f"i{len(self.loops)}"
            head = self.pick(
                "for w in h:",
                "for w in (v0, v1, 2):",
                "for w in TABLE:",
                "for w, _ in zip(h, TABLE):",
                "for w in reversed((v2, 0.5)):",
            )
            self.loops.append(name)
            body = self.block(depth - 1, in_loop=True)
            self.loops.pop()
            return [f"{name} = 0", head, f"    {name} += 1", "    v1 += w * 0.25", *body]
        return super().statement(depth, in_loop=in_loop)


@st.composite
def bodies(draw):
    writer = ArrayWriter(draw)
    lines = [line for _ in range(5) for line in writer.statement(2, in_loop=False)]
    nodata = writer.pick("propagate", "propagate", "kernel")
    return "\n".join([
        f"@tj.focal(radius=2, nodata={nodata!r})",
        "def body(a, b_, *, p=0.3, n=3, flag=True):",
        "    v0, v1, v2 = a[0, 0], p, 0.0",
        "    k0, k1 = n, 0",
        "    h = [0.0] * SIZE",
        "    g, b = tj.zeros(4, dtype=int), [False, True]",
        "    h[0], h[1], h[3] = a[0, 1], b_[1, 0], 0.5",
        "    f, t = list(h), (v0, v1, v2)",
        "    inner = lambda v: v * p - v0",
        *(f"    {line}" for line in lines),
        f"    return v0, v1 + v2, k0, sum(h), {writer.float(2)}, {writer.truth(1)}, k1 * 1.0, {writer.integer(2)}, sum(g)",
    ]).replace("b[0, -2]", "b_[0, -2]").replace("b[-1, 1]", "b_[-1, 1]").replace("reached(b,", "reached(b_,")  # fmt: skip


@settings(max_examples=5, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(text=bodies())
def test_random_bodies_with_arrays(tmp_path_factory, text):
    kernel = write_module(tmp_path_factory.mktemp("random"), HELPERS + ARRAYS + text + "\n").body
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    rows, cols = kernel.radius
    arrays = [holes(rng, (5 + 2 * rows, 17 + 2 * cols), np.float32, scale=3, share=0.01) for _ in range(2)]
    for array in arrays:
        array[rng.random(array.shape) < 0.02] = rng.choice(SENTINELS)
    try:
        assert_same_bits(kernel, arrays)
        assert_same_bits(kernel, arrays, n=0, p=-1.5, flag=False)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{text}") from None

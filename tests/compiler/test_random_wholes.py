"""Random bodies in which whole arrays, lists, tuples and dicts meet: three ways to run them give one result.

What Python and NumPy make of a body is the oracle of the interpreted one, to the last few bits, for NumPy adds up in
another order; the compiled one has the bits of the interpreted one. Some thousands of seeds were run by hand.
"""

import ast

import numpy as np
import pytest

from kernels_for_tests import assert_same, write_module
from tilejit.backends import get_backend
from whole_bodies import HELPERS, body_of

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(7)
Z, W = RNG.uniform(-2, 2, (1, 12)), RNG.uniform(0.2, 3, (1, 12))
K = RNG.integers(0, 8, (1, 12)).astype(np.int16)


@pytest.mark.parametrize("seed", range(14))
def test_random_bodies_with_wholes(seed, tmp_path):
    text = body_of(seed)
    plain = text.replace("def body", "def plain")
    module = write_module(tmp_path, f"{HELPERS}{plain}\n\n@tj.local(nodata='kernel')\n{text}")
    interpreted = module.body(Z, W, K, backend="python")
    with np.errstate(all="ignore"):
        rows = [module.plain(*each) for each in zip(Z[0].tolist(), W[0].tolist(), K[0].tolist(), strict=True)]
    for k, (values, found) in enumerate(zip(zip(*rows, strict=True), interpreted, strict=True)):
        wanted = np.float64(values)
        np.testing.assert_allclose(np.float64(found)[0], wanted, rtol=1e-8, atol=1e-8, err_msg=f"result {k}\n{text}")
    for one, two in zip(interpreted, module.body(Z, W, K), strict=True):
        assert_same(one, two)
    signature = module.body.signature([Z.dtype, W.dtype, K.dtype], None)
    ast.parse(get_backend("cuda").source(module.body, signature))

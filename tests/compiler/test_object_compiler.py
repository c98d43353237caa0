"""Modules share what is compiled of the math library, where it is the same to the last constant."""

import pytest

from tilejit.compiler.jit.object_compiler import UnfitError, compile_function, module_of

TEXT = '''"""A module."""

import numpy as np
from numba import njit

_MATH = {{"error_model": "{model}"}}

_STEP = np.float32({step})


@njit(**_MATH)
def __next(x):
    return x + _STEP


@njit(**_MATH)
def _after_next(x):
    return __next(__next(x))


@njit(**_MATH)
def _other(x):
    return x
'''


def _made(model="numpy", step=1):
    return module_of(TEXT.format(model=model, step=step), "made")


def test_equal_functions_are_one():
    one, two = _made(), _made()
    assert one._after_next is two._after_next
    assert two._after_next(1.5) == 3.5


@pytest.mark.parametrize(("changed", "shared"), [({"step": 2}, True), ({"model": "python"}, False)])
def test_functions_that_use_something_else_are_not(changed, shared):
    one, two = _made(), _made(**changed)
    assert one._after_next is not two._after_next
    assert (one._after_next(1.5), two._after_next(1.5)) == (3.5, 1.5 + 2 * changed.get("step", 1))
    assert (one._other is two._other) is shared


def test_where_numba_may_not_compile_that_is_said():
    """Then ``njit`` gives back the function that it is given."""
    with pytest.raises(UnfitError, match="NUMBA_DISABLE_JIT is set"):
        compile_function(module_of("def plain(x):\n    return x\n", "disabled"), "plain", [])

"""What Numba compiles, and what is said where it may not."""

import pytest

from tilejit.compiler.jit.object_compiler import UnfitError, compile_function, module_of


def test_where_numba_may_not_compile_that_is_said():
    """Then ``njit`` gives back the function that it is given."""
    with pytest.raises(UnfitError, match="NUMBA_DISABLE_JIT is set"):
        compile_function(module_of("def plain(x):\n    return x\n", "disabled"), "plain", [])

"""A kernel that is all arithmetic, for benchmarks/choosing.py."""

import tilejit as tj


@tj.local
def orbit(z):
    """Where 64 steps of the logistic map lead: each step waits for the one before."""
    x = 0.5
    r = 2.5 + 0.0001 * z
    for _ in range(64):
        x = r * x * (1.0 - x)
    return x

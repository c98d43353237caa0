"""Functions of vectors and matrices that are written in the language itself: see `tilejit.compiler.syntax.written`.

Gauss's elimination with partial pivoting, as LAPACK's getrf has it (Golub and Van Loan, Matrix Computations, 3.4).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def norm(a: Any) -> Any:
    return math.sqrt(sum(v * v for v in a))


def det(a: Any) -> Any:
    m, product = a.copy(), 1.0
    for i in range(len(a)):
        place = i
        for k in range(i + 1, len(a)):
            place = k if abs(m[k, i]) > abs(m[place, i]) else place
        for j in range(len(a)):
            m[i, j], m[place, j] = m[place, j], m[i, j]
        product = product * m[i, i] if place == i else -product * m[i, i]
        for k in range(i + 1, len(a)):
            share = m[k, i] / m[i, i] if m[i, i] != 0 else 0.0
            for j in range(i, len(a)):
                m[k, j] -= share * m[i, j]
    return product


def solve(a: Any, b: Any) -> Any:
    m, x = a.copy(), np.array([v + 0.0 for v in b])
    for i in range(len(b)):
        place = i
        for k in range(i + 1, len(b)):
            place = k if abs(m[k, i]) > abs(m[place, i]) else place
        for j in range(len(b)):
            m[i, j], m[place, j] = m[place, j], m[i, j]
        x[i], x[place] = x[place], x[i]
        for k in range(i + 1, len(b)):
            share = m[k, i] / m[i, i]
            for j in range(i, len(b)):
                m[k, j] -= share * m[i, j]
            x[k] -= share * x[i]
    for i in range(len(b) - 1, -1, -1):
        for k in range(i + 1, len(b)):
            x[i] -= m[i, k] * x[k]
        x[i] = x[i] / m[i, i]
    return x

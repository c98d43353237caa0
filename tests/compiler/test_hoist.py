"""What is computed once for a launch, and what must stay with the pixel."""

import math

import numpy as np

import tilejit as tj
from tilejit.compiler.emitter.passes import hoisted


@tj.local
def lit(z, *, angle=30.0, steps=3, on=True):
    up = math.sin(math.radians(angle))
    across = math.cos(math.radians(angle)) * up
    plain = angle * 2
    near = math.sqrt(z)
    whole = math.floor(angle)
    twice = math.exp(angle)
    if on:
        twice = math.exp(angle * 0.5)
    more = 0.0
    for _ in range(steps):
        more += math.cos(angle)
    return up * z + across + plain + near + whole + twice + more


@tj.local
def by_row(z, *, y=tj.Y):
    tilt = math.sin(y)
    return z * tilt


def test_assignments_of_scalars_alone_are_taken_out():
    found = hoisted(lit)
    assert found.names == ("up", "across")
    assert found.form.body.scalars == ("angle", "steps", "on", "up", "across")
    up, across = found.values([np.float32(30), 3, True], np.dtype(np.float32))
    assert up.dtype == across.dtype == np.float32
    np.testing.assert_allclose([up, across], [0.5, 0.5 * math.cos(math.radians(30))], rtol=3e-7)


def test_what_varies_by_row_stays():
    assert hoisted(by_row).names == ()

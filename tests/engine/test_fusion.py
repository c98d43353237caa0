"""Chains of local kernels in one loop: the same bits as one by one, and what stays apart."""

import math

import numpy as np
import pytest

import tilejit as tj
from raster_kernels import same_bits
from tilejit.engine.planning import fusion

RANDOM = np.random.default_rng(3)
A = RANDOM.integers(0, 9, (23, 31)).astype(np.uint16)
B = RANDOM.integers(0, 9, (23, 31)).astype(np.float32)


@tj.local
def index(a, b):
    return (a - b) / (a + b)


@tj.local
def scaled(z, *, factor=2.0):
    return z * factor


@tj.local
def above(z, *, limit=1.0) -> np.uint8:
    return z > limit


@tj.local
def steps(z):
    n = 0
    while z < 100.0 and n < 9:
        z = z * 3.0 + 1.0
        n += 1
    return n


@tj.local
def inverse(z):
    return 1.0 / z if z > 0 else math.nan


@tj.local
def ignores(a, b):
    return a * 2.0


@tj.local(nodata="kernel")
def filled(z):
    return z if tj.is_valid(z) else -1.0


@tj.local
def both(z):
    return z * 2.0, z


@tj.local
def asked(z):
    return z * 2.0 if tj.is_valid(z) else 0.0


@tj.focal
def rise(z):
    return z[0, 1] - z[0, -1]


def taken_twice(z):
    return scaled(z) + inverse(z)


def inputs():
    return tj.from_array(A, nodata=3), tj.from_array(B)


CHAINS = {
    "three": (lambda a, b: above(scaled(index(a, b), factor=3), limit=0.5), 1),
    "integers": (lambda a, b: steps(scaled(index(a, b))), 1),
    "nodata within": (lambda a, b: above(inverse(scaled(index(a, b)))), 1),
    "expressions": (lambda a, b: above((index(a, b) + scaled(b)) * 2 - a, limit=3), 1),
    "statistics": (lambda a, b: scaled(index(a, b), factor=b.mean()) - b.max(), 1),
    "choices": (lambda a, b: tj.where(scaled(b) > 3, index(a, b), a), 3),
    "neighbours": (lambda a, b: scaled(scaled(rise(scaled(index(a, b))))), 3),
    "wider": (lambda _, b: scaled(b) * tj.from_array(A.astype(np.int32)), 2),
    "narrower": (lambda _, b: scaled(steps(b)), 2),
    "not read": (lambda a, b: scaled(ignores(a, scaled(b))), 3),
    "holes seen": (lambda a, _: scaled(filled(scaled(a))), 3),
    "one of two": (lambda _, b: scaled(both(b).band(2)), 2),
    "twice": (lambda a, b: taken_twice(index(a, b)), 2),
    "validity": (lambda a, _: scaled(asked(scaled(a))), None),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.filterwarnings("ignore::tilejit.NodataWarning")
def test_the_bits_are_those_of_kernels_one_by_one(name, monkeypatch):
    make, count = CHAINS[name]
    raster = make(*inputs())
    plan, found = raster.plan(), raster.compute(backend="python", tile=(9, 16))
    assert count is None or len(plan.steps) == count
    with monkeypatch.context() as patched:
        patched.setattr(fusion, "fused", lambda requests: requests)
        apart = raster.plan()
        assert len(apart.steps) >= len(plan.steps)
        assert same_bits(raster.compute(backend="python"), found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["three", "integers", "nodata within", "expressions"])
def test_on_the_cpu_and_in_other_processes(name, tmp_path):
    make, raster = CHAINS[name][0], CHAINS[name][0](*inputs())
    wanted = raster.compute(backend="python")
    assert same_bits(raster.compute(backend="cpu", tile=(9, 16)), wanted)
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, one in zip(paths, inputs(), strict=True):
        one.save(path, backend="python")
    assert same_bits(make(*map(tj.open, paths)).compute(executor="processes", workers=1), wanted)


def test_what_is_an_output_too_stays_one(tmp_path):
    a, b = inputs()
    one = index(a, b)
    tj.save({tmp_path / "index.tif": one, tmp_path / "above.tif": above(one)}, backend="python")
    assert same_bits(tj.open(tmp_path / "index.tif").compute(), one.compute(backend="python"))


def test_the_loop_shows_its_parts():
    a, b = inputs()
    assert above(scaled(index(a, b), factor=3)).kernel("python").split("\n")[:3] == [
        "def above(a, b):",
        "    t1 = index(a, b)",
        "    t2 = scaled(t1, factor=3.0)",
    ]

"""Counters of while loops: where their text shows how far they go, tables need no check and short loops no jump."""

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits

RNG = np.random.default_rng(15)
NODES = 12
SPLIT = tuple(float(v) for v in RNG.random(NODES))
LEAF = tuple(7 * k % 5 for k in range(2 * NODES + 1))
SHAPE = (9, 13)


@tj.local
def walk(z, w) -> np.int32:
    """At most four rounds; ``before`` is read after the loop, ``v`` is not."""
    node, before = 0, -1
    while node < NODES:
        v = z if node & 1 else w
        before = node
        node = 2 * node + 1 if v <= SPLIT[node] else 2 * node + 2
    return 100 * LEAF[node] + before


@tj.local
def counted(z) -> np.int32:
    """Twelve rounds stay a loop, and its index is known."""
    k = found = 0
    while k < NODES:
        if z > SPLIT[k]:
            found += 1
        k += 1
    return found


@tj.local
def above(z) -> np.int32:
    """The counter is read after it was changed, where it may be one too many."""
    k = total = 0
    while k < NODES:
        k += 1
        total += LEAF[k]
        if z < 0.1 * k:
            k += NODES
    return total


@tj.local
def back(z) -> np.int32:
    """The counter falls below where it began."""
    k = rounds = 0
    while k < NODES and rounds < 6:
        k = k - 2 if z < SPLIT[k] else k + 3
        rounds += 1
    return k + rounds


@tj.local
def started(z) -> np.int32:
    """The counter begins with what is known only while running."""
    k = int(z * 30)
    while k < NODES:
        k += 5
    return LEAF[min(k, 24)]


@tj.local
def halves(z) -> np.int32:
    """The counter is a float."""
    k, rounds = 0, 0
    while k < NODES:
        k = k + 2.5 if z < 0.5 else k + 4
        rounds += LEAF[int(k)]
    return rounds


@tj.local
def twice(z) -> np.int32:
    """The same counter in two loops."""
    k = total = 0
    while k < 4:
        total += LEAF[k]
        k += 2
    while k < NODES:
        total += LEAF[k] if z < SPLIT[k] else 1
        k += 3
    return total


@tj.local
def left(z) -> np.int32:
    """The loop may be left before its end."""
    k = 0
    while k < 6:
        if z < SPLIT[k]:
            break
        k = k + 2
    return k


KERNELS = walk, counted, above, back, started, halves, twice, left


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_bits_are_those_of_the_body(kernel):
    z = RNG.random((2, *SHAPE)).astype(np.float32)
    z[:, 0, 0], z[0, 1, 1] = np.nan, np.nan
    arrays = z[: len(kernel.rasters)]
    wanted, found = (kernel(*arrays, backend=backend) for backend in ("python", "cpu"))
    np.testing.assert_array_equal(bits(wanted), bits(found))


def test_a_walk_of_few_rounds_is_written_out_and_asks_no_index():
    assert not walk.form.has_while
    assert "outside" not in walk.form.body.notes


def test_a_loop_of_many_rounds_asks_no_index():
    assert counted.form.has_while
    assert "outside" not in counted.form.body.notes


@pytest.mark.parametrize("kernel", [back, halves])
def test_where_nothing_is_known_of_the_counter_indices_are_asked(kernel):
    assert kernel.form.has_while
    assert "outside" in kernel.form.body.notes


def test_loops_that_break_stay_loops():
    assert left.form.has_while

"""Whether a way gets tilejit's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Run, Way

TOLERANCE = 1e-4
"""The relative difference from which a result counts as another: Python computes in float64, a GPU rounds otherwise."""


def compared(run: Run, task: Task, way: Way) -> tuple[int, float]:
    """Compares a run's pixels with the reference, which the first run becomes.

    Returns:
        How many pixels differ, and the largest relative difference of the others.
    """
    reference = Path(task.reference)
    if not reference.exists():
        np.save(reference, np.stack(list(run.outputs)))
        return 0, 0.0
    expected = np.load(reference, mmap_mode="r")
    windows = [Window(0, 0, *run.outputs[0].shape)] if run.done is None else set(run.done)
    different, distance = 0, 0.0
    for window in windows:
        place = window.slices(Window(0, 0, *run.outputs[0].shape))
        found = [output[place] for output in run.outputs]
        more, further = differences(found, expected[(slice(None), *place)], exact=way.is_exact)
        different, distance = different + more, max(distance, further)
    return different, distance


def differences(found: Sequence[NDArray[Any]], expected: NDArray[Any], *, exact: bool) -> tuple[int, float]:
    """Compares arrays.

    Args:
        found: One for each result.
        expected: The same, stacked.
        exact: Whether every bit counts.

    Returns:
        How many pixels differ, and the largest relative difference of the others.

    Example:
        >>> differences([np.float32([1, np.nan])], np.float32([[1, np.nan]]), exact=True)
        (0, 0.0)
    """
    wrong = np.zeros(expected.shape[1:], bool)
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        same = (one == other) | ((one != one) & (other != other))  # noqa: PLR0124 - NaN differs from itself
        if same.all():
            continue
        if exact or other.dtype.kind != "f":
            wrong |= ~same
            continue
        with np.errstate(all="ignore"):
            far = np.abs(one.astype(np.float64) - other) / np.maximum(np.abs(other), _typical(other))
        near = same | (far <= TOLERANCE)
        wrong |= ~near
        largest = max(largest, float(far[near & ~same].max(initial=0.0)))
    return int(wrong.sum()), largest


def _typical(values: NDArray[Any]) -> float:
    """What small values are measured by, where a relative difference would say nothing."""
    finite = np.abs(values[np.isfinite(values)])
    return max(float(finite.mean()) if finite.size else 0.0, 1e-30)

"""Fixtures that several test modules share."""

import os
from pathlib import Path

import numba  # noqa: F401 - so that kernels are compiled here, and not in a process for each run
import pytest

from tilejit.compiler.jit.native_function import loader

LONGEST = ("test_benchmarks.py", "test_random_bodies.py", "test_resuming.py")
"""Test files that come first: at the end one of them would leave the other cores with nothing to do."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def test_data():
    """The folder of real rasters: TILEJIT_TEST_DATA, or shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TILEJIT_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real rasters at {folder}: set TILEJIT_TEST_DATA")
    return folder


@pytest.fixture
def native():
    """For what holds only where machine code is loaded without Numba."""
    _, obstacle = loader()
    if obstacle:
        pytest.skip(f"compiled functions are called through Numba: {obstacle}")

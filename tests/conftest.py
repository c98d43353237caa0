"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

from tilejit.compiler.jit import compile_process

compile_process._compiler.is_possible = False  # kernels are compiled here, and not in a process for each run

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

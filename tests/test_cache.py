"""The cache of generated modules: found again by the next process, and nobody else's to write to."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from kernels_for_tests import write_module
from tilejit import jit_cache as cache
from tilejit.language.cpu import cpu_source

HELPER = "def scaled(v):\n    return v * 3\n"
USER = textwrap.dedent("""
    import sys
    import numpy as np
    import tilejit as tj
    from tilejit.backends import get_backend
    from cached_helper import scaled

    @tj.focal
    def cached(z):
        return scaled(z[0, 1]) - z[0, -1]

    z = np.float32([[1, 2, 5], [1, 4, 5]])
    whole = cached(z)
    tile = get_backend("cpu").compile(cached, cached.signature([z.dtype]))
    out = np.zeros((2, 1), np.float32)
    tile([z], [out], [np.float32(np.nan)], [])
    assert whole[1, 1] == out[1, 0] == scaled(5) - 1
    stats = tile.function.stats
    file = sys.modules[tile.function.__module__].__file__
    print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), file)
""")


@pytest.fixture
def program(tmp_path):
    """A module that runs a kernel and prints its cache hits, misses and file."""
    (tmp_path / "cached_helper.py").write_text(HELPER, encoding="utf-8")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    return tmp_path


def _start(folder, **environment):
    home = {"HOME": str(folder), "TILEJIT_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, "user.py"], cwd=folder, env={**os.environ, **home, **environment},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def _run(folder, **environment):
    process = _start(folder, **environment)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    hits, misses, file = out.split()
    return int(hits), int(misses), Path(file)


def test_a_second_process_compiles_nothing(program):
    hits, misses, file = _run(program)
    assert (hits, misses) == (0, 1)
    assert file.parent == program / "cache"
    assert _run(program) == (1, 0, file)
    # A line more above the kernel changes no arithmetic.
    (program / "user.py").write_text(f"# a comment\n{USER}", encoding="utf-8")
    assert _run(program) == (1, 0, file)


def test_a_changed_helper_in_another_module_is_compiled_again(program):
    _, _, before = _run(program)
    (program / "cached_helper.py").write_text(HELPER.replace("3", "4"), encoding="utf-8")
    hits, misses, after = _run(program)
    assert (hits, misses) == (0, 1)
    assert after != before


def test_processes_race_for_a_cold_cache(program):
    processes = [_start(program) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert _run(program)[0] == 1


def test_numbas_own_cache_folder_is_left_alone(program):
    shared = program / "shared"
    shared.mkdir()
    _run(program, NUMBA_CACHE_DIR=str(shared))
    assert not list(shared.rglob("*"))
    assert list((program / "cache").rglob("*.nbi"))
    assert _run(program, NUMBA_CACHE_DIR=str(shared))[0] == 1


def test_a_home_that_cannot_be_written(program):
    (program / "cache").write_text("a file, no folder", encoding="utf-8")
    hits, misses, file = _run(program)
    assert (hits, misses) == (0, 1)
    assert file.parent.name.startswith("tilejit-")
    assert not file.parent.exists()


@pytest.fixture
def fresh(monkeypatch):
    """Forgets the folder before and after, so that a test may name another."""
    cache.cache_folder.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    cache.cache_folder.cache_clear()


def test_the_folder_is_private(fresh, tmp_path):
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "a" / "b"))
    folder, reason = cache.cache_folder()
    assert (folder, reason) == (tmp_path / "a" / "b", "TILEJIT_CACHE_DIR")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_folder_is_the_users_cache_folder(fresh, tmp_path):
    fresh.delenv("TILEJIT_CACHE_DIR", raising=False)
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh.setattr(sys, "platform", "linux")
    assert cache.cache_folder() == (tmp_path / "tilejit", "the user's cache folder")


def _assert_private_instead_of(folder, problem):
    private, reason = cache.cache_folder()
    assert private != folder
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert reason == f"for this process only: {folder} {problem}"


def test_a_folder_that_others_write_to_is_not_used(fresh, tmp_path):
    tmp_path.chmod(0o777)
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    _assert_private_instead_of(tmp_path, "can be written by others (chmod 700 mends it)")


def test_another_users_folder_is_not_used(fresh, tmp_path):
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    fresh.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    _assert_private_instead_of(tmp_path, "belongs to another user")


def test_a_folder_that_cannot_be_made(fresh, tmp_path):
    (tmp_path / "file").touch()
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    _assert_private_instead_of(tmp_path / "file" / "cache", "cannot be written (Not a directory)")


def test_a_module_that_fails_to_import_is_forgotten(fresh, tmp_path):
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        cache.load_module("1 / 0\n", "broken", "")
    assert not [name for name in set(sys.modules) - before if "broken" in name]


def test_names_of_modules_are_short_and_plain(fresh, tmp_path):
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    name = cache.load_module("X = 1\n", "é" * 10 + "n" * 300, "").__name__
    assert name.isascii()
    assert len(name) < 100


def test_the_text_does_not_depend_on_where_the_kernel_stands(tmp_path):
    text = "@tj.local\ndef body(z):\n    return z + 1\n"
    texts = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        above = "\n" * len(texts)
        kernel = write_module(tmp_path / folder, above + text, name="standing").body
        texts.append(cpu_source(kernel, kernel.signature([np.dtype("f4")]), whole=False))
    assert texts[0] == texts[1]

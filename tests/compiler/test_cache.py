"""The cache of generated modules: found again by the next process, and nobody else's to write to."""

import contextlib
import errno
import itertools
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from kernels_for_tests import write_module
from tilejit.compiler.emitter.cpu import cpu_source
from tilejit.compiler.jit import cache, modules
from tilejit.compiler.jit.cache import read_kept, write_kept
from tilejit.compiler.jit.native_function import NativeFunction

pytestmark = pytest.mark.slow

TREBLE = "def treble(n):\n    return 3 * n\n"
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
    tile = get_backend("cpu").compile(cached, cached.signature([z.dtype]))
    out = np.zeros((2, 1), np.float32)
    tile([z], [out], [np.float32(np.nan)], [])
    assert cached(z.astype(np.float64))[1, 1] == out[1, 0] == scaled(5) - 1
    print(int("tilejit.compiler.jit.compile_process" in sys.modules), int("numba" in sys.modules))
""")


@pytest.fixture
def program(tmp_path):
    """A module that runs a kernel over a float32 tile and a float64 array, and prints whether it compiled any of the two."""
    (tmp_path / "cached_helper.py").write_text(HELPER, encoding="utf-8")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    return tmp_path


def _start(folder, script="user.py", **environment):
    home = {"HOME": str(folder), "TILEJIT_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, script], cwd=folder, env={**os.environ, **home, **environment},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def _run(folder, **environment):
    return _compiled(_start(folder, **environment))


def _compiled(process):
    """Whether a process compiled, which then ended well."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert out in {"0 0\n", "1 0\n"}, out  # Numba is never imported here
    return out == "1 0\n"


def _files(program):
    """The machine code that is kept: for each of the two dtypes."""
    return sorted(p.name for p in (program / "cache").rglob("*.o"))


def test_a_second_process_compiles_nothing(program):
    assert _run(program)
    files = _files(program)
    assert len(files) == 2
    assert not _run(program)
    # A line more above the kernel changes no arithmetic.
    (program / "user.py").write_text(f"# a comment\n{USER}", encoding="utf-8")
    assert not _run(program)
    assert _files(program) == files


def test_a_changed_helper_in_another_module_is_compiled_again(program):
    _run(program)
    (program / "cached_helper.py").write_text(HELPER.replace("3", "4"), encoding="utf-8")
    assert _run(program)
    assert len(_files(program)) == 4


def test_another_processor_compiles_again(program):
    _run(program)
    assert _run(program, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")


DAMAGES = [
    lambda code: code[:-100],
    lambda code: code[:0],
    lambda code: code[:7],
    lambda code: code[:200],
    lambda code: code[: len(code) // 2] + bytes([code[len(code) // 2] ^ 1]) + code[len(code) // 2 + 1 :],
    lambda code: b"{}" + code,
]


def test_damaged_code_is_made_again(program):
    """Whatever is cut or altered is as if it were not there: never run, and no failure."""
    _run(program)
    whole = {path: path.read_bytes() for path in (program / "cache").glob("*.o")}
    assert len(whole) == 2
    for damage, (path, content) in zip(DAMAGES[3:], whole.items(), strict=False):
        path.write_bytes(damage(content))
    assert _run(program)
    assert all(path.stat().st_size == len(content) for path, content in whole.items())
    assert not _run(program)


def test_files_are_cut_while_two_processes_read_them(program):
    """Also where they appear at that moment; both give the right pixels."""
    processes, kinds = [_start(program) for _ in range(2)], set()
    sizes = itertools.cycle((200, 7, 0))
    while any(process.poll() is None for process in processes):
        for path in (program / "cache").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, min(path.stat().st_size, next(sizes)))
                kinds.add(path.suffix)
        time.sleep(0.01)
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert {"", ".o"} <= kinds


@pytest.mark.parametrize("damage", DAMAGES[1:5])
def test_any_file_of_the_cache_may_be_damaged(fresh, tmp_path, damage):
    """Each in turn: what would have been read of it is made anew."""
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    _use_all_that_is_kept()
    for path in list(tmp_path.iterdir()):
        path.write_bytes(damage(path.read_bytes()))
        _use_all_that_is_kept()
        assert path.stat().st_size == 32 if path.name == "key" else read_kept(path) is not None
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".o"}


def _use_all_that_is_kept():
    """As a new process does."""
    cache._key.cache_clear()
    assert NativeFunction(TREBLE, "treble", "treble")(np.int64(14)) == 42


def test_what_is_kept_is_the_users_alone_whatever_others_may_see(tmp_path):
    before = os.umask(0o002)  # the default of many systems
    try:
        write_kept(tmp_path / "a", b"content")
    finally:
        os.umask(before)
    assert read_kept(tmp_path / "a") == b"content"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose first byte cannot be read")
def test_a_disk_that_cannot_be_read():
    with pytest.raises(OSError, match="Input/output error"):
        Path("/proc/self/mem").read_bytes()
    assert cache._own_bytes(Path("/proc/self/mem")) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_not_there(tmp_path, damage):
    content = np.random.default_rng(0).bytes(300)
    write_kept(tmp_path / "a", content)
    assert read_kept(tmp_path / "a") == content
    (tmp_path / "a").write_bytes(damage((tmp_path / "a").read_bytes()))
    assert read_kept(tmp_path / "a") is None


def test_what_was_planted_is_not_run(program):
    """A pickle that would leave a mark, under every name, also of files that Numba's own cache would load."""
    _run(program)
    mark = program / "mark"
    planted = pickle.dumps(Mark(str(mark)))
    module = next((program / "cache").glob("*.o")).name[:27]
    for name in [*_files(program), f"_tilejit_{module}.py", f"__pycache__/_tilejit_{module}.whole-9.py311.nbi", "key"]:
        (program / "cache" / name).parent.mkdir(exist_ok=True)
        (program / "cache" / name).write_bytes(planted)
    assert _run(program)
    assert not _run(program)
    assert not mark.exists()


class Mark:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("change", ["public", "link", "cut", "folder"])
def test_a_key_that_is_no_secret_is_made_anew(tmp_path, change):
    path, key = tmp_path / "a", tmp_path / "key"
    write_kept(path, b"content")
    assert (read_kept(path), stat.S_IMODE(key.stat().st_mode)) == (b"content", 0o600)
    secret = key.read_bytes()
    key.unlink()
    if change == "public":
        key.write_bytes(secret)
        key.chmod(0o640)
    elif change == "link":
        (tmp_path / "elsewhere").write_bytes(secret)
        (tmp_path / "elsewhere").chmod(0o600)
        key.symlink_to(tmp_path / "elsewhere")
    elif change == "cut":
        key.write_bytes(secret[:7])
    else:
        key.mkdir()
    cache._key.cache_clear()
    assert read_kept(path) is None
    write_kept(path, b"other")
    assert read_kept(path) == (None if change == "folder" else b"other")


def test_the_first_key_of_a_race_stays(tmp_path):
    write_kept(tmp_path / "a", b"content")
    cache._make_key(tmp_path / "key")  # as one that looked before the first was there
    cache._key.cache_clear()
    assert read_kept(tmp_path / "a") == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "key"]


def test_a_file_system_without_hard_links_has_a_key_too(tmp_path, monkeypatch):
    def none(*_, **__):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    write_kept(tmp_path / "a", b"content")
    assert read_kept(tmp_path / "a") == b"content"


def test_kept_files_are_not_swapped_and_not_others(tmp_path, monkeypatch):
    write_kept(tmp_path / "a", b"content")
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
    assert read_kept(tmp_path / "b") is None
    assert read_kept(tmp_path / "a") == b"content"
    (tmp_path / "a").chmod(0o666)
    assert read_kept(tmp_path / "a") is None
    (tmp_path / "a").chmod(0o600)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert read_kept(tmp_path / "a") is None


def test_a_full_disk_costs_compiling_and_nothing_else(program):
    """Files of more than 100 bytes cannot be written."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); import user"
    (program / "limited.py").write_text(limit, encoding="utf-8")
    process = _start(program, script="limited.py")
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out.split()[:1]) == (0, ["1"]), errors
    assert not errors
    assert not _files(program)


def test_processes_race_for_a_cold_cache(program):
    processes = [_start(program) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert not _run(program)


def test_numbas_own_cache_folder_is_left_alone(program):
    shared = program / "shared"
    shared.mkdir()
    _run(program, NUMBA_CACHE_DIR=str(shared))
    assert not list(shared.rglob("*"))
    assert not _run(program, NUMBA_CACHE_DIR=str(shared))


def test_a_home_that_cannot_be_written(program):
    (program / "cache").write_text("a file, no folder", encoding="utf-8")
    assert _run(program, TMPDIR=str(program))
    assert not list(program.glob("tilejit-*"))


def test_where_numba_may_not_compile_kernels_are_compiled(program):
    assert _run(program, NUMBA_DISABLE_JIT="1")


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
        modules.load_module("1 / 0\n", "broken", "")
    assert not [name for name in set(sys.modules) - before if "broken" in name]


def test_a_numba_with_other_parts_keeps_nothing(tmp_path):
    """Its dispatchers ask their cache for more, or what they compile cannot be taken apart."""
    asks_more = SimpleNamespace(load_overload=None, save_overload=None, looked_up=None)
    function = SimpleNamespace(_cache=asks_more)
    modules.keep_overloads(function, lambda *_: tmp_path / "a")
    assert function._cache is asks_more
    kept = modules._Overloads(lambda *_: tmp_path / "a")
    kept.save_overload("signature", SimpleNamespace(codegen=SimpleNamespace(magic_tuple=tuple)))
    assert kept.load_overload("signature", SimpleNamespace()) is None
    assert not list(tmp_path.iterdir())


def test_names_of_modules_are_short_and_plain(fresh, tmp_path):
    fresh.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    name = modules.load_module("X = 1\n", "é" * 10 + "n" * 300, "").__name__
    assert name.isascii()
    assert len(name) < 100


def test_the_text_does_not_depend_on_where_the_kernel_stands(tmp_path):
    text = "@tj.local\ndef body(z):\n    return z + 1\n"
    texts = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        above = "\n" * len(texts)
        kernel = write_module(tmp_path / folder, above + text, name="standing").body
        texts.append(cpu_source(kernel, kernel.signature([np.dtype("f4")])))
    assert texts[0] == texts[1]


def test_a_user_without_a_home(fresh, tmp_path):
    """Without HOME and without an entry among the users; and without a temporary folder nothing is kept, and all runs."""
    for name in ("TILEJIT_CACHE_DIR", "XDG_CACHE_HOME"):
        fresh.delenv(name, raising=False)
    fresh.setattr(Path, "home", mock.Mock(side_effect=RuntimeError("Could not determine home directory.")))
    private, reason = cache.cache_folder()
    assert reason == "for this process only: the user has no home folder"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    cache.cache_folder.cache_clear()
    fresh.setattr(tempfile, "mkdtemp", mock.Mock(side_effect=OSError(30, "Read-only file system")))
    folder, reason = cache.cache_folder()
    assert folder is None
    assert reason.startswith("nothing is kept: the user has no home folder, and there is no temporary folder")
    assert NativeFunction(TREBLE, "treble", "treble")(np.int64(14)) == 42
    assert modules.load_module("X = 1\n", "kept_nowhere", "").X == 1


def test_a_home_without_a_place_is_none(fresh):
    for name in ("TILEJIT_CACHE_DIR", "XDG_CACHE_HOME"):
        fresh.delenv(name, raising=False)
    fresh.setenv("HOME", ".")
    assert cache.cache_folder()[1] == "for this process only: the user has no home folder"


def test_a_relative_name_is_not_another_folder_later(fresh, tmp_path):
    fresh.chdir(tmp_path)
    fresh.setenv("TILEJIT_CACHE_DIR", "here")
    assert cache.cache_folder() == (tmp_path / "here", "TILEJIT_CACHE_DIR")

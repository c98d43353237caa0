"""The compiler's process, and what becomes of code where it fails; nobody imports Numba."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

import tilejit

pytestmark = pytest.mark.slow

ASK = """
import os, signal, sys, threading
from tilejit.compiler.jit.native_function import NativeFunction

def times(n, body="return {n} * x"):
    text = "def times(x):\\n    "
    return NativeFunction(text + body.replace("{n}", str(n)), "times", "times")

def compiler():
    from tilejit.compiler.jit import compile_process
    return compile_process._compiler

assert times(3)(14) == 42
"""
NEVER = "\nassert not [name for name in sys.modules if name.split('.')[0] == 'numba'], 'Numba was imported'\n"

HERE = "\nassert compiler().process is None, 'there is another process'\n"


def _run(tmp_path, program, *options, before="", after="", **popen):
    code = before + ASK + textwrap.dedent(program) + after
    variables = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path / "cache")}
    return subprocess.run([sys.executable, *options, "-c", code], env=popen.pop("env", variables), check=False,
                          capture_output=True, text=True, timeout=120, cwd=tmp_path, **popen)  # fmt: skip


def _passes(tmp_path, program="", *options, after=NEVER, **popen):
    done = _run(tmp_path, program, *options, after=after, **popen)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


@pytest.mark.parametrize("options", [(), ("-I",), ("-W", "error"), ("-X", "dev", "-W", "error", "-E")])
def test_code_is_compiled_elsewhere(tmp_path, options):
    _passes(tmp_path, "", *options)


def test_one_process_compiles_all_and_ends_when_it_is_told_to(tmp_path):
    _passes(tmp_path, """
    from tilejit.compiler.jit.native_function import finish_compiling
    process = compiler().process.process
    assert times(4)(2) == 8
    assert compiler().process.process is process and process.poll() is None
    finish_compiling()
    assert process.poll() is not None and compiler().process is None
    finish_compiling()
    assert times(5)(2) == 10
    """)  # fmt: skip


def test_it_ends_when_nobody_asks_and_is_started_again(tmp_path):
    _passes(tmp_path, """
    first = compiler().process.process
    first.wait(20)
    assert first.returncode == 0
    assert times(4)(2) == 8
    """, before="from tilejit.compiler.jit import compile_process; compile_process.IDLE_SECONDS = 0.5")  # fmt: skip


def test_it_ends_with_the_one_that_asks(tmp_path):
    """Also where that is killed."""
    done = _run(tmp_path, """
    print(compiler().process.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """)  # fmt: skip
    pid, until = int(done.stdout), time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_was_killed_is_an_error_and_the_next_call_has_another(tmp_path):
    _passes(tmp_path, """
    os.kill(compiler().process.process.pid, signal.SIGKILL)
    try:
        times(4)(2)
    except Exception as error:
        assert "the process that compiles was ended by SIGKILL" in str(error), error
    else:
        raise AssertionError
    assert times(4)(2) == 8
    """)  # fmt: skip


@pytest.mark.parametrize("before", [
    "import sys; sys.executable = ''",
    "import sys; sys.executable = '/bin/false'",
    "import sys; sys.executable = '/no/python'",
    "import sys; sys.frozen = True",
    "import subprocess\ndef none(*_, **__): raise OSError('no processes here')\nsubprocess.Popen = none",
])  # fmt: skip
def test_where_there_can_be_none_code_is_compiled_here(tmp_path, before):
    _passes(tmp_path, after=HERE, before=f"{before}\n")


def test_one_that_does_not_answer_is_none(tmp_path):
    """As where an import hook of the host's finds it."""
    (tmp_path / "python").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    _passes(tmp_path, after=HERE, before=f"import sys; sys.executable = '{tmp_path}/python'\n")


@pytest.mark.parametrize("before", ["", "import sys; sys.executable = ''\n"])
def test_errors_have_the_same_text(tmp_path, before):
    done = _run(tmp_path, "times(1, 'return x.nothing')(2)", before=before)
    assert done.returncode == 1
    assert "BackendError: tilejit has written what it cannot compile" in done.stderr
    assert ".nothing, in times: return x.nothing" in done.stderr


def test_threads_and_forks(tmp_path):
    _passes(tmp_path, """
    import warnings
    warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)
    calls = [threading.Thread(target=lambda n=n: times(n)(1)) for n in range(4, 8)]
    for call in calls: call.start()
    if os.fork() == 0:
        assert times(9)(2) == 18
        os._exit(0)
    assert os.wait()[1] == 0
    for call in calls: call.join()
    assert times(10)(2) == 20
    """)  # fmt: skip


def test_forks_while_others_load_machine_code(tmp_path):
    """LLVM's locks are not held when a process is made: two of three such children would wait for ever."""
    _passes(tmp_path, """
    import warnings
    warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)
    assert times(4)(1) == 4 and times(5)(1) == 5
    loaded, ends = [], threading.Event()
    def load():
        while not ends.is_set():
            loaded.append(times(4))
            loaded[-1](1)
    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads: thread.start()
    for _ in range(20):
        if os.fork() == 0:
            signal.alarm(20)
            os._exit(times(5)(2) - 10)
        assert os.wait()[1] == 0
    ends.set()
    for thread in threads: thread.join()
    """)  # fmt: skip


def test_without_standard_streams(tmp_path):
    _passes(tmp_path, before="import os\nfor k in (0, 1): os.close(k)\n")


def test_from_an_archive(tmp_path):
    """Where tilejit lies in a zip file, as in a zipapp."""
    package = Path(tilejit.__file__).parent
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for file in package.rglob("*"):
            archive.write(file, file.relative_to(package.parent))
    check = "import tilejit; assert 'app.zip' in tilejit.__file__"
    _passes(tmp_path, check, before=f"import sys; sys.path.insert(0, {str(tmp_path / 'app.zip')!r})\n")


def test_ctrl_c_ends_both(tmp_path):
    done = _run(tmp_path, """
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    process = compiler().process.process
    text = "y = x\\n" + "".join(f"    y = y * {k} + x // (y + {k})\\n" for k in range(6000)) + "    return y"
    try:
        times(0, text)(1)
    except KeyboardInterrupt:
        assert process.poll() is not None and compiler().process is None
        assert times(4)(2) == 8
        raise
    """)  # fmt: skip
    assert done.returncode == -signal.SIGINT
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


FILES = """
import os, sys
import numpy as np
import tilejit as tj
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit_kernels.terrain import slope

tj.from_array(np.random.default_rng(0).random((600, 600), np.float32)).save("dem.tif", profile={"predictor": 3}, overwrite=True)
raster = slope(tj.open("dem.tif"), dx=1, dy=1)
plan = raster.plan("slope.tif", memory="300MB")
assert plan.memory < 300e6, plan
seen = plan.compiler, "before that 75.0 MB to compile" in str(plan)
raster.save("slope.tif", memory="300MB", overwrite=True)
compiler = sys.modules.get("tilejit.compiler.jit.compile_process")
assert compiler is None or compiler._compiler.process is None
assert "numba" not in sys.modules
print(*seen)
"""


def test_a_plan_says_what_compiling_takes_and_nothing_is_compiled_while_it_runs(tmp_path):
    """The process that compiles has ended before tiles are read."""
    variables = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path / "cache")}
    for seen in ("apart True\n", "ready False\n"):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", FILES], env=variables, check=False, cwd=tmp_path,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert (done.returncode, done.stdout) == (0, seen), done.stderr

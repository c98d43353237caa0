"""Facts of a kernel: kept for the next process, which leaves the compiler out, and others where anything changes."""

import enum
import importlib
import marshal
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tilejit as tj
from tilejit.compiler.jit import cache
from tilejit.kernel import facts as kernel_facts
from tilejit.kernel.discovery import load_file
from tilejit.kernel.facts import Dependencies, Facts

LIGHT = {"form", *(f"form.{n}" for n in ("captured", "kinds", "parameters", "source")), "jit"}
"""What of the compiler every process imports."""
BODY = """
import math
import numpy as np
import tilejit as tj
from helpers_of_facts import doubled

GAIN = 2.0
TABLE = [1.0, 2.0]


@tj.focal
def rise(z, *, scale=1.0):
    return GAIN * TABLE[0] * doubled(z[0, 1] - z[0, -1]) * math.sqrt(scale)
"""
DAMAGES = (lambda kept: kept[:40]), (lambda kept: kept[:-1] + b"!"), (lambda kept: kept[:0])
HELPERS = "OFFSET = 1.0\n\n\ndef doubled(v, factor=2.0):\n    return OFFSET + factor * v\n"


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """An empty folder for what is kept, in which facts are looked for as by a new process."""
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "kept"))
    for function in (cache.cache_folder, kernel_facts._page, kernel_facts.names_in):
        function.cache_clear()
    yield tmp_path / "kept"
    monkeypatch.undo()
    for function in (cache.cache_folder, kernel_facts._page, kernel_facts.names_in):
        function.cache_clear()


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Makes the kernel of `BODY` anew, with texts replaced."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(old="", new=""):
        for name, text in {"helpers_of_facts": HELPERS, "body_of_facts": BODY}.items():
            (tmp_path / f"{name}.py").write_text(text.replace(old, new) if old else text, "utf-8")
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("body_of_facts").rise

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield make
    for name in ("helpers_of_facts", "body_of_facts"):
        sys.modules.pop(name, None)


def test_a_warm_run_leaves_the_compiler_out(tmp_path):
    program = textwrap.dedent("""
        import sys
        import numpy as np
        import tilejit as tj
        from tilejit_kernels.terrain import slope

        tj.from_array(np.float32([[1, 2, 4], [2, 3, 5], [0, 1, 2]])).save("z.tif", overwrite=True)
        slope(tj.open("z.tif"), dx=1.0, dy=1.0, z_factor=1.0).save("slope.tif", overwrite=True)
        print(*sorted({name.split(".", 2)[2] for name in sys.modules if name.startswith("tilejit.compiler.")}))
    """)
    environment = {**os.environ, "TILEJIT_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program]
    first, second = (
        subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert {"lowering", "syntax"} <= set(first.split())
    assert {name for name in second.split() if not name.startswith("jit.")} == LIGHT


def test_facts_are_read_as_they_were_made(kept, made):
    facts = made().facts
    again = made()
    assert again.facts == facts
    assert "form" not in vars(again)
    assert {path.suffix for path in kept.iterdir()} == {".facts", ".names", ""}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_facts_are_made_anew(kept, made, damage):
    facts = made().facts
    for path in kept.iterdir():
        if path.suffix in {".facts", ".names"}:
            path.write_bytes(damage(path.read_bytes()))
    for function in (kernel_facts._page, kernel_facts.names_in):
        function.cache_clear()
    again = made()
    assert again.facts == facts
    assert "form" in vars(again)
    assert all(cache.read_kept(path) is not None for path in kept.iterdir() if path.suffix in {".facts", ".names"})


CHANGES = {
    "constant": ("GAIN = 2.0", "GAIN = 3.0"),
    "kind of a constant": ("GAIN = 2.0", "GAIN = 2"),
    "table": ("TABLE = [1.0, 2.0]", "TABLE = [1.5, 2.0]"),
    "body": ("z[0, -1]", "z[0, -2]"),
    "comment": ("import math", "import math  # as ever"),
    "helper": ("factor * v", "factor + v"),
    "default of a helper": ("factor=2.0", "factor=2.5"),
    "constant of a helper": ("OFFSET = 1.0", "OFFSET = 0.0"),
    "function of a name": ("from helpers_of_facts import doubled", "from math import exp as doubled"),
    "default": ("scale=1.0", "scale=1"),
    "annotation": ("def rise(z,", "def rise(z: np.int16,"),
    "results": ("scale=1.0):", "scale=1.0) -> np.float64:"),
    "nodata": ("@tj.focal", '@tj.focal(nodata="kernel")'),
    "edge": ("@tj.focal", '@tj.focal(edge="nearest")'),
    "edge's number": ("@tj.focal", "@tj.focal(edge=0.0)"),
    "radius": ("@tj.focal", "@tj.focal(radius=4)"),
    "fast": ("@tj.focal", "@tj.focal(fast=True)"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_is_in_the_hash(kept, made, change):
    """Facts of the one are not those of the other, in whatever order they are asked for."""
    made().facts  # noqa: B018 - kept
    files = set(kept.iterdir())
    changed = made(*change)
    assert "form" not in vars(changed)
    changed.facts  # noqa: B018 - found out
    assert "form" in vars(changed)
    assert set(kept.iterdir()) > files


def test_a_nested_function_sees_the_outer_ones_constants(kept, made):
    nested = "GAIN = 2.0\n", "GAIN = 2.0\nSTEP = 1.0\n"
    body = BODY.replace(
        "    return GAIN", "    GAIN = 4.0\n    inner = lambda v: v + STEP\n    return inner(z[0, 0]) * GAIN"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "BODY", body)
        keys = [made(*change).dependencies.key for change in (nested, (nested[0], nested[1].replace("1.0", "3.0")))]
        same = [made(nested[0], f"GAIN = {gain}\nSTEP = 1.0\n").fingerprint for gain in (2.0, 5.0)]
    assert len(set(keys)) == 2
    assert len(set(same)) == 1  # a local of the same name hides it


NESTED = """
import tilejit as tj
FAR, STEP = 1.0, 2.0


@tj.local
def out(z):
    def middle(v, more=1.0):
        def inner(w):
            return w + FAR
        return inner(v) + more
    return middle(z)
"""


def test_what_functions_inside_functions_see_is_in_the_hash(kept, tmp_path):
    texts = [NESTED, NESTED.replace("FAR, STEP = 1.0", "FAR, STEP = 3.0"), NESTED.replace("more=1.0", "more=STEP")]
    found = []
    for number, text in enumerate(texts):
        file = tmp_path / f"nested_{number}.py"
        file.write_text(text, "utf-8")
        found.append(load_file(str(file)).out)
    assert "FAR" in kernel_facts.names_in(found[0].function, "body")[0]
    results = [kernel(np.float32([[1]]))[0, 0] for kernel in found]
    assert results == [3.0, 5.0, 4.0]
    assert found[2].dependencies.key is None  # a default may be computed by anything


def test_a_file_may_lie_elsewhere(kept, tmp_path):
    """As the cells of a notebook do, in every session."""
    text = "import tilejit as tj\n\n\n@tj.local\ndef twice(z):\n    inner = lambda v: 2 * v\n    return inner(z)\n"
    files = [tmp_path / folder / "cell.py" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(text, "utf-8")
    one, two = (load_file(str(file)).twice for file in files)
    assert one.facts == two.facts
    assert "form" in vars(one)
    assert "form" not in vars(two)


def test_another_compiler_has_other_facts(kept, made, monkeypatch):
    key = made().dependencies.key
    monkeypatch.setattr(kernel_facts, "_compiler", lambda: "another")
    kernel_facts._page.cache_clear()
    kernel_facts.names_in.cache_clear()
    assert made().dependencies.key not in {key, None}


def test_the_compiler_is_told_by_its_files(monkeypatch):
    states = iter(range(10**6))
    before = kernel_facts._compiler()
    kernel_facts._compiler.cache_clear()
    monkeypatch.setattr(kernel_facts, "_state", lambda _: (next(states),))
    try:
        assert kernel_facts._compiler() != before
        kernel_facts._compiler.cache_clear()
        monkeypatch.setattr(kernel_facts, "_COMPILER", ("compiler", "there is none"))
        assert kernel_facts._compiler() is None
        assert Dependencies(plain).key is None
    finally:
        kernel_facts._compiler.cache_clear()


class Mode(enum.Enum):
    A, B = 1, 2


@dataclass(frozen=True)
class Record:
    gain: float
    table: tuple = (1, 2)


VALUE = 1.0


def plain(z):
    return z * VALUE


VALUES = [
    1, 1.0, True, -0.0, 0.0, np.float32(1), np.float64(1), float("nan"), "1", None, (1,), [1], {1: 1}, {1: 2}, (1, (2,)),
    np.array([1]), np.array([1.0]), np.array([[1]]), Mode.A, Mode.B, Record(1.0), Record(2.0), Record(1.0, (2,)),
    frozenset({1}), range(3), np, np.sin, np.cos, len, int, float, np.finfo("f4"), np.finfo("f8"),
]  # fmt: skip


def test_no_two_values_have_one_hash(monkeypatch):
    keys = []
    for value in VALUES:
        monkeypatch.setitem(globals(), "VALUE", value)
        keys += [Dependencies(plain).key, Dependencies(plain).key]
    assert None not in keys
    assert len(set(keys)) * 2 == len(keys)


def test_what_cannot_be_hashed_is_not_kept(kept, monkeypatch):
    cycle = []
    cycle.append(cycle)
    for value in (object(), cycle, np.array([None]), {1: object()}, Mode, {1}):
        monkeypatch.setitem(globals(), "VALUE", value)
        assert Dependencies(plain).key is None
    monkeypatch.setitem(globals(), "VALUE", 3.0)
    assert Dependencies(plain).key is not None


def test_flags_are_told_by_what_they_are(monkeypatch):
    """One that is compared by ``is`` is not another of the same text."""
    text, found = "a mode", set()
    for other in (text, text.encode().decode()):
        monkeypatch.setitem(globals(), "VALUE", (text, other))
        found.add(Dependencies(plain).key)
    assert len(found) == 2


def test_what_is_refused_is_never_kept(kept, made):
    for _ in range(2):
        with pytest.raises(tj.TilejitError, match="a path through the body returns nothing"):
            made("    return GAIN", "    if scale > 1:\n        return GAIN")
    kernel = made("doubled(z", "unheard_of(z")
    for _ in range(2):
        with pytest.raises(tj.TilejitError, match="unheard_of"):
            kernel.facts  # noqa: B018
    assert not list(kept.glob("*.facts"))


def test_a_list_that_is_changed_is_refused(kept, made):
    for _ in range(2):  # the first time found out, then read
        kernel = made()
        z = np.float32([[1, 2, 4]])
        kernel(z)
        importlib.import_module("body_of_facts").TABLE.append(3.0)
        with pytest.raises(tj.TilejitError, match="TABLE was changed since rise was first used"):
            kernel(z)


def test_what_was_missing_may_be_defined(kept, made):
    kernel = made("from helpers_of_facts import doubled\n", "")
    with pytest.raises(tj.TilejitError, match="doubled"):
        kernel.facts  # noqa: B018
    importlib.import_module("body_of_facts").doubled = importlib.import_module("helpers_of_facts").doubled
    assert kernel.radius == (0, 1)


def test_a_constant_that_is_changed_before_more_is_compiled_is_refused(kept, made):
    made().facts  # noqa: B018 - kept
    kernel = made()
    assert kernel.radius == (0, 1)
    importlib.import_module("body_of_facts").GAIN = 5.0
    with pytest.raises(tj.TilejitError, match="was changed since it was first used"):
        kernel.form  # noqa: B018


def test_a_file_that_is_changed_meanwhile_is_not_asked(kept, made):
    made().facts  # noqa: B018 - kept
    kernel = made()
    Path(kernel.function.__code__.co_filename).write_text("nothing\n", "utf-8")
    assert kernel.form.radius == (0, 1)


def test_machine_code_that_is_gone_is_made_anew(kept, made):
    z = np.float32([[1, 2, 4]])
    expected = made()(z)
    (code,) = kept.glob("rise_*.o")
    code.unlink()
    np.testing.assert_array_equal(made()(z), expected)
    assert code.exists()


def test_a_radius_that_is_not_decided_is_refused_whatever_is_kept(kept, made):
    made().facts  # noqa: B018 - of the same body, with no rule
    kernel = made(
        "@tj.focal\ndef rise(z, *, scale=1.0)", "@tj.focal(radius=lambda far: far)\ndef rise(z, *, far: int, scale=1.0)"
    )
    with pytest.raises(tj.TilejitError, match="its radius is decided by parameters"):
        kernel.facts  # noqa: B018


def test_facts_are_plain():
    facts = stacked.facts
    assert Facts(*marshal.loads(marshal.dumps(tuple(facts)))) == facts  # noqa: S302 - our own


@tj.series
def stacked(t, qa: np.uint8):
    total = 0.0
    for k in range(len(t)):
        total += t[k] if qa[k] > 0 else t[0]
    return total, qa[1] > 1

"""The line on a terminal that tells what is waited for."""

import io
import time
from types import SimpleNamespace

import pytest

from tilejit.system import program


@pytest.fixture
def terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(program, "sys", SimpleNamespace(stderr=stream))  # pytest puts its own in place of the program's
    monkeypatch.setattr(program, "is_terminal", lambda found: found is stream)
    monkeypatch.setattr(program, "PATIENCE", 0.01)
    return stream


def wait_for(stream):
    for _ in range(500):
        if stream.getvalue():
            return
        time.sleep(0.01)


def test_it_is_shown_and_taken_away(terminal):
    with program.told_on_terminal("compiling slope ..."):
        wait_for(terminal)
    assert terminal.getvalue() == "compiling slope ...\r" + " " * 19 + "\r"


def test_what_is_quick_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(program, "PATIENCE", 60)
    with program.told_on_terminal("compiling slope ..."):
        pass
    assert terminal.getvalue() == ""


def test_an_error_takes_it_away_too(terminal):
    with pytest.raises(ZeroDivisionError), program.told_on_terminal("x"):
        raise ZeroDivisionError(wait_for(terminal))
    assert terminal.getvalue() == "x\r \r"


def test_a_run_tells_by_its_own_bar(terminal):
    with program.hushed(), program.told_on_terminal("x"):
        time.sleep(0.05)
    assert terminal.getvalue() == ""


def test_a_file_gets_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(program, "sys", SimpleNamespace(stderr=stream))  # pytest puts its own in place of the program's
    monkeypatch.setattr(program, "PATIENCE", 0.0)
    with program.told_on_terminal("x"):
        time.sleep(0.05)
    assert stream.getvalue() == ""

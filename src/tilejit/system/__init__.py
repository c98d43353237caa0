"""The machine and the program: limits, identity, files, signals, threads, streams, and what Python runs."""

from __future__ import annotations

import os
import sys


def leave_current_folder() -> None:
    """Takes the current folder off the path where ``python -m tilejit`` has put it, first, before this was imported."""
    # While the packages of a module that is run are imported, its place in the arguments says -m.
    if sys.argv[:1] != ["-m"] or sys.flags.safe_path or "-m" not in sys.orig_argv:
        return
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1]
    if module == ["tilejit"] and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - as sys.path spells it
        del sys.path[0]

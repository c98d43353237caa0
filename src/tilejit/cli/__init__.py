"""The command line: ``tilejit run``, ``calc``, ``plan``, ``compare``, ``merge``, ``list``, ``show``, and so on.

Commands are imported when they are asked for: starting is a good part of a short run.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from tilejit.system.program import all_open

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    Args:
        arguments: The words after ``tilejit``; None for the process's own.

    Returns:
        0 when all went well, 1 for what tilejit refuses or cannot do, 2 for a command line that it cannot read,
        130 after Ctrl-C.
    """
    if arguments is None:
        gc.set_threshold(50_000)  # objects of imports stay: to look for garbage among them takes a tenth of a start
    given = list(sys.argv[1:] if arguments is None else arguments)
    with all_open():
        try:
            from tilejit.cli.commands import run_commands

            return run_commands(given)
        except KeyboardInterrupt:
            # Before or after the command itself: while modules are imported, say.
            sys.stderr.write("tilejit: interrupted\n")
            return 130
        finally:
            if arguments is None:
                gc.freeze()  # the process ends: looking for garbage among all that was imported takes 0.1 s

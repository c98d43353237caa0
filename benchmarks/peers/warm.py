"""A contender's process that does one task of its input after another, so that what it imports is imported once."""

from __future__ import annotations

import runpy
import sys

DONE = "done"
"""The line after a task."""

if __name__ == "__main__":
    module = sys.argv.pop()
    for line in sys.stdin:
        sys.argv[1:] = [line]
        runpy.run_module(f"peers.contenders.{module}", run_name="__main__", alter_sys=True)
        print(DONE, flush=True)

"""All contenders, one command: ``python benchmarks/peers/run.py``; ``--help`` has the choices."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script its own folder comes first, which would hide that ``peers`` is a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from peers.command import main

    main()

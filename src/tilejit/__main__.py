"""``python -m tilejit`` is ``tilejit``."""

import sys

from tilejit.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""One run of tilejit from file to file: ``slope_file.py INPUT OUTPUT``. Prints its figures as JSON."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

import tilejit as tj
from tilejit_kernels.terrain import slope


def main() -> None:
    busy = time.process_time()
    report = slope(tj.open(sys.argv[1])).save(sys.argv[2], overwrite=True)
    print(
        json.dumps(
            {
                "wall": report.seconds,
                "cpu": time.process_time() - busy,
                "peak": report.peak_memory,
                "planned": report.planned_memory,
                "stages": {name: asdict(time) for name, time in report.stages.items()},
                "read_ratio": report.read_ratio,
            }
        )
    )


if __name__ == "__main__":
    main()

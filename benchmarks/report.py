"""What the benchmarks' reports share: the machine, and their place in the README."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def machine(*packages: str) -> dict[str, str]:
    """What the figures were measured on.

    Args:
        packages: More packages, by the names that pip knows; those that are not installed are left out.
    """
    import numba
    import numpy as np
    import rasterio

    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    about = {
        "cpu": model,
        # Clouds call processors by a family's name, of which some take twice as many numbers at once as others.
        "vectors": next((name for name in ("avx512f", "avx2", "avx") if name in flags), "unknown"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "gdal": rasterio.__gdal_version__,
    }
    installed = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    return about | {name: metadata.version(name) for name in packages if name in installed}


def described(about: dict[str, str]) -> str:
    """The machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in about.items())


def write_json(name: str, report: dict[str, Any]) -> None:
    """Writes a report under ``results/``."""
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / name).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read_json(name: str) -> dict[str, Any]:
    """Reads a report under ``results/``; empty where there is none."""
    path = HERE / "results" / name
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return report


def write_readme(mark: str, lines: list[str]) -> None:
    """Puts lines between the README's two comments ``mark:start`` and ``mark:end``."""
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    before, rest = README.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    README.write_text(f"{before}{start}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")

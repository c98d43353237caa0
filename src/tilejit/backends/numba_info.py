"""What Numba there is, for ``tilejit info``."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

LAYERS = {
    "tbb": "numba.np.ufunc.tbbpool",
    "omp": "numba.np.ufunc.omppool",
    "workqueue": "numba.np.ufunc.workqueue",
}
"""Threading layers in the order in which Numba tries them, and the module that each needs."""


def numba_versions() -> dict[str, str]:
    """Returns the versions of Numba, of its LLVM binding, and of numba-cuda where it is installed."""
    import llvmlite
    import numba

    versions = {"numba": numba.__version__, "llvmlite": llvmlite.__version__}
    if find_spec("numba_cuda") is not None:
        from importlib.metadata import version

        versions["numba-cuda"] = version("numba-cuda")
    return versions


def threading_layers() -> list[str]:
    """Returns the layers that can be loaded; calls on arrays take the first, runs on files need none."""
    from numba.np.ufunc import parallel

    return [name for name, module in LAYERS.items() if _loads(module) and (name != "tbb" or _tbb_fits(parallel))]


def _loads(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _tbb_fits(parallel: object) -> bool:
    """Whether the TBB library is new enough; Numba warns and goes on without it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parallel._check_tbb_version_compatible()  # type: ignore[attr-defined] # noqa: SLF001 - nothing public tells
        except (ImportError, AttributeError):
            return False
    return True

"""How many files a process may have open at once."""

from __future__ import annotations

from tilejit.errors import PlanError


def most_open_files() -> int | None:
    """How many; None where the system sets no limit, or none that is known.

    Example:
        >>> most_open_files() is None or most_open_files() > 0
        True
    """
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def open_files_hint(error: BaseException | str) -> str:
    """What to do where too many files are open, in brackets; empty where an error, or what it says, is another."""
    if "too many open files" not in str(error).lower():
        return ""
    return f" (this process may have {most_open_files()} open: ulimit -n sets another limit; or take fewer at once)"


def require_open_files(count: int, what: str) -> None:
    """Refuses what opens more files than a process may.

    Raises:
        PlanError: With both numbers.
    """
    most = most_open_files()
    if most is not None and count > most:
        raise PlanError(
            f"{what} takes {count} open files, and this process may have {most}: give fewer workers=, or set another "
            "limit with ulimit -n"
        )

"""A progress bar where a person is watching, and silence elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.system.streams import is_open, is_terminal
from tilejit.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_bar(label: str, *, show: bool | None) -> Iterator[Callable[[float, int, str], None] | None]:
    """Gives a function to call with tasks done, tasks in all and what else is going on; None where nothing is shown.

    Args:
        label: What is being made.
        show: Whether to show it, where there is a standard error; None: only on a terminal.
    """
    if show is False or not (is_open(sys.stderr) if show else is_terminal(sys.stderr)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=None)

        def told(done: float, total: int, doing: str = "") -> None:
            described = printable(f"{label}: {doing}" if doing else label)
            bar.update(task, completed=done, total=total, description=described)

        yield told

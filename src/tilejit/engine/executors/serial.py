"""One task after the other, in the thread that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.engine.executors.base import Outcome, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tilejit.engine.executors.base import Result, Task


class SerialExecutor:
    """The definition that the other executors are held to; a debugger works in it.

    Example:
        >>> [outcome.result for outcome in SerialExecutor().map(abs, [-1, 2])]
        [1, 2]
    """

    name = "serial"
    workers = 1
    local = True

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs a function on each task; see `Executor.map`."""
        del waiting  # nothing else goes on meanwhile
        for task in tasks:
            try:
                outcome: Outcome[Task, Result] = Outcome(task, result=function(task))
            except Exception as error:  # noqa: BLE001 - an error is an outcome
                outcome = Outcome(task, error=error)
            yield outcome

    def close(self, *, at_once: bool = False) -> None:
        """Nothing to let go of."""

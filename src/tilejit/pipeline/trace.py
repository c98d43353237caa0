"""A run as a Chrome trace: every stage of every tile in every thread, for chrome://tracing and ui.perfetto.dev."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError
from tilejit.system.files import replace_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.pipeline.stopwatch import Span


def checked_trace(path: str | os.PathLike[str]) -> Path:
    """Returns where a trace goes, and refuses before the run what could not be written after it.

    An existing trace is replaced; a name that ends otherwise might be that of a raster.

    Raises:
        SinkError: The name is not a JSON file's, or its folder is not there.
    """
    target = Path(path)
    if target.suffix.lower() != ".json":
        raise SinkError(f"{target}: a trace is JSON: give a name that ends in .json")
    if target.is_dir():
        raise SinkError(f"{target}: is a folder: give a file's name")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise SinkError(f"{target}: the folder {folder} does not exist: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SinkError(f"{target}: the folder {folder} cannot be written to: choose another")
    return target


def write_trace(path: Path, spans: Sequence[Span], error: BaseException | None = None) -> None:
    """Writes a trace under a temporary name and renames it.

    Args:
        path: The file.
        spans: What the threads did.
        error: What ended the run, if something did.

    Raises:
        SinkError: It cannot be written.
    """
    try:
        replace_text(path, json.dumps(trace_of(spans, error)))
    except OSError as failure:
        raise SinkError(f"{path}: the trace cannot be written: {failure.strerror or failure}") from failure


def trace_of(spans: Sequence[Span], error: BaseException | None = None) -> dict[str, Any]:
    """Returns the trace as the value that is written: Chrome's object format, times in microseconds."""
    threads = {name: number for number, name in enumerate(sorted({s.thread for s in spans}), 1)}
    names = [_named("process_name", 0, "tilejit"), *(_named("thread_name", n, name) for name, n in threads.items())]
    events = [_event(span, threads[span.thread]) for span in sorted(spans, key=lambda s: s.start)]
    other = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
    return {"traceEvents": [*names, *events], "displayTimeUnit": "ms", "otherData": other}


def _named(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": os.getpid(), "tid": thread, "args": {"name": name}}


def _event(span: Span, thread: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"cpu_us": span.cpu / 1e3}
    if span.tile is not None:
        arguments |= {"row": span.tile[0], "col": span.tile[1], "window": str(span.window)}
    if span.size:
        arguments["bytes"] = span.size
    if span.output:
        arguments["output"] = span.output
    return {
        "name": span.stage,
        "cat": "tilejit",
        "ph": "X",
        "ts": span.start / 1e3,
        "dur": span.wall / 1e3,
        "pid": os.getpid(),
        "tid": thread,
        "args": arguments,
    }

"""A run as a Chrome trace: every stage of every tile in every thread, for chrome://tracing and ui.perfetto.dev."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError
from tilejit.formats.target import checked_file, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.engine.pipeline.stopwatch import Span


@dataclass(frozen=True, slots=True)
class TraceFile:
    """Where a trace goes."""

    name: str
    """What messages call it."""
    target: Path
    """The file."""
    overwrite: bool
    """Whether one that is there may be replaced."""


def checked_trace(path: str | os.PathLike[str], *, overwrite: bool) -> TraceFile:
    """Returns where a trace goes, and refuses before the run what could not be written after it.

    A name that ends otherwise might be that of a raster.

    Args:
        path: The file.
        overwrite: Whether one that is there may be replaced.

    Raises:
        SinkError: The name is not a JSON file's, or its folder is not there, or it may not be replaced.
    """
    name = os.fspath(path)
    if Path(name).suffix.lower() != ".json":
        raise SinkError(f"{name}: a trace is JSON: give a name that ends in .json")
    return TraceFile(name, checked_file(name, overwrite=overwrite), overwrite)


def write_trace(trace: TraceFile, spans: Sequence[Span], error: BaseException | None = None) -> None:
    """Writes a trace under a temporary name and renames it.

    Args:
        trace: The file.
        spans: What the threads did.
        error: What ended the run, if something did.

    Raises:
        SinkError: It cannot be written.
    """
    try:
        write_text(trace.name, trace.target, json.dumps(trace_of(spans, error)), overwrite=trace.overwrite)
    except OSError as failure:
        raise SinkError(f"{trace.name}: the trace cannot be written: {failure.strerror or failure}") from failure


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

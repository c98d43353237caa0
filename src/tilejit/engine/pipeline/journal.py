"""The journal of a run: which tiles are finished and on the disk, for a later run that goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.engine.partials import Totals
from tilejit.errors import PlanError, SinkError, TilejitError
from tilejit.formats.append_file import write_all
from tilejit.formats.publishing import sync_path
from tilejit.formats.target import disk_hint, require_own
from tilejit.system.files import is_locked, open_regular
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.engine.partials import Partial, State
    from tilejit.formats.sink import Manifest, Sink

SECONDS = 1.0
"""How often finished tiles are noted: so much is computed again after a kill, or twice that.

To sync what was written and then the line that says so, for each tile, would cost more than a small tile does."""
_HEADER = "tilejit journal"
_COMPLETE = "complete"
_NUMBERS, _TILES = "numbers of earlier passes", "tiles of earlier passes"
_SUM = "sum"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: tiles, and where the outputs have them."""

    windows: tuple[Window, ...]
    """The tiles."""
    manifests: tuple[Manifest, ...]
    """What each output's sink says of them."""
    states: tuple[State, ...]
    """What their pixels come to, for each partial."""


@dataclass(frozen=True, slots=True)
class Made:
    """What earlier passes of a run have made for the last."""

    numbers: list[float]
    """The numbers that its kernels take."""
    tiles: list[tuple[str, str]]
    """For each iteration, the file of its tiles, and which of their places hold the cells, in hexadecimal."""


class Journal:
    """A file of JSON lines: what the run is, then what is finished. It is this run's alone while it is open.

    Args:
        path: The file; it is created where it is not there.
        fingerprint: What the run is, by part.
        outputs: What each file and folder of its outputs is called until they are complete, and then.
        partials: What tiles are reduced to.

    Raises:
        PlanError: The journal is of another run; with what differs.
        SinkError: Another run has it open, or it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: Mapping[str, str],
        outputs: Sequence[tuple[Path, Path]],
        partials: Sequence[Partial],
    ) -> None:
        self.path, self.partials = path, partials
        self.entries: tuple[Entry, ...] = ()
        """What earlier runs have finished."""
        self.made: Made | None = None
        """What earlier passes of the run have made for the last, where they are done."""
        self._made_end = 0
        self.is_begun = False
        """Whether there is something to go on with: an earlier run's work, or this one's."""
        self.goes_on = False
        """Whether an earlier run with the same fingerprint had it."""
        self.is_complete = False
        """Whether an earlier run's outputs lack nothing but their names."""
        self.before_flush: Callable[[], None] | None = None
        """Is called before finished tiles are noted: adds those that nobody has told of yet."""
        self._fingerprint, self._outputs = dict(fingerprint), outputs
        self._sinks: Sequence[Sink] = ()
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tilejit-journal", daemon=True)
        self._error: BaseException | None = None
        self._descriptor = _locked(path)
        try:
            self._end = self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> int:
        """Reads what is there; returns where it ends: a line that was cut off counts for nothing."""
        data = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        lines = data.split(b"\n")[:-1]
        if not lines:
            return 0
        self.is_begun = True
        header, *entries = (_parsed(self.path, number, line) for number, line in enumerate(lines, 1))
        self._check_same(header.get("fingerprint", {}) if _HEADER in header else {})
        self.goes_on = True
        if entries and _COMPLETE in entries[-1]:
            self.is_complete = self._are_there(entries.pop()[_COMPLETE])
            if not self.is_complete:  # somebody has taken away what this is of
                self.is_begun = False
                return 0
        if entries and _NUMBERS in entries[0]:
            told = entries.pop(0)
            made = Made(told[_NUMBERS], [(path, sides) for path, sides in told[_TILES]])
            if all(Path(path).exists() for path, _ in made.tiles):  # else somebody has taken them away
                self.made, self._made_end = made, sum(len(line) + 1 for line in lines[:2])
        self.entries = tuple(
            Entry(tuple(Window(*w) for w in e["windows"]), tuple(e["manifests"]), tuple(e["states"])) for e in entries
        )
        return sum(len(line) + 1 for line in lines)

    def _are_there(self, outputs: Sequence[list[int]]) -> bool:
        """Whether complete outputs are there as they were, by one name or the other."""
        return all(
            identity in [_identity(place) for place in places if place.exists()]
            for places, identity in zip(self._outputs, outputs, strict=True)
        )

    def _check_same(self, before: Mapping[str, str]) -> None:
        now = self._fingerprint
        names = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
        if names:
            lines = [f"  {n}\n    was {before.get(n, 'not there')}\n    is  {now.get(n, 'not there')}" for n in names]
            raise PlanError(
                f"{self.path}: the run that it is of cannot be gone on with, for this one is another:\n"
                + "\n".join(lines)
                + "\n  undo that, or delete this file to begin anew"
            )

    @property
    def identity(self) -> str:
        """What the run is, as a hash."""
        return hashlib.sha256(_text(self._fingerprint)).hexdigest()

    @property
    def windows(self) -> list[Window]:
        """The tiles that earlier runs have finished."""
        return [window for entry in self.entries for window in entry.windows]

    @property
    def totals(self) -> Totals:
        """What their pixels come to."""
        totals = Totals(self.partials)
        for entry in self.entries:
            totals.add(entry.states)
        return totals

    def forget(self) -> None:
        """Begins the last pass anew: the outputs that it is of are not there."""
        self.entries, self.is_begun, self._end = (), self.made is not None, self._made_end

    def begin(self, sinks: Sequence[Sink]) -> None:
        """Hands the outputs what earlier runs have written; from now on they and the journal stay when a run fails."""
        self._sinks = sinks
        try:
            os.truncate(self._descriptor, self._end)
            if not self.is_begun:
                self._write([_line({_HEADER: 1, "fingerprint": self._fingerprint})])
                sync_path(self.path.parent)
                self.is_begun = True
        except OSError as error:
            raise self._failed(error) from error
        for number, sink in enumerate(sinks):
            for entry in self.entries:
                sink.merge(entry.manifests[number])

    def add(self, windows: Sequence[Window], manifests: Sequence[Manifest], states: Sequence[State]) -> None:
        """Notes finished tiles; they are in the file after a second or so."""
        self.check()
        places = [[w.row_off, w.col_off, w.height, w.width] for w in windows]
        line = _line({"windows": places, "manifests": list(manifests), "states": list(states)})
        with self._lock:
            self._lines.append(line)

    def check(self) -> None:
        """Ends a run whose tiles could not be written, to the outputs or to the journal."""
        if self._error is not None:
            raise self._failed(self._error) from self._error

    def __enter__(self) -> None:
        """Notes tiles from now on."""
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Notes what is left; what ended a run goes before what is wrong with its journal."""
        self._stop.set()
        self._thread.join()
        try:
            self.check()
            self._flush()
        except (OSError, TilejitError) as second:
            failure = second if isinstance(second, TilejitError) else self._failed(second)
            if error is None:
                raise failure from second
            if failure is not error:
                error.add_note(str(failure))

    def _run(self) -> None:
        while not self._stop.wait(SECONDS) and self._error is None:
            try:
                self._flush()
            except BaseException as error:  # noqa: BLE001 - whoever adds the next tile raises it
                self._error = error

    def _flush(self) -> None:
        """First the cells, then the lines that say so."""
        if self.before_flush is not None:
            self.before_flush()
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            for sink in self._sinks:
                sink.sync()
            self._write(lines)

    def _write(self, lines: Sequence[bytes]) -> None:
        data = b"".join(lines)
        write_all(self._descriptor, memoryview(data), self._end)
        os.fsync(self._descriptor)
        self._end += len(data)

    def _failed(self, error: BaseException) -> TilejitError:
        if isinstance(error, TilejitError):
            return error
        hint = disk_hint(self.path.parent, error)
        return SinkError(f"{self.path}: finished tiles cannot be noted: {error or type(error).__name__}{hint}")

    def note_made(self, numbers: Sequence[float], tiles: Sequence[tuple[str, str]]) -> None:
        """Notes what earlier passes have made: a later run does not make them again."""
        try:
            self._write([_line({_NUMBERS: list(numbers), _TILES: list(map(list, tiles))})])
        except OSError as error:
            raise self._failed(error) from error
        self.made = Made(list(numbers), list(tiles))

    def note_complete(self) -> None:
        """Notes that the outputs lack nothing but their names: a later run gives them those, and does nothing else."""
        if self.is_complete:
            return
        try:
            self._write([_line({_COMPLETE: [_identity(temporary) for temporary, _ in self._outputs]})])
        except OSError as error:
            raise self._failed(error) from error

    def remove(self) -> None:
        """Drops the file: its run is complete, and there is nothing to go on with."""
        self.is_begun = False
        self.close()

    def close(self) -> None:
        """Lets go of the file, and drops it if nothing has begun; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if not self.is_begun:
                self.path.unlink(missing_ok=True)
            os.close(descriptor)


def _identity(place: Path) -> list[int]:
    """What tells a file or a folder from others, whatever it is called, and from itself after a change.

    Its number in the file system does not do alone: that of a file that is deleted is the next one's.
    """
    stat = place.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _line(values: Mapping[str, Any]) -> bytes:
    """A line with a checksum of what it says: what was changed since is not taken for what a run has finished."""
    return _text({_SUM: zlib.crc32(_text(values))} | dict(values)) + b"\n"


def _text(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise PlanError(f"{path}: line {number} is no JSON: it was changed; delete this file to begin anew") from error
    if not isinstance(values, dict) or values.pop(_SUM, None) != zlib.crc32(_text(values)):
        raise PlanError(f"{path}: line {number} is not as a run wrote it: delete this file to begin anew")
    return values


def _opened(path: Path) -> int:
    """Opens a journal that is this user's, or makes it."""
    with contextlib.suppress(FileExistsError):
        return open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except FileNotFoundError:  # the run that had it has removed it just now
        return _opened(path)
    try:
        require_own(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _locked(path: Path) -> int:
    """Opens a file that no other run has open."""
    try:
        import fcntl  # noqa: F401 - before a file is made
    except ImportError as error:  # Windows
        raise SinkError(f"{path}: the journal cannot be locked: this system has no fcntl: leave resume= out") from error
    while True:
        try:
            descriptor = _opened(path)
        except OSError as error:
            raise SinkError(f"{path}: the journal cannot be opened: {error}{disk_hint(path.parent, error)}") from error
        try:
            if is_locked(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise SinkError(f"{path}: another run is writing this output: wait for its end") from error
            raise SinkError(f"{path}: the journal cannot be locked: {error}: write elsewhere") from error
        os.close(descriptor)

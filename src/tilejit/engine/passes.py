"""Passes before the last: statistics that its kernels take, and iterations whose cells it reads.

An iteration is two passes. The first copies its inputs into tiles on the disk. The second is a sweep over those, which
is repeated until it changes no cell, and leaves out what can no longer change.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tilejit.engine.planning.iterations import repeat_of, stores_of
from tilejit.engine.planning.planner import Job, awaited, bound
from tilejit.errors import IterationLimitError, PlanError, SinkError
from tilejit.formats.publishing import remove_folder, sweep, sync_path
from tilejit.formats.target import require_own, temporary_of
from tilejit.formats.tile_store import TileStore, TileStoreSink
from tilejit.kernel.counts import Counts
from tilejit.kernel.inputs import is_index_edge
from tilejit.sizes import counted, format_size
from tilejit.system.files import kind_of, replace_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tilejit.engine.changes import Changed
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.graph import Iteration
    from tilejit.engine.reductions import Refined
    from tilejit.formats.sink import Sink
    from tilejit.formats.source import Source
    from tilejit.kernel.kernel import Edge
    from tilejit.window import Window

    Runner = Callable[[Job, Sequence[Sink]], Report]  # runs one pass
    Tell = Callable[[str], object]


def run_passes(
    job: Job, run: Runner, run_last: Callable[[Job], Report], tell: Tell, journal: Journal | None = None
) -> Report:
    """Runs all passes of a job; those before the last, if no journal has what they made.

    Args:
        job: All passes.
        run: Runs one that writes nothing but what later ones read.
        run_last: Runs the last, with numbers as parameters and tiles as sources.
        tell: Is told what goes on while one is repeated.
        journal: Where is kept what the last pass takes.
    """
    with _scratch_folder(job, journal) as scratch:
        if journal is not None and journal.made is not None:
            return run_last(bound(job, journal.made.numbers, _kept(job, journal)))
        results: dict[tuple[Any, ...], Any] = {}
        stores: dict[Iteration, TileStore] = {}
        reports = []
        for earlier in job.earlier:
            one = bound(_given(earlier, results), _numbers(earlier, results), stores)
            folder = (scratch or Path()) / str(len(stores))
            if one.iteration is None:
                report = run(one, ())
                results |= _reduced(earlier, report)
            elif one.plan.repeat is None:
                if _sweeps_in(folder, journal) is not None:
                    continue
                report = _copy_inputs(one, run, folder)
            else:
                stores[one.iteration], report = _iterate(one, run, folder, tell, journal)
            reports.append(report)
        numbers = _numbers(job, results)
        if journal is not None and (numbers or stores) and not journal.entries:
            for store in stores.values():
                TileStoreSink(store).sync()
            journal.note_made(numbers, [(store.path, store.sides.hex()) for store in stores.values()])
        return replace(run_last(bound(_given(job, results), numbers, stores)), earlier=tuple(reports))


def numbers_before(job: Job, run: Callable[[Job], Report]) -> list[float]:
    """Runs the passes before a job, which keep nothing on the disk; returns the numbers that it awaits."""
    results: dict[tuple[Any, ...], Any] = {}
    for earlier in job.earlier:
        results |= _reduced(earlier, run(bound(_given(earlier, results), _numbers(earlier, results), {})))
    return _numbers(job, results)


def _reduced(job: Job, report: Report) -> dict[tuple[Any, ...], Any]:
    """What a pass has reduced, by what it is for."""
    return {r.key: result for r, result in zip(job.reduced, report.results[1:], strict=True)}


def _kept(job: Job, journal: Journal) -> dict[Iteration, TileStore]:
    """The tiles that an earlier run has left."""
    repeated = [one for one in job.earlier if one.plan.repeat is not None]
    kept = journal.made.tiles if journal.made is not None else []
    return {
        one.iteration: replace(_state_of(one), path=path, sides=bytes.fromhex(sides))
        for one, (path, sides) in zip(repeated, kept, strict=True)
        if one.iteration is not None
    }


def _given(job: Job, results: Mapping[tuple[Any, ...], Any]) -> Job:
    """A job whose reductions have what earlier passes made for them."""
    rows = zip(job.reduced, job.plan.reductions, strict=True)
    given = (
        reduction if reduced.after is None else cast("Refined", reduction).given(results[reduced.after.key])
        for reduced, reduction in rows
    )
    return replace(job, plan=replace(job.plan, partials=(job.plan.partials[0], *given)))


def _numbers(job: Job, results: Mapping[tuple[Any, ...], Any]) -> list[float]:
    return [statistic.of(results[statistic.reduced.key]) for statistic in awaited(job)]


@contextmanager
def _scratch_folder(job: Job, journal: Journal | None) -> Iterator[Path | None]:
    """Gives a folder for what the passes of a job keep on the disk, and removes it; None where they keep nothing.

    Where there is a journal it stays when the run fails, for the run that goes on.
    """
    repeated = next((one.plan.repeat for one in job.earlier if one.plan.repeat is not None), None)
    if repeated is None:
        yield None
        return
    if journal is None:
        sweep(Path(repeated.folder))
        folder = temporary_of(Path(repeated.folder, "tilejit"))
    else:
        folder = journal.path.with_suffix(".passes")
    _make(folder, is_kept=journal is not None and journal.goes_on)
    try:
        yield folder
    except BaseException as error:
        if journal is None or isinstance(error, IterationLimitError):
            remove_folder(folder)
        raise
    remove_folder(folder)


def _make(folder: Path, *, is_kept: bool) -> None:
    if kind_of(folder) is not None:
        require_own(folder)
        if is_kept:
            return
        remove_folder(folder)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise SinkError(
            f"{folder}: the folder for tiles that are computed again cannot be made: {error.strerror}: save elsewhere, "
            "or name another folder for temporary files in TMPDIR"
        ) from error


def _state_of(job: Job) -> TileStore:
    """The tiles that a sweep changes, as it was planned."""
    return next(source for source in job.sources if isinstance(source, TileStore))


def _copy_inputs(job: Job, run: Runner, folder: Path) -> Report:
    """Copies the inputs of an iteration into tiles in a folder."""
    assert job.iteration is not None  # noqa: S101 - for type checkers
    if folder.exists():  # of a run that has ended while it copied
        remove_folder(folder)
    folder.mkdir()
    stores = [_located(store, folder) for store in stores_of(job.iteration, job.plan.writes)]
    needed = repeat_of(job.iteration, job.plan.writes, "").scratch_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SinkError(
            f"{stores[0].name}: its tiles take up to {format_size(needed)}, and {folder.parent} has "
            f"{format_size(free)} left: free some, save elsewhere, or name another folder for temporary files in TMPDIR"
        )
    for store in stores:
        with Path(store.path).open("xb") as file:
            file.truncate(store.file_bytes)
    return replace(run(job, [TileStoreSink(store) for store in stores]), sweeps=1)


def _located(store: TileStore, folder: Path) -> TileStore:
    return replace(store, path=str(folder / store.path))


@dataclass(frozen=True, slots=True)
class _Sweeps:
    """What a run that goes on takes of sweeps that are done; the tiles that it names are on the disk."""

    run: str  # the fingerprint of the run
    number: int  # how many sweeps
    sides: str  # the places of the state's tiles, in hexadecimal; see `TileStore`
    active: str  # the tiles that may still change, in hexadecimal
    counts: Mapping[str, Any]  # what is to be told of their pixels


_SWEEPS = "sweeps.json"


def _sweeps_in(folder: Path, journal: Journal | None) -> _Sweeps | None:
    """The sweeps that an earlier run has done of this iteration."""
    if journal is None or not journal.goes_on or not (folder / _SWEEPS).exists():
        return None
    try:
        sweeps = _Sweeps(**json.loads((folder / _SWEEPS).read_bytes()))
    except (TypeError, ValueError) as error:
        raise PlanError(f"{folder / _SWEEPS}: is not as a run wrote it: delete {folder} to begin anew") from error
    return sweeps if sweeps.run == journal.identity else None


def _note_sweeps(folder: Path, state: TileStore, sweeps: _Sweeps) -> None:
    """Notes sweeps that are done, once their tiles are on the disk.

    The next sweep writes to no place that they name, but to those that the note before names: this one must be there.
    """
    TileStoreSink(state).sync()
    replace_bytes(folder / _SWEEPS, json.dumps(asdict(sweeps)).encode(), synced=True)
    sync_path(folder)


def _iterate(job: Job, run: Runner, folder: Path, tell: Tell, journal: Journal | None) -> tuple[TileStore, Report]:
    """Sweeps over tiles that `_copy_inputs` has written, until no cell changes.

    Returns:
        What reads the cells, and what was done.
    """
    limit, name = job.plan.repeat.limit if job.plan.repeat else 0, _state_of(job).name
    sources = tuple(_located(s, folder) if isinstance(s, TileStore) else s for s in job.sources)
    job = replace(job, sources=sources, plan=replace(job.plan, repeat=None))
    done, first, reports = _sweeps_in(folder, journal), 1, None
    if done is not None:
        job, first = _next_sweep(job, bytes.fromhex(done.sides), bytes.fromhex(done.active)), done.number + 1
    for number in range(first, limit + 1):
        tell(f"sweep {number}, {counted(job.plan.tile_count, 'tile')}")
        state = _state_of(job)
        report = replace(run(job, [TileStoreSink(state.turned())]), sweeps=1)
        changed: Changed = report.results[1]
        if number == first and done is not None:
            report = replace(report, results=(Counts(**done.counts) + report.counts, *report.results[1:]))
        reports = report if reports is None else reports.then(report)
        if not changed.cells:
            return state, reports
        state = state.turned({_tile(box, state.block) for box in changed.boxes})
        job = _next_sweep(job, state.sides, _touched(job, changed.boxes))
        if journal is not None:
            active = (job.plan.active or b"").hex()
            sweeps = _Sweeps(journal.identity, number, state.sides.hex(), active, asdict(reports.counts))
            _note_sweeps(folder, state, sweeps)
    raise IterationLimitError(
        f"{name}: {counted(changed.cells, 'cell')} still changed in sweep {limit}, the last one that limit={limit} "
        "allows: give a higher limit=, or see whether the kernel comes to an end at all"
    )


def _next_sweep(job: Job, sides: bytes, active: bytes) -> Job:
    """A sweep over tiles that may change, where those of the state are in these places."""
    state = replace(_state_of(job), sides=sides)
    sources = tuple(_at(source, state) for source in job.sources)
    return replace(job, sources=sources, plan=replace(job.plan, active=active))


def _at(source: Source, state: TileStore) -> Source:
    """A source as it is when the state has changed."""
    if isinstance(source, TileStore) and source.path == state.path:
        return replace(source, sides=state.sides)
    return source


def _tile(box: Window, block: tuple[int, int]) -> tuple[int, int]:
    return box.row_off // block[0], box.col_off // block[1]


def _touched(job: Job, boxes: Iterable[Window]) -> bytes:
    """A plan's `active` for tiles of which a cell is computed of one that has changed.

    A tile that is settled comes again for what others have changed, or where its own cells are repeated outside.
    """
    state, kernel = _state_of(job), job.kernels[0]
    is_settled = job.plan.steps[0].scans > 0 and not is_index_edge(kernel.edge)
    active = np.zeros(state.shape, np.uint8)
    for box in boxes:
        own = _tile(box, state.block)
        was_active = active[own]
        seen = box.expand(*kernel.radius)
        rows = _tiles(range(seen.row_off, seen.row_end), state.grid.height, state.block[0], kernel.edge)
        cols = _tiles(range(seen.col_off, seen.col_end), state.grid.width, state.block[1], kernel.edge)
        active[np.ix_(rows, cols)] = 1
        if is_settled:
            active[own] = was_active
    return active.tobytes()


def _tiles(cells: range, size: int, side: int, edge: Edge) -> list[int]:
    """The rows or columns of tiles in which some rows or columns of cells lie; beyond one end wraps to the other."""
    if edge == "wrap":
        return sorted({cell % size // side for cell in cells})
    return list(range(max(0, cells.start) // side, (min(size, cells.stop) - 1) // side + 1))

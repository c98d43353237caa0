"""Runs that go on where an earlier one ended: what is refused, where the journal lies, and what is opened again."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tilejit.engine.pipeline.journal import Journal
from tilejit.errors import PlanError
from tilejit.formats.registry import checked_target, is_begun, is_opened_by_name, renames_of
from tilejit.formats.sink import WRITTEN_DIRECTLY, Checkpoint
from tilejit.formats.target import hidden_beside, local_target
from tilejit.raster.fingerprint import job_fingerprint, unseen_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import OutputProfile


def check_resumable(job: Job) -> None:
    """Refuses what no journal can be kept of, while planning.

    Raises:
        PlanError: An input is in memory, or one process must write an output from its first block to its last.
    """
    for source in job.sources:
        if not is_opened_by_name(source):
            raise PlanError(
                f"{source.name}: resume=True needs inputs that are there in the next run, and this one is in memory: "
                "save it to a file and open that, or leave resume= out"
            )
        for file in unseen_files(source):
            raise PlanError(
                f"{source.name}: resume=True needs inputs of which a later run sees that they have changed, and "
                f"{'it' if file == source.name else file} is no local file, nor in a local archive: copy it here, or "
                "leave resume= out"
            )
    for write in job.plan.writes:
        if not write.shared:
            raise PlanError(
                f"{write.path}: is written {write.writer}, which cannot be gone on with: leave resume= out, or choose "
                f"compress=zstd, deflate, lzw or none ({WRITTEN_DIRECTLY}), or shards (.vrt)"
            )


@contextmanager
def resumed(job: Job, profiles: Sequence[OutputProfile]) -> Iterator[tuple[Journal, list[OutputProfile]]]:
    """Opens the journal of a run; it stays with all outputs when the run fails.

    Args:
        job: The job.
        profiles: What each output will be.

    Yields:
        The journal, and the profiles by which outputs are created or opened again.

    Raises:
        PlanError: The journal is of another run; with what differs.
        SinkError: Another run is writing the outputs.
    """
    path, mark = _journal_place(profiles)
    kept = _at_stage("begun", profiles, mark)
    journal = Journal(
        path, job_fingerprint(job, profiles), [rename for p in kept for rename in renames_of(p)], job.plan.partials
    )
    try:
        if journal.is_complete:
            kept = _at_stage("complete", profiles, mark)
        else:
            for profile in profiles:
                checked_target(profile)
            # Where nothing is noted as finished, nothing of the outputs is worth keeping.
            if not (journal.entries and all(map(is_begun, kept))):
                journal.forget()
                kept = _at_stage("new", profiles, mark)
        yield journal, kept
    except BaseException as error:
        if journal.is_begun:
            error.add_note(f"what is finished stays: give resume=True again to go on, or delete {path} to begin anew")
        raise
    finally:
        journal.close()


def _at_stage(
    stage: Literal["new", "begun", "complete"], profiles: Sequence[OutputProfile], mark: str
) -> list[OutputProfile]:
    """How outputs are opened: anew, or as an earlier run left them."""
    return [replace(profile, checkpoint=Checkpoint(mark, stage)) for profile in profiles]


def _journal_place(profiles: Sequence[OutputProfile]) -> tuple[Path, str]:
    """The journal's file, beside the first output, and the mark of this run's files: which outputs it has."""
    targets = [local_target(profile.path) for profile in profiles]
    mark = hashlib.sha256("\0".join(map(str, targets)).encode()).hexdigest()[:8]
    return hidden_beside(targets[0], f"{mark}.resume.jsonl"), mark

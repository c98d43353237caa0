"""What limits a way, told from what was measured of it and never from its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.comparison.outcome import Outcome
    from tilejit.comparison.roofs import Roofs

Stages = dict[str, float]
"""Stage -> share of a run, by the clock."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds a way up."""

    name: str
    """One word: GIL, interpreter, pickling, decode, bandwidth, arithmetic, overhead, one thread."""
    reason: str
    """The figures that show it."""


def limit_of(outcome: Outcome, cores: int, roofs: Roofs, known: Mapping[str, float]) -> Limit:
    """Returns what limits a way.

    Args:
        outcome: What was measured of it.
        cores: The cores that it had.
        roofs: What the machine can do.
        known: Core seconds a pixel of ``decode`` and ``compute``, for ways that don't tell theirs.
    """
    tests = (_lock(outcome, cores), _traffic(outcome), _serial_decode(outcome, cores))
    found = next((limit for limit in tests if limit is not None), None)
    return found or _largest_stage(outcome, cores, roofs, known)


def _lock(outcome: Outcome, cores: int) -> Limit | None:
    """Threads that can run, and wait neither for a core nor for cells, wait for a lock: in Python it is the GIL."""
    inside = outcome.wall("compute")
    if cores == 1 or not inside or "queue" not in outcome.stages:
        return None
    waiting = inside - outcome.core("compute") - outcome.wall("queue")
    if waiting < 0.25 * inside or outcome.busy > 0.75 * cores:
        return None
    return Limit(
        "GIL",
        f"{counted(cores, 'thread')} kept {outcome.busy:.2f} cores busy: "
        f"{100 * waiting / inside:.0f} % of the time inside the body they waited for a lock",
    )


def _traffic(outcome: Outcome) -> Limit | None:
    """Moving the arrays alone takes half the time or more."""
    if outcome.traffic is None or not outcome.seconds or outcome.traffic < 0.5 * outcome.seconds:
        return None
    share = 100 * min(1.0, outcome.traffic / outcome.seconds)
    return Limit("pickling", f"moving the arrays and computing nothing takes {share:.0f} % of the time")


def _serial_decode(outcome: Outcome, cores: int) -> Limit | None:
    """One thread decodes while the others wait: the stages fill the time one after the other, not side by side."""
    decode = outcome.wall("decode")
    rest = sum(outcome.wall(stage) for stage in ("compute", "encode", "wait"))
    if cores == 1 or decode < 0.5 * outcome.seconds:
        return None
    one_by_one, at_once = decode + rest / cores, (decode + rest) / cores
    if not 0.85 * outcome.seconds < one_by_one < 1.15 * outcome.seconds or at_once > 0.75 * outcome.seconds:
        return None
    return Limit("decode", f"one thread decodes for {100 * decode / outcome.seconds:.0f} % of the time")


def _largest_stage(outcome: Outcome, cores: int, roofs: Roofs, known: Mapping[str, float]) -> Limit:
    """The stage that takes the most core seconds; for computing, the roof that is nearer."""
    decode, compute = (core_seconds(outcome, stage, known) for stage in ("decode", "compute"))
    total = max(outcome.cpu, decode + compute, 1e-9)
    rest = total - decode - compute
    if rest > max(decode, compute):
        return Limit("overhead", f"{100 * rest / total:.0f} % of the core seconds neither decode nor compute")
    if decode > compute:
        return Limit("decode", f"{100 * decode / total:.0f} % of the core seconds decode")
    return _roof(outcome, compute, cores, roofs)


def core_seconds(outcome: Outcome, stage: str, known: Mapping[str, float]) -> float:
    """Returns the core seconds of a stage, as measured, or as the same pixels took elsewhere."""
    return outcome.core(stage) if outcome.stages else known.get(stage, 0.0) * outcome.pixels


def _roof(outcome: Outcome, compute: float, cores: int, roofs: Roofs) -> Limit:
    """Whether computing is nearer to what memory or what arithmetic allows."""
    at = roofs.at(cores)
    speed = outcome.pixels * cores / max(compute, 1e-9)
    arithmetic = speed / roofs.cached[at]
    if arithmetic < 0.02:
        slower = 1 / max(arithmetic, 1e-9)
        return Limit("interpreter", f"the same cells, compiled and in the cache, take {slower:.0f} times less")
    bandwidth = speed * roofs.bytes_per_pixel / roofs.bandwidth[at]
    if bandwidth > arithmetic:
        return Limit("bandwidth", f"computing moves {100 * bandwidth:.0f} % of the bytes that a copy does in its time")
    share = 100 * min(1.0, arithmetic)
    return Limit("arithmetic", f"computing goes at {share:.0f} % of its speed on cells that are in the cache")

"""What lies in the folder of a Zarr: what its metadata names, and what somebody else has put there."""

from __future__ import annotations

import json
import re
from math import ceil
from typing import TYPE_CHECKING, Any

from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

METADATA = "zarr.json"
"""The file that makes a folder a group or an array."""
_UNFINISHED = re.compile(r"\w+\.[0-9a-f]{32}\.partial")
"""What zarr calls a file until it is written; a worker that was killed leaves it."""


def strangers(folder: Path) -> Iterator[Path]:
    """What lies in a group or an array of Zarr v3, in an array's folders too, that its metadata does not name.

    Chunks are named by the array's shape and chunks. All of a folder that is none of the two is strange, and so is a
    link.

    Args:
        folder: The folder.
    """
    node = _metadata(folder)
    members = ((node.get("consolidated_metadata") or {}).get("metadata") or {}).keys()
    chunks = _chunks(node)
    for place in sorted(folder.iterdir()):
        kind = kind_of(place)
        if node and kind == "a file" and (place.name == METADATA or _UNFINISHED.fullmatch(place.name)):
            continue
        if chunks is not None and place.name == "c":
            yield from _strange_chunks(place, chunks)
        elif node.get("node_type") == "group" and kind == "a folder" and _is_member(place, members):
            yield from strangers(place)
        else:
            yield place


def _metadata(folder: Path) -> dict[str, Any]:
    """A node's metadata; empty where the folder is none."""
    place = folder / METADATA
    try:
        node = json.loads(place.read_bytes()) if kind_of(place) == "a file" else {}
    except ValueError:
        return {}
    return node if isinstance(node, dict) and node.get("node_type") in {"group", "array"} else {}


def _is_member(place: Path, members: Any) -> bool:
    """Whether a folder is a node of its group: named where all are listed in one place, else by its own metadata."""
    return place.name in members if members else bool(_metadata(place))


def _chunks(node: dict[str, Any]) -> list[int] | None:
    """How many chunks an array has in each dimension; None of what is no array whose chunks are files in folders."""
    try:
        chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
        key = node["chunk_key_encoding"]
        if (key["name"], key.get("configuration", {}).get("separator", "/")) != ("default", "/"):
            return None
        return [ceil(size / chunk) for size, chunk in zip(node["shape"], chunks, strict=True)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _strange_chunks(place: Path, counts: Sequence[int]) -> Iterator[Path]:
    """What a chunk's file, or a folder of some, is or holds beyond the chunks that there can be."""
    if kind_of(place) != ("a folder" if counts else "a file"):
        yield place
        return
    for inner in sorted(place.iterdir()) if counts else ():
        if _is_number(inner.name, counts[0]):
            yield from _strange_chunks(inner, counts[1:])
        elif kind_of(inner) != "a file" or not _UNFINISHED.fullmatch(inner.name):
            yield inner


def _is_number(name: str, count: int) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name and int(name) < count

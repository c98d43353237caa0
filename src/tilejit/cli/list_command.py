"""``tilejit list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tilejit.cli.console import console, on_terminal, say
from tilejit.kernel.discovery import collections, kernels_in
from tilejit.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.kernel.decorators import Applicable
    from tilejit.kernel.discovery import Collection

    Row = tuple[str, str, str, str]
    """Name, kind, signature, summary."""


@click.command("list")
@click.argument("where", required=False)
def command(where: str | None) -> None:
    """List the kernels that are installed; with WHERE those of a collection, a module or a file, or one kernel.

    A package's kernels are listed when it names their module under the entry-point group tilejit.kernels.
    """
    if where is None:
        rows = [row for collection in collections() for row in _rows(collection)]
    else:
        rows = [_row(name, kernel) for name, kernel in kernels_in(where).items()]
    if not rows:
        click.echo("no kernels", err=True)
    elif on_terminal():
        _show_table(rows)
    else:
        _show_lines(rows)


def _rows(collection: Collection) -> list[Row]:
    if collection.problem is not None:
        return [(collection.name, "broken", f"{collection.value} of {collection.package}", collection.problem)]
    return [_row(f"{collection.name}.{name}", kernel) for name, kernel in collection.kernels.items()]


def _row(name: str, kernel: Applicable) -> Row:
    return name, kernel.kind, kernel.usage, kernel.summary


def _show_lines(rows: Sequence[Row]) -> None:
    """One kernel a line: name, kind and summary in columns, then the signature."""
    lines = [(name, kind, summary.replace("\n", " "), signature) for name, kind, signature, summary in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    for line in lines:
        say("  ".join([*map(str.ljust, line[:3], widths), line[3]]))


def _show_table(rows: Sequence[Row]) -> None:
    """Two lines a kernel: name and summary, and the signature below."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, kind, signature, summary in (map(printable, row) for row in rows):
        broken = kind == "broken"
        said = Text(summary, style="red" if broken else "")
        said.append(f"\n{signature}", style="dim")
        table.add_row(Text(name, style="bold red" if broken else "bold cyan"), Text(kind, style="dim"), said)
    console().print(table)

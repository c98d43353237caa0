"""What commands print: coloured and folded on a terminal, plain elsewhere."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from tilejit.errors import printable
from tilejit.system.program import is_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LABELLED = re.compile(r"(\w[\w-]*) {2,}(.*)")  # a line of a plan or a report: a word, and what is said of it


def on_terminal() -> bool:
    """Whether a person reads what is printed."""
    return is_terminal(sys.stdout)


def console() -> Console:
    """Returns rich's console for standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def say(text: str, *, aside: bool = False) -> None:
    """Prints a line, or says it aside on standard error; what a name in it would do to a terminal is spelled out."""
    click.echo(printable(text), err=aside)


def show_labelled(text: str) -> None:
    """Prints lines of a word and what is said of it; on a terminal long ones fold beneath their beginning."""
    text = printable(text)
    if not on_terminal():
        click.echo(text)
        return
    from rich.text import Text

    screen, table = console(), _grid()
    for line in text.split("\n"):
        match = _LABELLED.fullmatch(line)
        if match is not None:
            table.add_row(match[1], Text(match[2]))
            continue
        if table.row_count:
            screen.print(table)
            table = _grid()
        screen.print(Text(line, style="bold"))
    if table.row_count:
        screen.print(table)


def _grid() -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    return table


def show_source(text: str) -> None:
    """Prints Python source; on a terminal in colours."""
    text = printable(text)
    if not on_terminal():
        click.echo(text, nl=not text.endswith("\n"))
        return
    from rich.syntax import Syntax

    console().print(Syntax(text, "python", theme="ansi_dark", background_color="default", word_wrap=True))

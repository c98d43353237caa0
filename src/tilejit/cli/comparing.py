"""``tilejit compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tilejit.cli.console import console, on_terminal, say, show_labelled
from tilejit.cli.inputs import bind_parameters, open_inputs, option_callback
from tilejit.cli.runs import INPUT_HELP, KERNEL_HELP, edge_option, parameter_option, stack_option
from tilejit.errors import ParameterError
from tilejit.kernel.discovery import find_single_kernel

if TYPE_CHECKING:
    from rich.table import Table

    from tilejit.comparison.comparison import Comparison, Row
    from tilejit.kernel.kernel import Edge

_SPARE = ("start", "compile", "efficiency", "speed-up", "over Python", "memory")
"""Columns that a narrow terminal goes without, the first first."""


def parse_cores(text: str) -> list[int]:
    """Reads counts of cores."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise ParameterError(f"{text!r}: write counts of cores, as 1,2,8")
    return [int(word) for word in words]


@click.command("compare", help=f"""Measure every strategy for being parallel on your own kernel and raster.

Plain Python, threads under the GIL, processes that pickle or share, Numba's loops, tilejit's threads and processes,
MPI, Dask, a GPU: each runs KERNEL over a sample of the INPUT rasters, its pixels are compared with tilejit's, and a
table says what each costs, what limits it, and which to use. It takes a minute or two.

{KERNEL_HELP}

{INPUT_HELP}

\b
tilejit compare slope dem.tif --html report.html
tilejit compare my_kernels.py:ndvi red=B4.tif nir=B5.tif --cores 1,2,8
""")  # fmt: skip
@click.argument("kernel", metavar="KERNEL")
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@stack_option
@parameter_option
@edge_option
@click.option("--cores", metavar="N,N", callback=option_callback(parse_cores),
              help="Counts of cores; 1, 2, 4 … up to those that there are unless given.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="How long the fastest strategy should take for the sample.")  # fmt: skip
@click.option("--strategy", "--way", "strategies", metavar="NAME", multiple=True,
              help="Only this one; may be repeated.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Write a report with charts, one file that needs no other.")
@click.option("--overwrite", is_flag=True, help="Replace an existing report.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say what is being measured.")
def compare(  # noqa: PLR0917 - click calls it by name
    kernel: str, inputs: tuple[str, ...], stacks: tuple[str, ...], parameters: tuple[str, ...], edge: Edge | None,
    cores: list[int] | None, seconds: float, strategies: tuple[str, ...], html: str | None,
    overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compares."""
    from tilejit.comparison import compare as comparing

    found = find_single_kernel(kernel)
    bound = bind_parameters([found], parameters)[0]
    rasters = open_inputs([found], inputs, stacks=stacks)[0]

    def tell(what: str) -> None:
        say(what, aside=True)

    result = comparing.compare(
        found, *rasters, cores=cores, seconds=seconds, strategies=strategies or None, html=html, overwrite=overwrite,
        edge=edge, tell=None if quiet else tell, **bound_values(bound),
    )  # fmt: skip
    show(result)
    if html is not None:
        show_labelled(f"{'written':<10}{html}")


def bound_values(bound: dict[str, object]) -> dict[str, object]:
    """Refuses a parameter with the name of an option of ``tj.compare``, which has no other way in."""
    taken = {"cores", "seconds", "strategies", "html", "overwrite", "tell"} & set(bound)
    if taken:
        raise ParameterError(
            f"{', '.join(sorted(taken))} is also an option of compare: give the parameter another name"
        )
    return bound


def show(comparison: Comparison) -> None:
    """Prints a comparison: a table on a terminal, plain text elsewhere."""
    if not on_terminal():
        say(str(comparison))
        return
    from rich.text import Text

    show_labelled("\n".join([comparison.title, *comparison.notes]))
    screen = console()
    table, left_out = _table(comparison, screen.width)
    screen.print(table)
    for row in comparison.rows:
        if row.measured is None:
            screen.print(Text(f"{row.strategy}: {row.why_not}", style="dim"))
    if left_out:
        screen.print(Text(f"A wider terminal, or --html, also shows {', '.join(left_out)}.", style="dim"))
    screen.print(comparison.verdict, style="bold")


def _table(comparison: Comparison, width: int) -> tuple[Table, list[str]]:
    """The strategies that ran, in as many columns as fit, and the headings of the others."""
    from rich.table import Table

    from tilejit.comparison.comparison import HEADINGS, WORDS

    ran = [row for row in comparison.rows if row.measured is not None]
    columns = dict(zip(HEADINGS, zip(*(comparison.cells(row) for row in ran), strict=True), strict=True))
    widths = {heading: max(map(len, (*heading.split(), *column))) for heading, column in columns.items()}
    left_out: list[str] = []
    while sum(widths.values()) + 2 * (len(widths) - 1) > width and len(left_out) < len(_SPARE):
        left_out.append(_SPARE[len(left_out)])
        del widths[left_out[-1]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, needed in widths.items():
        table.add_column(heading, justify="left" if heading in WORDS else "right", vertical="bottom", width=needed)
    for k, row in enumerate(ran):
        table.add_row(*(columns[heading][k] for heading in widths), style=_style(comparison, row))
    return table, left_out


def _style(comparison: Comparison, row: Row) -> str:
    return "bold green" if row == comparison.best else "" if row.is_right else "red"

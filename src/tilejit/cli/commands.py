"""The group of commands, and what their errors look like."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.console import say
from tilejit.errors import KernelError, NodataWarning, TilejitError, printable
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = {
    "run": ("runs:run", "Run a kernel from raster file to raster file."),
    "calc": ("calculating:calc", "Compute an expression of rasters into a file."),
    "clip": ("placing:clip", "Cut a raster to bounds, polygons, or what holds data."),
    "warp": ("placing:warp", "Put a raster on another grid."),
    "mosaic": ("placing:mosaic", "Join rasters, on whatever grids, to one."),
    "plan": ("runs:plan", "Show how a run would go."),
    "zonal": ("zonal:zonal", "Make a table by zone of the cells of rasters."),
    "merge": ("runs:merge", "Put the shards of a VRT together into one GeoTIFF."),
    "compare": ("comparing:compare", "Measure every strategy for being parallel on your own kernel and raster."),
    "list": ("telling:list_kernels", "List the kernels that are installed, or those of a file."),
    "show": ("telling:show", "Print the source that tilejit generates for a kernel."),
    "warm": ("telling:warm", "Compile kernels now, so that no run waits for it."),
    "info": ("telling:info", "Tell about this machine and what tilejit finds on it."),
    "demo": ("demo:demo", "Make a terrain, and its slope and hillshade in one pass."),
}
"""Name -> where it lies in ``tilejit.cli``, and what it does."""

_OPTION_NAMES = re.compile(r"\b(backend|dtype|edge|executor|memory|nodata|profile|resume|tile|trace|workers)=")
"""The library names options as Python does; on the command line they have other names."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, in the order that they are met."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"tilejit.cli.{module}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the names that are close when there is no such command."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {name!r}; {advice}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if value:
        import tilejit

        click.echo(f"tilejit {tilejit.__version__}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def tilejit() -> None:
    """Run raster kernels written in Python, compiled, on all cores or a GPU.

    Begin with `tilejit demo`.
    """


def run_commands(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code; errors are told on standard error."""
    words = [word for word in arguments if word != "--debug"]
    try:
        with ends_heard(), _warnings_told():
            code = tilejit.main(words, prog_name="tilejit", standalone_mode=False)
    except BrokenPipeError:
        # The reader has seen enough, as in `tilejit list | head`; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - one line, whatever went wrong
        code, message = _verdict(error)
        if "--debug" in arguments:
            say(traceback.format_exc().rstrip("\n"), aside=True)
        click.echo(message, err=True)
    return code if isinstance(code, int) else 0


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Tells what there is to warn of as errors are told, and not as Python does, with a line of this program's."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
            if not issubclass(category, NodataWarning):
                others(message, category, *more, **named)
                return
            for line in in_shell_words(message).split("\n"):
                click.echo(f"{click.style('warning:', fg='yellow')} {printable(line)}", err=True)

        warnings.showwarning = tell
        warnings.simplefilter("always", NodataWarning)
        yield


def _verdict(error: BaseException) -> tuple[int, str]:
    """The exit code for an error, and what is said of it."""
    label = click.style("tilejit:", fg="red", bold=True)
    match error:
        case click.UsageError() if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2
            return 2, error.format_message()
        case click.ClickException():
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            return 2, f"{label} {printable(error.format_message())}{hint}"
        case click.Abort() | KeyboardInterrupt():
            return 130, f"{label} interrupted: no output is left half written{_notes(error)}"
        case TilejitError():
            return 1, f"{label} {in_shell_words(error)}{_notes(error)}"
    return 1, f"{label} {type(error).__name__}: {printable(str(error))} (a fault of tilejit's own; --debug shows where)"


def _notes(error: BaseException) -> str:
    """What else is to be said of an error, in lines of their own."""
    return "".join(f"\n  {printable(_with_flags(note))}" for note in getattr(error, "__notes__", ()))


def _with_flags(text: str) -> str:
    for name in ("overwrite", "resume", "cog"):
        text = text.replace(f"{name}=True", f"--{name}")
    return text


def in_shell_words(error: Exception | str) -> str:
    """Returns the message of an error or a warning with options as the command line names them.

    Example:
        >>> in_shell_words(TilejitError("a.tif: exists already: give another name, or overwrite=True"))
        'a.tif: exists already: give another name, or --overwrite'
    """
    text = str(error)
    if isinstance(error, KernelError):
        return text  # it may quote the user's source
    text = _with_flags(text)
    text = re.sub(r"\b(give (?:it as )?)(\w+)=…", r"\1-p \2=…", text)
    return _OPTION_NAMES.sub(lambda match: f"--{match[1]} ", text).replace(" ,", ",").rstrip()

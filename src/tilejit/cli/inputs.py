"""What stands behind the words of a run: input files, bands, parameters, sizes."""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tilejit.compiler.form.kinds import Kind
from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter
    from tilejit.kernel.decorators import Applicable
    from tilejit.kernel.kernel import Edge
    from tilejit.raster.raster import Raster

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)
_BAND = re.compile(r"(.+)\[([^\]]*)\]", re.DOTALL)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Input:
    """An input as it was typed."""

    name: str | None  # the parameter that it is for, or None: by position
    path: str  # the file
    band: int | None  # the band, from 1, or None: it has one
    is_stack: bool = False  # whether the path is a pattern that names the files of a stack


def parse_input(text: str) -> Input:
    """Reads ``file.tif[3]`` or ``red=file.tif``; a file of that literal name wins."""
    if Path(text).exists():
        return Input(None, text, None)
    named = _NAMED.fullmatch(text)
    name, text = (named[1], named[2]) if named else (None, text)
    band = None if Path(text).exists() else _BAND.fullmatch(text)
    if band is None:
        return Input(name, text, None)
    if not band[2].isdecimal() or int(band[2]) < 1:
        raise ParameterError(f"{text}: a band is a number from 1, as {shlex.quote(f'{band[1]}[1]')}, not {band[2]!r}")
    return Input(name, band[1], int(band[2]))


def open_inputs(
    kernels: Sequence[Applicable], words: Sequence[str], scaled: bool | None = None, stacks: Sequence[str] = ()
) -> list[list[Raster]]:
    """Opens the inputs of kernels, which share them by name; one alone goes to every kernel that takes one.

    Words and stacks, patterns that name files as ``t=ndvi_*.tif``, are as they were typed.
    """
    inputs = [*(replace(parse_input(word), is_stack=True) for word in stacks), *map(parse_input, words)]
    kernels = [kernel if not kernel.star else _taking(kernel, inputs) for kernel in kernels]
    if len(inputs) == 1 and inputs[0].name is None and all(len(k.rasters) == 1 for k in kernels):
        raster = _open(inputs[0], kernels[0], kernels[0].rasters[0], scaled)
        return [[raster] for _ in kernels]
    given = _matched(kernels, inputs)
    rasters = {name: _open(given[name], *_taker(kernels, name), scaled) for name in given}
    return [[rasters[r.name] for r in kernel.rasters] for kernel in kernels]


def _taking(kernel: Applicable, inputs: Sequence[Input]) -> Applicable:
    """A kernel of ``*rasters`` for the inputs that its other parameters leave."""
    own = {r.name for r in kernel.rasters if not r.star}
    named = sum(one.name in own for one in inputs)
    left = sum(one.name is None for one in inputs) - (len(own) - named)
    return kernel.taking(len(own) + max(left, 0))


def _matched(kernels: Sequence[Applicable], inputs: Sequence[Input]) -> dict[str, Input]:
    """Parameter -> input."""
    rasters = {r.name: r.is_stack for k in kernels for r in k.rasters}
    names = list(rasters)
    label = " and ".join(k.name for k in kernels)
    takes = f"{label} take{'s' * (len(kernels) == 1)} {', '.join(names)}"
    given: dict[str, Input] = {}
    for one in inputs:
        if one.name is None:
            continue
        if one.name not in names:
            raise ParameterError(f"no input {one.name!r}{near(one.name, names)}; {takes}")
        if one.name in given:
            raise ParameterError(f"input {one.name} is given twice: {given[one.name].path} and {one.path}")
        given[one.name] = one
    for is_stack in (True, False):  # stacks take the places of stacks, and files those that are left
        free = [name for name in names if name not in given and (rasters[name] or not is_stack)]
        placed = [one for one in inputs if one.name is None and one.is_stack == is_stack]
        if len(placed) > len(free):
            quotes = ": write the pattern of a stack in quotes" if any(one.is_stack for one in inputs) else ""
            raise ParameterError(f"{len(inputs)} inputs are given; {takes}{quotes}")
        given |= dict(zip(free, placed, strict=False))
    missing = [name for name in names if name not in given]
    if missing:
        how = f"--stack {missing[0]}='*.tif'" if rasters[missing[0]] else f"{missing[0]}=FILE"
        raise ParameterError(f"input {', '.join(missing)} is missing; {takes}: give {how}")
    return given


def _taker(kernels: Sequence[Applicable], name: str) -> tuple[Applicable, RasterParameter]:
    return next((k, r) for k in kernels for r in k.rasters if r.name == name)


def _open(one: Input, kernel: Applicable, parameter: RasterParameter, scaled: bool | None) -> Raster:
    from tilejit.raster.making import open_raster

    if one.is_stack and not parameter.is_stack:
        raise ParameterError(f"{kernel.name} takes one band as {parameter.name}, no stack: give {parameter.name}=FILE")
    if one.is_stack:
        return _in_time([open_raster(path, band=one.band, scaled=scaled) for path in files_of(one.path)])
    raster = open_raster(one.path, band=one.band, scaled=scaled)
    if len(raster) > 1 and not parameter.is_stack:
        raise ParameterError(
            f"{one.path} has {len(raster)} bands, and {kernel.name} takes one as {parameter.name}: "
            f"choose it, as {shlex.quote(f'{one.path}[1]')}"
        )
    return raster


def _in_time(files: Sequence[Raster]) -> Raster:
    """A stack of files, in the order of their dates where each has one."""
    from tilejit.raster.making import stack

    times = stack(files).times
    return stack(
        files if times is None or len(times) > len(files) else [files[k] for k in times.argsort(kind="stable")]
    )


def files_of(pattern: str, option: str = "--stack ") -> list[str]:
    """The files that a pattern names, in natural order: what numbers they have in their names counts as numbers."""
    if Path(pattern).exists() or not has_magic(pattern):
        return [pattern]
    found = glob(pattern)  # noqa: PTH207 - that of Path takes no absolute ones
    if not found:
        raise ParameterError(f"{option}{shlex.quote(pattern)}: no file is called so, seen from {Path.cwd()}")
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """What names are compared by: their pieces, numbers as such."""
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in re.split(r"(\d+)", name)]


def bind_parameters(kernels: Sequence[Applicable], words: Sequence[str]) -> list[dict[str, Any]]:
    """Reads ``name=value`` for every kernel that has the name, ``hillshade.azimuth=300`` for one."""
    bound: list[dict[str, Any]] = [{} for _ in kernels]
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{word!r}: write -p name=value")
        owner, dot, short = name.rpartition(".")
        takers = [
            (values, scalar)
            for kernel, values in zip(kernels, bound, strict=True)
            for scalar in kernel.scalars
            if scalar.name == (short if dot else name) and (not dot or kernel.name == owner)
        ]
        if not takers:
            raise ParameterError(_no_parameter(kernels, name))
        for values, scalar in takers:
            values[scalar.name] = parse_value(scalar, text)
    for kernel, values in zip(kernels, bound, strict=True):
        kernel.bind(values)
    return bound


def _no_parameter(kernels: Sequence[Applicable], name: str) -> str:
    known = list(dict.fromkeys(s.name for k in kernels for s in k.scalars))
    label = " and ".join(k.name for k in kernels)
    verb = "takes" if len(kernels) == 1 else "take"
    return f"no parameter {name!r}{near(name, known)}; {label} {verb} {', '.join(known) or 'none'}"


def parse_value(scalar: ScalarParameter, text: str) -> bool | int | float:
    """Reads the value of a parameter."""
    try:
        if scalar.kind is Kind.BOOL:
            return _TRUTH[text.lower()]
        return scalar.convert(int(text, 0) if scalar.kind is Kind.INT else float(text))
    except (KeyError, ValueError):
        wanted = "true or false" if scalar.kind is Kind.BOOL else f"one {scalar.kind}"
        raise ParameterError(f"{scalar.name} takes {wanted}, not {text!r}") from None


def near(name: str, known: Iterable[str]) -> str:
    """Returns `` (did you mean …?)``, or nothing where no name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def option_callback(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Makes of a parser what click calls with an option's text."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else parse(text)
        except ParameterError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return callback


def parse_tile(text: str) -> tuple[int, int]:
    """Reads rows and columns."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < 1:
        raise ParameterError(f"{text!r} is no tile: write rows x columns, as 512x2048")
    return int(match[1]), int(match[2] or match[1])


def parse_nodata(text: str) -> float | Literal["none"]:
    """Reads a number, nan or none; an integer stays one, so that 64-bit ones are exact."""
    if text.lower() == "none":
        return "none"
    return _number(text, "write -9999, 0 or nan, or none for an output without a nodata value")


def _number(text: str, advice: str) -> float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    raise ParameterError(f"{text!r} is no number: {advice}")


def parse_edge(text: str) -> Edge:
    """Reads what lies outside the raster."""
    name: Edge | None = next((e for e in ("nodata", "nearest", "reflect", "wrap") if e == text.lower()), None)
    return _number(text, "write nodata, nearest, reflect, wrap or a number") if name is None else name


def parse_profile(text: str) -> dict[str, str]:
    """Reads GDAL's creation options by name."""
    options = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if not name or not value:
            raise ParameterError(f"{part!r}: write option=value,option=value, as compress=deflate,zlevel=6")
        options[name] = value
    return options

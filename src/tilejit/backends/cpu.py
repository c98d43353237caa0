"""Machine code on the CPU: serial functions without the GIL, over tiles or rows of arrays."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tilejit.backends import interruptible, new_control
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.jit.machine_code import MOST_WORDS, words_of
from tilejit.compiler.jit.native_function import NativeFunction, code_target
from tilejit.errors import IterationLimitError, KernelError, TilejitError
from tilejit.kernel.counts import Counts
from tilejit.sizes import counted
from tilejit.system.program import told_on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from tilejit.backends import Launch, LaunchControl
    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.jit.machine_code import ArgumentType
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.kernel import Kernel

_SHORT, _SHORT_OPEN_ENDED = 2e9, 1 << 10
"""Operations that a core does in about a second, and pixels of a kernel whose text does not tell how long one takes: a
third of a second for 20,000 sines each."""


class CpuBackend:
    """Compiles kernels with LLVM."""

    name = "cpu"

    def why_not(self) -> str | None:
        """A CPU is always there."""
        return None

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the serial ``nogil`` launch, to be called from several threads."""
        return _launch(kernel, signature)

    def functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """Returns the function of the serial launch."""
        return [_function(kernel, signature, "tile")]

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the module of the serial launch."""
        return _text(kernel, signature, "tile")

    def compile_settling(self, kernel: Kernel, signature: Signature, scans: int) -> Launch:
        """Returns a launch that first settles its first array, in place, in so many scans at most."""
        return _SettlingLaunch(kernel, signature, scans)

    def settling_functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """Returns the functions of such a launch."""
        return [_function(kernel, signature, "settle"), *self.functions(kernel, signature)]


class CpuLaunch:
    """Calls a compiled function, with an array to count in where it counts anything.

    Rows of outputs may be longer than the inner part of the inputs, to which their first pixels belong. Of more than
    so many pixels Ctrl-C stops it between rows.
    """

    def __init__(self, function: Callable[..., Any], kernel: Kernel, signature: Signature, facts: LaunchFacts) -> None:
        self._function, self._kernel, self._signature = function, kernel, signature
        self._counters, self._lanes, self._short = facts.counters, facts.lanes, short_pixels(kernel)

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        """Computes one tile: see `Launch`."""
        control = new_control() if control is None else control
        arguments = (control, *arrays, *outputs, *nodata, *scalars)
        height, width = outputs[0].shape[-2:]
        if height * width <= self._short:
            told = self._call(arguments, width)
        else:
            told = interruptible(lambda: self._call(arguments, width), control)
        if not told:
            return Counts()
        if "outside" in self._counters and told[-2]:
            from tilejit.backends.outside import refuse_outside  # which imports the python backend

            inner = height, arrays[0].shape[-1] - 2 * self._kernel.radius[1]
            refuse_outside(self._kernel, self._signature, told[-2:], arrays, scalars, inner)
        return Counts.of_launch(self._kernel, self._counters, told, arrays)

    def _call(self, arguments: Sequence[Any], width: int) -> list[int]:
        lanes = [np.empty(size or width, dtype) for dtype, size in self._lanes]
        if not self._counters:
            self._function(*arguments, *lanes)
            return []
        counts = np.zeros(len(self._counters), np.int64)
        self._function(*arguments, counts, *lanes)
        told: list[int] = counts.tolist()
        return told


class _SettlingLaunch:
    """Settles a tile before it launches: see `tilejit.compiler.emitter.settling`."""

    def __init__(self, kernel: Kernel, signature: Signature, limit: int) -> None:
        self._launch, self._name, self._limit = _launch(kernel, signature), kernel.name, limit
        self._settle, types = _function(kernel, signature, "settle")
        self._settle.load(types)
        counters = launch_facts(kernel, signature, "settle").counters
        self._counts = [np.zeros(len(counters), np.int64)] * bool(counters)

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        """Computes one tile: see `Launch`."""
        control = new_control() if control is None else control
        seen, moved = np.zeros((2, len(outputs[0])), np.int64)
        arguments = (control, *arrays, *outputs, *nodata, *scalars, *self._counts, seen, moved, self._limit)
        ended = interruptible(lambda: self._settle(*arguments), control)
        if ended:
            raise self._unsettled(ended)
        return self._launch(arrays, outputs, nodata, scalars, control)

    def _unsettled(self, ended: int) -> TilejitError:
        from tilejit.compiler.emitter.settling import BOTH_WAYS

        if ended == BOTH_WAYS:
            return KernelError(
                f"{self._name} is declared monotone, and cells of one tile rise and fall: leave monotone= out"
            )
        return IterationLimitError(
            f"{self._name}: cells of one tile still change when it has been gone over {self._limit} times, as "
            f"limit={self._limit} allows: give a higher limit=, or see whether the kernel comes to an end at all"
        )


@functools.lru_cache(maxsize=512)
def short_pixels(kernel: Kernel) -> int:
    """The pixels that a core computes before somebody who pressed Ctrl-C gets impatient."""
    return _SHORT_OPEN_ENDED if kernel.facts.is_open_ended else int(_SHORT / max(1, kernel.facts.operations))


class LaunchFacts(NamedTuple):
    """What is known of a launch before it is compiled; see `tilejit.kernel.facts`."""

    counters: tuple[str, ...]
    """What it counts."""
    lanes: tuple[tuple[str, int], ...]
    """The arrays of one row that it takes last: dtype, and length where that is not the row's."""
    types: tuple[tuple[str, int, str], ...]
    """What it is called with."""
    code: str
    """The name of the file with its machine code; nothing where none is kept."""


def scratch_of(kernel: Kernel, signature: Signature) -> tuple[int, int]:
    """Returns the bytes that a launch takes beside its inputs and outputs, and those for each column of a tile."""
    lanes = [(np.dtype(dtype).itemsize, size) for dtype, size in launch_facts(kernel, signature, "tile").lanes]
    return sum(wide * size for wide, size in lanes), sum(wide for wide, size in lanes if not size)


@functools.lru_cache(maxsize=512)
def _launch(kernel: Kernel, signature: Signature) -> CpuLaunch:
    function, types = _function(kernel, signature, "tile")
    with told_on_terminal(f"compiling {kernel.name} ..."):
        function.load(types)
    return CpuLaunch(function, kernel, signature, launch_facts(kernel, signature, "tile"))


@functools.lru_cache(maxsize=512)
def _function(kernel: Kernel, signature: Signature, entry: str) -> tuple[NativeFunction, tuple[ArgumentType, ...]]:
    facts = launch_facts(kernel, signature, entry)
    types = tuple((np.dtype(dtype), dimensions, layout) for dtype, dimensions, layout in facts.types)
    text = functools.partial(_text, kernel, signature, entry)
    return NativeFunction(text, entry, kernel.name, kernel.c_functions, {types: facts.code}), types


@functools.lru_cache(maxsize=512)
def launch_facts(kernel: Kernel, signature: Signature, entry: str) -> LaunchFacts:
    """Returns what is known of the launch over tiles ("tile"), or of what settles one first ("settle")."""
    what = entry, signature, code_target()
    return LaunchFacts(*kernel.kept(what, functools.partial(_found, kernel, signature, entry)))


def _found(kernel: Kernel, signature: Signature, entry: str) -> tuple[Any, ...]:
    """Finds out what `LaunchFacts` holds."""
    from tilejit.compiler.emitter.cpu import launch_lanes
    from tilejit.compiler.emitter.pixels import counters_of

    lanes = [(one.dtype, one.size) for one in launch_lanes(kernel, signature)]
    times = _array(np.int64, 1)
    last = [times, times, _number(np.int64)] if entry == "settle" else [_array(dtype, 1) for dtype, _ in lanes]
    types = (*launch_types(kernel, signature), *last)
    if words_of(types) > MOST_WORDS:
        raise KernelError(
            f"{kernel.name}: {counted(len(kernel.rasters), 'raster')} in and {counted(len(kernel.results), 'result')} "
            f"out are {words_of(types)} words of memory, and a compiled function takes {MOST_WORDS}: let a stack be "
            'one parameter (t: tj.Stack), and a value for each of its layers be one result (tj.series(output="dates"))'
        )
    function = NativeFunction(_text(kernel, signature, entry), entry, kernel.name, kernel.c_functions)
    place = function.place(types)
    return (
        counters_of(kernel, signature),
        tuple((dtype.str, size) for dtype, size in lanes),
        tuple((dtype.str, dimensions, layout) for dtype, dimensions, layout in types),
        "" if place is None else place.name,
    )


def _text(kernel: Kernel, signature: Signature, entry: str) -> str:
    """The module that holds a launch's function."""
    if entry == "settle":
        from tilejit.compiler.emitter.settling import settling_source  # which few runs need

        return settling_source(kernel, signature)
    from tilejit.compiler.emitter.cpu import cpu_source  # which no run needs whose code is kept

    return cpu_source(kernel, signature)


def launch_types(kernel: Kernel, signature: Signature, computed: int = 0) -> tuple[ArgumentType, ...]:
    """Returns what a compiled launch is called with: control, inputs, outputs, nodata, scalars and counters.

    Behind the kernel's own scalars come floats that are computed before the launch, of which there are ``computed``.
    """
    inputs: list[ArgumentType] = []
    for raster, dtype in zip(kernel.rasters, signature.inputs, strict=True):
        dimensions = 3 if raster.is_stack else 2
        inputs += [_array(dtype, dimensions), *[_array(np.uint8, dimensions)] * (raster.dtype is not None)]
    numbers = {Kind.FLOAT: _number(signature.compute), Kind.INT: _number(np.int64), Kind.BOOL: _number(np.bool_)}
    varies = [s.quantity is not None and s.quantity.axis != "grid" and not s.quantity.is_index for s in kernel.scalars]
    scalars = [_array(signature.compute, 1) if is_line else numbers[s.kind]
               for s, is_line in zip(kernel.scalars, varies, strict=True)]  # fmt: skip
    scalars += [_array(signature.compute, 1)] * kernel.facts.reads_times
    scalars += [_number(signature.compute)] * computed
    from tilejit.compiler.emitter.pixels import counters_of

    results, integers = signature.outputs, _array(np.int64, 1)
    outputs = (_array(dtype, 3 if kernel.by_date else 2) for dtype in results)
    counters = [integers] * bool(counters_of(kernel, signature))
    return (integers, *inputs, *outputs, *map(_number, results), *scalars, *counters)


def _array(dtype: DTypeLike, dimensions: int) -> ArgumentType:
    return np.dtype(dtype), dimensions, "C"


def _number(dtype: DTypeLike) -> ArgumentType:
    return np.dtype(dtype), 0, ""

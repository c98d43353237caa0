"""Zonal kernels: a body gives values of one pixel, which are folded into a row for each zone."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from tilejit.compiler.arrays import arrays
from tilejit.errors import KernelError
from tilejit.kernel.decorators import declare
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    Finish = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

Word = Literal[
    "sum", "mean", "std", "min", "max", "min_row", "min_col", "max_row", "max_col",
    "majority", "minority", "variety", "median",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Percentile:
    """The fold that `percentile` makes."""

    percent: float
    """From 0 to 100."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """The fold that `histogram` makes."""

    edges: tuple[float, ...]
    """One more than there are classes, rising."""


Fold = Word | Percentile | Histogram
"""How a column of a zonal table takes the values of a zone's cells."""


@overload
def percentile(percent: float) -> Percentile: ...
@overload
def percentile(percent: Any, n: int, q: float) -> float: ...
def percentile(percent: Any, n: int | None = None, q: float | None = None) -> Percentile | float:
    """Makes a fold of `zonal`: the value below which so many percent of a zone's cells lie.

    With three arguments, as in a body, it is a percentile of the first elements of an array instead:
    `tilejit.compiler.arrays.arrays.percentile`.

    It is exact, with linear interpolation between ranks as `numpy.percentile` has it. Where cells belong to zones by
    shares it is the least value up to which cells have so many percent of them (``method="inverted_cdf"``).

    Args:
        percent: From 0 to 100; or the array.
        n: How many of its elements.
        q: Per cent, 0 to 100.

    Raises:
        KernelError: It is no percentage.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.zonal(high=tj.percentile(90))
        ... def ninth_tenth(value):
        ...     return value
        >>> ninth_tenth(np.arange(11.0)[np.newaxis], zones=np.ones((1, 11), int)).compute()["high"]
        array([9.])
    """
    if n is not None and q is not None:
        return arrays.percentile(percent, n, q)
    if not 0 <= percent <= 100:
        raise KernelError(f"percentile({percent!r}): percents are from 0 to 100")
    return Percentile(float(percent))


percentile.__tilejit_body__ = arrays.percentile  # type: ignore[attr-defined]


def histogram(edges: Sequence[float]) -> Histogram:
    """Makes a fold of `zonal`: how many of a zone's cells lie in each class.

    Args:
        edges: One more than there are classes, rising. A class has its lower edge, and the last one both, as with
            `numpy.histogram`; what lies outside is not counted.

    Raises:
        KernelError: They do not rise, or are fewer than two.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.zonal(classes=tj.histogram([0, 10, 20]))
        ... def by_height(value):
        ...     return value
        >>> by_height(np.float32([[1, 5, 10, 20, 30]]), zones=np.ones((1, 5), int)).compute()["classes"]
        array([[2, 2]])
    """
    found = tuple(float(edge) for edge in edges)
    if len(found) < 2 or not all(low < high for low, high in pairwise(found)):
        raise KernelError(f"histogram({list(edges)!r}): give at least two edges, each greater than the one before")
    return Histogram(found)


@dataclass(frozen=True)
class ZonalKernel(Kernel):
    """A body whose results are folded by zone. Call it with Rasters and their zones to get a lazy table."""

    columns: tuple[tuple[str, Fold], ...] = ()
    """Name and fold of the column of each result."""
    finish: Finish | None = None
    """What makes the final columns of the merged table."""

    @functools.cached_property
    def same_results(self) -> tuple[int, ...]:
        """For each result the first that is the same expression, so that each is folded from one plane."""
        return self.kept("same results", self._same_results)

    @functools.cached_property
    def plain_results(self) -> tuple[str | float | None, ...]:
        """Results that need no computing: a number, or the name of a raster; None for others.

        Where the body computes anything, rasters go through it: it may read one more, and be nodata where that is.
        """
        return self.kept("plain results", self._plain_results)

    def _same_results(self) -> tuple[int, ...]:
        texts = [ast.dump(node) for node in _returned(self)]
        return tuple(texts.index(text) for text in texts) or tuple(range(len(self.columns)))

    def _plain_results(self) -> tuple[str | float | None, ...]:
        names = {raster.name for raster in self.rasters if raster.dtype is None and not raster.is_stack}
        found = tuple(_plain(node, names) for node in _returned(self)) or (None,) * len(self.columns)
        if self.declared_outputs is not None:
            return (None,) * len(self.columns)
        is_plain = None not in found and len(_statements(self)) == 1
        return found if is_plain else tuple(None if isinstance(result, str) else result for result in found)

    def __hash__(self) -> int:
        """As of any kernel."""
        return super().__hash__()

    def __repr__(self) -> str:
        return f"<zonal kernel {self.name}{self.usage} from {self.source.where}>"


def _statements(kernel: Kernel) -> list[ast.stmt]:
    """A body without its docstring."""
    body = kernel.source.tree.body
    return body[1:] if isinstance(body[0], ast.Expr) else body


def _returned(kernel: Kernel) -> list[ast.expr]:
    """What a body with one return gives; nothing of others."""
    returns = [node for s in _statements(kernel) for node in ast.walk(s) if isinstance(node, ast.Return)]
    if len(returns) != 1 or returns[0].value is None:
        return []
    value = returns[0].value
    return value.elts if isinstance(value, ast.Tuple) else [value]


def _plain(node: ast.expr, names: Collection[str]) -> str | float | None:
    if isinstance(node, ast.Name) and node.id in names:
        return node.id
    return node.value if isinstance(node, ast.Constant) and type(node.value) in {int, float} else None  # type: ignore[return-value]


def zonal(*, finish: Finish | None = None, **columns: Fold) -> Callable[[Callable[..., object]], ZonalKernel]:
    """Declares a kernel that makes a table by zone: map and reduce.

    The body gives the values of one pixel, one for each column. Each column folds the values of all cells of a zone:
    ``"sum"``, ``"mean"``, ``"std"`` (of the population), ``"min"``, ``"max"``, and where the first of the least and the
    greatest cells lies (``"min_row"``, ``"min_col"``, ``"max_row"``, ``"max_col"``); ``"majority"``, ``"minority"``,
    ``"variety"``, ``"median"``, `percentile` and `histogram`. Where an input is invalid, the cell does not count. All
    of them have the same bits for any tiling, threads and executor: docs/zones.md says what each means and takes.

    Args:
        finish: Takes the merged table, column -> array, and returns the final columns, which follow ``zone``. Beside
            the columns the table has ``zone``, ``cells`` and ``nodata``: how many cells of each zone count, and do not.
        **columns: Name -> fold, in the order of the body's results.

    Raises:
        KernelError: The body says something that the language cannot take, or has other results than there are columns.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.zonal(count="sum", total="sum", low="min", high="max")
        ... def stats(value):
        ...     return 1, value, value, value
        >>> heights, zones = np.float32([[1, 2], [5, np.nan]]), np.uint8([[1, 1], [2, 2]])
        >>> table = stats(heights, zones=zones).compute()
        >>> {name: column.tolist() for name, column in table.items()}
        {'zone': [1, 2], 'count': [2, 1], 'total': [3.0, 5.0], 'low': [1.0, 5.0], 'high': [2.0, 5.0]}
    """
    if not columns:
        raise KernelError('zonal() names its columns and their folds: @tj.zonal(total="sum", high="max")')
    for name, fold in columns.items():
        if not isinstance(fold, (Percentile, Histogram)) and fold not in get_args(Word):
            words = ", ".join(get_args(Word))
            raise KernelError(
                f"zonal({name}={fold!r}); a fold is one of {words}, tj.percentile(90), tj.histogram(edges)"
            )
    if taken := {"zone", "cells", "nodata"} & set(columns):
        raise KernelError(f"zonal({taken.pop()}=…): every table has a column of that name: give another one")

    def made(body: Callable[..., object]) -> ZonalKernel:
        plain = declare(body, kind="zonal")
        kernel = ZonalKernel(
            **{field.name: getattr(plain, field.name) for field in fields(plain)},
            columns=tuple(columns.items()),
            finish=finish,
        )
        if len(kernel.results) != len(columns):
            names = ", ".join(columns)
            kernel.source.fail(
                None,
                f"returns {counted(len(kernel.results), 'value')}, and there are {len(columns)} columns: {names}",
                "return one value for each column",
            )
        return kernel

    return made

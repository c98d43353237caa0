"""Zonal kernels: a body gives values of one pixel, which are folded into a row for each zone."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from tilejit.errors import KernelError
from tilejit.kernel.decorators import declare
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    Finish = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

Fold = Literal["sum", "min", "max", "mean", "std"]
"""How a column of a zonal table takes the values of a zone's cells."""


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
        texts = [ast.dump(node) for node in _returned(self)]
        return tuple(texts.index(text) for text in texts) or tuple(range(len(self.columns)))

    @functools.cached_property
    def plain_results(self) -> tuple[str | float | None, ...]:
        """Results that need no computing: a number, or the name of a raster; None for others.

        Where the body computes anything, rasters go through it: it may read one more, and be nodata where that is.
        """
        names = {raster.name for raster in self.rasters if raster.dtype is None}
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
    ``"sum"``, ``"min"``, ``"max"``, ``"mean"`` or ``"std"`` (of the population). Sums, means and deviations are exact
    until they are rounded once, so that they have the same bits for any tiling, threads and executor. Where an input
    is invalid, the cell does not count.

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
        if fold not in get_args(Fold):
            raise KernelError(f"zonal({name}={fold!r}); a fold is one of {', '.join(get_args(Fold))}")
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

"""Which index of which table lay outside: the first row with such a pixel is interpreted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tilejit.backends.python import Interpreter
from tilejit.backends.tables import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.form.kinds import Quantity, Signature
    from tilejit.kernel.kernel import Kernel


def refuse_outside(  # noqa: PLR0917 - what was launched, and what came of it
    kernel: Kernel,
    signature: Signature,
    told: Sequence[int],
    arrays: Sequence[NDArray[Any]],
    scalars: Sequence[Any],
    shape: tuple[int, int],
) -> NoReturn:
    """Raises the error of a launch of which pixels have indexed a table outside.

    Args:
        kernel: The kernel.
        signature: What it was compiled for.
        told: How many pixels, and how many rows there are from the first such one to the last.
        arrays: What was launched.
        scalars: What was launched.
        shape: Rows and columns that were computed, from the upper left corner of the arrays.

    Raises:
        KernelError: Always: with the kernel, the table and the index.
    """
    (count, from_end), (height, width) = told, shape
    row, (rows, cols) = height - from_end, kernel.radius
    parts = [np.ascontiguousarray(a[..., row : row + 2 * rows + 1, : width + 2 * cols]) for a in arrays]
    pairs = zip(kernel.scalars, scalars, strict=False)  # behind them may stand times of layers
    numbers = [*(_of_row(signature, s.quantity, v, row) for s, v in pairs), *scalars[len(kernel.scalars) :]]
    outputs = [np.empty(kernel.result_shape(1, width), dtype) for dtype in signature.outputs]
    nodata = [dtype.type(0) for dtype in signature.outputs]
    _, found = Interpreter(kernel, signature).interpreted(parts, outputs, nodata, numbers)
    if found is None:  # of a kernel that is declared fast, say, whose numbers may differ
        kernel.form.tables[0].refuse(("…",), kernel.form.tables[0].values.shape[0], count)
    refuse(kernel, found, count)


def _of_row(signature: Signature, quantity: Quantity | None, value: Any, row: int) -> Any:
    """A scalar as a launch of one row takes it."""
    if quantity is None or quantity.axis != "row":
        return value
    if not quantity.is_index:
        return value[row : row + 1]
    return value - row if signature.sign(quantity) == "-" else value + row

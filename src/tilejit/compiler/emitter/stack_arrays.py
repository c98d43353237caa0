"""Local arrays on the CPU: memory of the stack, which LLVM turns into registers where indices are literals.

The text of these functions stands in generated modules that have arrays. LLVM's own instructions spare Numba the
hundreds of statements of a network: 1.4 s to compile a median of 5x5 cells.
"""

from __future__ import annotations

from typing import Any


def local(element: str, size: int) -> Any:
    """A function that returns the place of an array, the same for each call in a function that calls it."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    dtype = getattr(types, element)

    @intrinsic
    def made(_: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            kind = context.get_data_type(dtype)
            with builder.goto_entry_block():
                return builder.bitcast(builder.alloca(ir.ArrayType(kind, size)), kind.as_pointer())

        return types.CPointer(dtype)(), code  # type: ignore[no-untyped-call]

    return made


def sorting(element: str, size: int, pairs: tuple[tuple[int, int], ...]) -> Any:
    """A function that sorts the first elements of such an array by a network; NaN comes last."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    dtype, index = getattr(types, element), ir.IntType(64)
    is_float = element.startswith("float")

    @intrinsic
    def made(_: Any, array: Any, _count: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = context.get_data_type(dtype)
            pointer, n = arguments
            cells = [builder.gep(pointer, [index(k)]) for k in range(size)]
            old = [builder.load(cell) for cell in cells]
            first = [builder.icmp_signed(">", n, index(k)) for k in range(size)]
            largest = kind(float("inf")) if is_float else kind(2**63 - 1)
            known, m = first, n
            if is_float:
                known = [
                    builder.and_(is_in, builder.fcmp_ordered("ord", v, v)) for is_in, v in zip(first, old, strict=True)
                ]
                m = index(0)
                for is_known in known:
                    m = builder.add(m, builder.zext(is_known, index))
            values = [builder.fadd(v, kind(0.0)) for v in old] if is_float else old  # -0.0 becomes 0.0
            keys = [builder.select(is_known, v, largest) for is_known, v in zip(known, values, strict=True)]
            less = builder.fcmp_ordered if is_float else builder.icmp_signed
            for i, j in pairs:
                swaps = less("<", keys[j], keys[i])
                keys[i], keys[j] = builder.select(swaps, keys[j], keys[i]), builder.select(swaps, keys[i], keys[j])
            for k in range(size):
                new = keys[k]
                if is_float:
                    new = builder.select(builder.icmp_signed(">", m, index(k)), new, kind(float("nan")))
                builder.store(builder.select(first[k], new, old[k]), cells[k])
            return context.get_dummy_value()

        return types.none(array, types.int64), code

    return made

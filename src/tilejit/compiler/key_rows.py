"""Rows of keys on the CPU: an element of each of some pixels, in one or two of the processor's registers.

The text of this function stands in generated modules that sort arrays which lie beside each other. It spells LLVM's own
vectors: loops of Numba are vector code where LLVM finds that it pays, and it found elements of one pixel, 64 apart.
"""

from __future__ import annotations

from typing import Any


def key_rows(lanes: int, rows: int, sorts: tuple[tuple[int, int], ...], merges: tuple[tuple[int, int], ...]) -> Any:
    """What `tilejit.compiler.sorting.by_lanes` is made of.

    Args:
        lanes: Pixels whose arrays lie beside each other; a row of keys has as many as fill 64 bytes.
        rows: How many rows are sorted in registers.
        sorts: The pairs of such rows that are exchanged to sort them.
        merges: Those which sort them where they rise and then fall.

    Returns:
        Functions of an array (element * lanes + pixel) and of keys (row * pixels + pixel). ``take`` makes keys of the
        array and returns how many rows, a multiple of ``rows``: rows in which no pixel has a key are left out.
        ``exchange`` puts the lesser keys into the first of two rows, and ``sort`` and ``merge`` do with ``rows`` rows
        what their pairs say. ``give`` puts the keys into the array.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    index = ir.IntType(64)

    class Rows:
        """What the functions have in common, for the arrays that one is called with."""

        def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
            self.builder = builder
            arrays = [(t, v) for t, v in zip(signature.args, arguments, strict=True) if isinstance(t, types.Array)]
            self.arrays = [context.make_array(t)(context, builder, v) for t, v in arrays]
            self.element = context.get_data_type(arrays[0][0].dtype)
            self.is_float = isinstance(arrays[0][0].dtype, types.Float)
            self.size = arrays[0][0].dtype.bitwidth // 8
            self.width = 64 // self.size
            self.vector = ir.VectorType(self.element, self.width)
            self.places = ir.VectorType(ir.IntType(8 * self.size), self.width)
            self.largest = self.splat(float("inf") if self.is_float else 2**63 - 1)

        def splat(self, value: float) -> Any:
            return ir.Constant(self.vector, [value] * self.width)

        def place(self, array: int, first: Any) -> Any:
            cell = self.builder.gep(self.arrays[array].data, [first])
            return self.builder.bitcast(cell, self.vector.as_pointer())

        def row(self, number: Any) -> Any:
            return self.place(1, self.builder.mul(number, index(self.width)))

        def found(self, row: Any) -> Any:
            return self.builder.bitcast(self.row(row), self.places.as_pointer())

        def cells(self, first: Any, k: Any) -> Any:
            return self.place(0, self.builder.add(first, self.builder.mul(k, index(lanes))))

        def load(self, place: Any) -> Any:
            return self.builder.load(place, align=self.size)

        def store(self, vector: Any, place: Any) -> None:
            self.builder.store(vector, place, align=self.size)

        def counts(self, first: Any, pixels: Any) -> tuple[Any, Any]:
            """How many elements each pixel sorts, 0 of those that are none; and the most."""
            builder, vector, most = self.builder, ir.Constant(self.places, None), index(0)
            for x in range(self.width):
                at = builder.add(first, index(x))
                is_in = builder.icmp_signed("<", at, pixels)
                cell = builder.gep(self.arrays[2].data, [builder.select(is_in, at, index(0))])
                count = builder.select(is_in, builder.load(cell), index(0))
                most = builder.select(builder.icmp_signed(">", count, most), count, most)
                vector = builder.insert_element(vector, builder.trunc(count, self.places.element), ir.IntType(32)(x))
            return vector, most

        def below(self, k: Any, counts: Any) -> Any:
            """Which pixels have an element of a number."""
            builder = self.builder
            one = builder.insert_element(
                ir.Constant(self.places, ir.Undefined), builder.trunc(k, self.places.element), ir.IntType(32)(0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
            every = builder.shuffle_vector(one, ir.Constant(self.places, ir.Undefined), zeros)
            return builder.icmp_signed(">", counts, every)

        def exchanged(self, a: Any, b: Any) -> tuple[Any, Any]:
            builder, compare = self.builder, self.builder.fcmp_ordered if self.is_float else self.builder.icmp_signed
            return builder.select(compare("<", a, b), a, b), builder.select(compare(">", a, b), a, b)

    def together(pairs: Any) -> Any:
        """A function that exchanges the keys of some rows that follow one another."""

        @intrinsic
        def made(_: Any, array: Any, keys: Any, _first: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                all_rows = Rows(context, builder, signature, arguments)
                places = [all_rows.row(builder.add(arguments[2], index(k))) for k in range(rows)]
                values = [all_rows.load(place) for place in places]
                for i, j in pairs:
                    values[i], values[j] = all_rows.exchanged(values[i], values[j])
                for value, place in zip(values, places, strict=True):
                    all_rows.store(value, place)
                return context.get_dummy_value()

            return types.none(array, keys, types.int64), code

        return made

    @intrinsic
    def exchange(_: Any, array: Any, keys: Any, _i: Any, _j: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            all_rows = Rows(context, builder, signature, arguments)
            places = [all_rows.row(k) for k in arguments[2:]]
            for value, place in zip(all_rows.exchanged(*map(all_rows.load, places)), places, strict=True):
                all_rows.store(value, place)
            return context.get_dummy_value()

        return types.none(array, keys, types.int64, types.int64), code

    @intrinsic
    def take(_: Any, array: Any, keys: Any, counts: Any, _first: Any, _pixels: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            all_rows = Rows(context, builder, signature, arguments)
            first, pixels = arguments[3:]
            limits, most = all_rows.counts(first, pixels)
            found = cgutils.alloca_once_value(builder, ir.Constant(all_rows.places, None))
            taken = cgutils.alloca_once_value(builder, index(0))
            with cgutils.for_range(builder, most) as loop:
                value = all_rows.load(all_rows.cells(first, loop.index))
                is_key = all_rows.below(loop.index, limits)
                if all_rows.is_float:
                    is_key = builder.and_(is_key, builder.fcmp_ordered("ord", value, value))
                    value = builder.fadd(value, all_rows.splat(0.0))  # -0.0 becomes 0.0
                row = builder.load(taken)
                all_rows.store(builder.select(is_key, value, all_rows.largest), all_rows.row(row))
                builder.store(builder.add(builder.load(found), builder.zext(is_key, all_rows.places)), found)
                bits = ir.IntType(all_rows.width)
                has_some = builder.icmp_unsigned("!=", builder.bitcast(is_key, bits), bits(0))
                builder.store(builder.add(row, builder.zext(has_some, index)), taken)
            size = builder.load(taken)
            whole = builder.and_(builder.add(size, index(rows - 1)), index(-rows))
            all_rows.store(builder.load(found), all_rows.found(whole))
            with cgutils.for_range(builder, builder.sub(whole, size)) as loop:
                all_rows.store(all_rows.largest, all_rows.row(builder.add(size, loop.index)))
            return whole

        return types.int64(array, keys, counts, types.int64, types.int64), code

    @intrinsic
    def give(_: Any, array: Any, keys: Any, counts: Any, _first: Any, _pixels: Any, _rows: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            all_rows = Rows(context, builder, signature, arguments)
            first, pixels, whole = arguments[3:]
            limits, most = all_rows.counts(first, pixels)
            found = all_rows.load(all_rows.found(whole))
            with cgutils.for_range(builder, most) as loop:
                cells = all_rows.cells(first, loop.index)
                value = all_rows.load(all_rows.row(loop.index))
                if all_rows.is_float:
                    value = builder.select(all_rows.below(loop.index, found), value, all_rows.splat(float("nan")))
                value = builder.select(all_rows.below(loop.index, limits), value, all_rows.load(cells))
                all_rows.store(value, cells)
            return context.get_dummy_value()

        return types.none(array, keys, counts, types.int64, types.int64, types.int64), code

    return take, exchange, together(sorts), together(merges), give

"""LLVM's assembly language, instruction by instruction: blocks, conversions, arithmetic as Numba has it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tilejit.compiler.jit.values import (
    ENDS,
    FLOATS,
    LLVM,
    Array,
    Pointer,
    Small,
    UnknownTextError,
    Value,
    ends_of,
    joined,
    llvm,
    size_of,
    typed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ARITHMETIC = {"Add": "add", "Sub": "sub", "Mult": "mul"}
BITWISE = {"BitAnd": "and", "BitOr": "or", "BitXor": "xor"}
_COMPARISONS = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}


class Assembly:
    """The instructions of one function; ``flags`` are those of its float arithmetic."""

    def __init__(self, declared: set[str], flags: str = "") -> None:
        self.declared, self.flags = declared, flags
        self.places: list[str] = []
        """Instructions that make places for variables, before all others."""
        self.lines: list[str] = []
        self.block = "entry"
        self.is_over = False
        """Whether nothing more can follow in this block."""
        self._made = 0

    def name(self, stem: str = "v") -> str:
        """A new name."""
        self._made += 1
        return f"{stem}{self._made}"

    def new(self, text: str) -> str:
        """Writes an instruction that has a result, and returns its name."""
        name = f"%{self.name()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Writes an instruction that has none."""
        self.lines.append(f"  {text}")

    def place(self, type_: str, count: int = 1) -> str:
        """Makes a place for a variable, or for an array of so many elements."""
        name = f"%{self.name('p')}"
        self.places.append(f"  {name} = alloca {type_ if count == 1 else f'[{count} x {type_}]'}")
        return name

    def start(self, block: str) -> None:
        """Begins a block."""
        self.lines.append(f"{block}:")
        self.block, self.is_over = block, False

    def jump(self, block: str) -> None:
        """Ends a block, unless that is over."""
        if not self.is_over:
            self.do(f"br label %{block}")
        self.is_over = True

    def branch(self, test: Value, yes: str, no: str) -> None:
        """Ends a block with a choice."""
        self.do(f"br i1 {test.text}, label %{yes}, label %{no}")
        self.is_over = True

    @contextlib.contextmanager
    def apart(self) -> Iterator[list[str]]:
        """Writes what follows into a list of its own."""
        outer, self.lines = self.lines, []
        try:
            yield self.lines
        finally:
            self.lines = outer

    def intrinsic(self, name: str, result: str, arguments: Sequence[Value], attributes: str = "") -> Value:
        """Calls a function that is not of this module."""
        types = [LLVM[a.type] for a in arguments]
        self.declared.add(f'declare {LLVM[result]} @"{name}"({", ".join(types)}){attributes}')
        passed = ", ".join(f"{t} {a.text}" for t, a in zip(types, arguments, strict=True))
        flags = self.flags if result in FLOATS else ""
        return Value(result, self.new(f'call {flags}{LLVM[result]} @"{name}"({passed})'))

    def cast(self, value: Value, type_: str) -> Value:
        """Converts a number."""
        given = value.type
        if given == type_:
            return value
        if value.literal is not None:
            return typed(type_, value.literal) if type_ != "b1" else typed("b1", bool(value.literal))
        if type_ == "b1":
            return self.truth(value)
        if type_ == "i64" and given in ENDS:
            return self.widened(self._small(value))
        if value.small and type_ in FLOATS:
            return Value(type_, self.new(f"sitofp i32 {value.small.text} to {LLVM[type_]}"))
        how = _conversion(given, type_)
        text = self.new(f"{how} {LLVM[given]} {value.text} to {LLVM[type_]}") if how else value.text
        return Value(type_, text)

    def _small(self, value: Value) -> Small:
        """A narrow integer in 32 bits."""
        how = _conversion(value.type, "i32")
        text = self.new(f"{how} {LLVM[value.type]} {value.text} to i32") if how else value.text
        return Small(text, *ENDS[value.type])

    def widened(self, small: Small) -> Value:
        """An integer of 64 bits that fits 32: these are half as wide vectors, where nothing else of it is used."""
        return Value("i64", self.new(f"sext i32 {small.text} to i64"), None, small)

    def truth(self, value: Value) -> Value:
        """Whether a number is not zero."""
        if value.type == "b1":
            return value
        return self.compared("NotEq", value, typed(value.type, 0))

    def compared(self, operator: str, a: Value, b: Value) -> Value:
        """Compares two numbers."""
        type_ = a.type if a.type == b.type else _compared_as(a, b)
        a, b, how = self.cast(a, type_), self.cast(b, type_), _COMPARISONS[operator]
        if type_ in FLOATS:
            word = f"fcmp {self.flags}{'u' if how == 'ne' else 'o'}{how}"
        else:
            sign = "" if how in {"eq", "ne"} else "s" if type_[0] == "i" else "u"
            word = f"icmp {sign}{how}"
            if type_ == "i64" and a.small and b.small:
                return Value("b1", self.new(f"{word} i32 {a.small.text}, {b.small.text}"))
        return Value("b1", self.new(f"{word} {LLVM[type_]} {a.text}, {b.text}"))

    def chosen(self, test: Value, a: Value, b: Value) -> Value:
        """One of two numbers of a type."""
        if a.small and b.small and a.type == b.type == "i64":
            text = self.new(f"select i1 {self.truth(test).text}, i32 {a.small.text}, i32 {b.small.text}")
            return self.widened(Small(text, min(a.small.low, b.small.low), max(a.small.high, b.small.high)))
        kind = LLVM[a.type]
        return Value(a.type, self.new(f"select i1 {self.truth(test).text}, {kind} {a.text}, {kind} {b.text}"))

    def not_(self, value: Value) -> Value:
        """The contrary."""
        return Value("b1", self.new(f"xor i1 {self.truth(value).text}, true"))

    def negative(self, value: Value) -> Value:
        """``-x``, which of a NaN has the same sign, as with Numba."""
        if value.literal is not None and value.type == "i64":
            return typed("i64", -value.literal)
        if value.type in FLOATS:
            return self.float_operation("fsub", typed(value.type, -0.0), value)
        return Value("i64", self.new(f"sub nsw i64 0, {self.whole(value).text}"))

    def whole(self, value: Value) -> Value:
        """A float as it is, any other number as an integer of 64 bits."""
        return value if value.type in FLOATS else self.cast(value, "i64")

    def absolute(self, value: Value) -> Value:
        """``abs(x)``."""
        if value.type in FLOATS:
            return self.intrinsic(f"llvm.fabs.{value.type}", value.type, [value])
        value = self.whole(value)
        return self.chosen(self.compared("Lt", value, typed("i64", 0)), self.negative(value), value)

    def float_operation(self, word: str, a: Value, b: Value) -> Value:
        """A float operation of two numbers of a type."""
        return Value(a.type, self.new(f"{word} {self.flags}{LLVM[a.type]} {a.text}, {b.text}"))

    def whole_operation(self, word: str, a: Value, b: Value) -> Value:
        """An integer operation of two numbers of a type."""
        if a.small and b.small and a.type == b.type == "i64" and (ends := ends_of(word, a.small, b.small)):
            return self.widened(Small(self.new(f"{word} i32 {a.small.text}, {b.small.text}"), *ends))
        return Value(a.type, self.new(f"{word} {LLVM[a.type]} {a.text}, {b.text}"))

    def operation(self, operator: str, a: Value, b: Value) -> Value:
        """``a + b`` and the like."""
        if operator in BITWISE and a.type == b.type == "b1":
            return self.whole_operation(BITWISE[operator], a, b)
        if operator in {"LShift", "RShift"}:
            return self._shifted(operator, a, b)
        if operator == "Div":
            type_ = "f64" if a.type not in FLOATS and b.type not in FLOATS else joined(a.type, b.type)
            return self.float_operation("fdiv", self.cast(a, type_), self.cast(b, type_))
        type_ = joined(a.type, b.type)
        a, b = self.cast(a, type_), self.cast(b, type_)
        if operator in ARITHMETIC:
            return self._arithmetic(ARITHMETIC[operator], a, b)
        if operator in BITWISE and type_ not in FLOATS:
            return self.whole_operation(BITWISE[operator], a, b)
        if operator in {"FloorDiv", "Mod"} and type_ in {"i64", *FLOATS}:
            parts = self._divided_floats(a, b) if type_ in FLOATS else self._divided(a, b)
            return parts[operator == "Mod"]
        raise UnknownTextError(f"{operator} of {type_}")

    def _arithmetic(self, word: str, a: Value, b: Value) -> Value:
        """Signed integers do not wrap, as with Numba."""
        if a.type in FLOATS:
            return self.float_operation(f"f{word}", a, b)
        return self.whole_operation(f"{word} nsw" if a.type == "i64" else word, a, b)

    def _shifted(self, operator: str, a: Value, b: Value) -> Value:
        if a.type in FLOATS or b.type in FLOATS:
            raise UnknownTextError("a shifted float")
        type_ = "u64" if a.type[0] == "u" else "i64"
        word = "shl" if operator == "LShift" else "lshr" if type_ == "u64" else "ashr"
        return self.whole_operation(word, self.cast(a, type_), self.cast(b, type_))

    def _divided(self, a: Value, b: Value) -> tuple[Value, Value]:
        """The floor of a quotient, and the rest; both are 0 where there is none, or it is beyond 64 bits."""
        least, zero, one = typed("i64", -(2**63)), typed("i64", 0), typed("i64", 1)
        void = self.compared("Eq", b, zero)
        if b.literal is None or b.literal in {0, -1}:
            both = self.compared("Eq", a, least), self.compared("Eq", b, typed("i64", -1))
            void = self.whole_operation("or", void, self.whole_operation("and", *both))
            b = self.chosen(void, one, b)
        quotient, rest = self.whole_operation("sdiv", a, b), self.whole_operation("srem", a, b)
        differ = self.compared("Lt", self.whole_operation("xor", rest, b), zero)
        is_below = self.whole_operation("and", self.compared("NotEq", rest, zero), differ)
        quotient = self.chosen(is_below, self.whole_operation("sub", quotient, one), quotient)
        rest = self.chosen(is_below, self.whole_operation("add", rest, b), rest)
        return self.chosen(void, zero, quotient), self.chosen(void, zero, rest)

    def _divided_floats(self, a: Value, b: Value) -> tuple[Value, Value]:
        """The floor of a quotient, and the rest, as Python has them."""
        zero, one, type_ = typed(a.type, 0.0), typed(a.type, 1.0), a.type
        rest = self.float_operation("frem", a, b)
        quotient = self.float_operation("fdiv", self.float_operation("fsub", a, rest), b)
        is_negative = self.compared("Lt", b, zero)
        has_rest = self.compared("NotEq", rest, zero)
        differs = self.whole_operation("xor", is_negative, self.compared("Lt", rest, zero))
        is_below = self.whole_operation("and", has_rest, differs)
        quotient = self.chosen(is_below, self.float_operation("fsub", quotient, one), quotient)
        moved = self.chosen(differs, self.float_operation("fadd", rest, b), rest)
        rest = self.chosen(has_rest, moved, self.chosen(is_negative, typed(type_, -0.0), zero))
        floor = self.intrinsic(f"llvm.floor.{type_}", type_, [quotient])
        above = self.compared("Gt", self.float_operation("fsub", quotient, floor), typed(type_, 0.5))
        floor = self.chosen(above, self.float_operation("fadd", floor, one), floor)
        square = self.float_operation("fmul", quotient, quotient)
        signed = self.float_operation("fdiv", self.float_operation("fmul", square, a), b)
        # Numba asks whether it is ordered and not 0, so that NaN goes on as a product of itself.
        ordered = Value("b1", self.new(f"fcmp one {LLVM[type_]} {quotient.text}, {zero.text}"))
        whole = self.chosen(ordered, floor, signed)
        return self.chosen(self.compared("Eq", b, zero), self.float_operation("fdiv", a, b), whole), rest

    def power(self, value: Value, exponent: int) -> Value:
        """``x ** 3``, by squares."""
        if exponent < 0 or value.type == "b1":
            raise UnknownTextError(f"{value.type} ** {exponent}")
        type_ = value.type if value.type in FLOATS else joined(value.type, value.type)
        value = self.cast(value, type_)
        result = None
        while exponent:
            if exponent & 1:
                result = value if result is None else self._times(result, value)
            exponent >>= 1
            value = self._times(value, value) if exponent else value
        return typed(type_, 1) if result is None else result

    def _times(self, a: Value, b: Value) -> Value:
        """Numba lets powers of integers wrap."""
        return self.float_operation("fmul", a, b) if a.type in FLOATS else self.whole_operation("mul", a, b)

    def cell(self, array: Array | Pointer, indices: Sequence[Value]) -> str:
        """Where an element lies; no index is negative."""
        at = [self.cast(i, "i64").text for i in indices]
        element = llvm(array.element)
        if isinstance(array, Pointer) or array.strides is None:
            place = at[0]
            for index, extent in zip(at[1:], array.shape[1:] if isinstance(array, Array) else (), strict=True):
                place = self.new(f"mul i64 {place}, {extent}")
                place = self.new(f"add i64 {place}, {index}")
            return self.new(f"getelementptr inbounds {element}, ptr {array.text}, i64 {place}")
        place = "0"
        for index, stride in zip(at, array.strides, strict=True):
            place = self.new(f"add i64 {place}, {self.new(f'mul i64 {index}, {stride}')}")
        return self.new(f"getelementptr inbounds i8, ptr {array.text}, i64 {place}")

    def strides(self, array: Array) -> tuple[str, ...]:
        """How many bytes apart elements lie."""
        if array.strides is not None:
            return array.strides
        strides = [str(size_of(array.element))]
        for extent in array.shape[:0:-1]:
            strides.insert(0, self.new(f"mul i64 {strides[0]}, {extent}"))
        return tuple(strides)

    def read(self, array: Array | Pointer, indices: Sequence[Value]) -> Value:
        """The value of an element."""
        kind = llvm(array.element)
        how = f"load{' volatile' * (isinstance(array, Array) and array.is_control)}"
        text = self.new(f"{how} {kind}, ptr {self.cell(array, indices)}, align {size_of(array.element)}")
        return Value("b1", self.new(f"icmp ne i8 {text}, 0")) if array.element == "b1" else Value(array.element, text)

    def write(self, array: Array | Pointer, indices: Sequence[Value], value: Value) -> None:
        """Changes an element."""
        value = self.cast(value, array.element)
        text = self.new(f"zext i1 {value.text} to i8") if array.element == "b1" else value.text
        kind = llvm(array.element)
        self.do(f"store {kind} {text}, ptr {self.cell(array, indices)}, align {size_of(array.element)}")


def _compared_as(a: Value, b: Value) -> str:
    """The type by which two numbers are compared: integers in the text are not negative here."""
    literals = [v for v in (a, b) if v.type == "i64" and v.literal is not None and v.literal >= 0]
    return "u64" if literals and "u64" in {a.type, b.type} else joined(a.type, b.type)


def _conversion(given: str, wanted: str) -> str:
    """The instruction that converts a number; none where the bits are the same."""
    if given in FLOATS and wanted in FLOATS:
        return "fpext" if wanted == "f64" else "fptrunc"
    if given in FLOATS:
        return "fptosi" if wanted[0] == "i" else "fptoui"
    if wanted in FLOATS:
        return "sitofp" if given[0] == "i" else "uitofp"
    bits, wide = int(given[1:]), int(wanted[1:])
    if bits == wide:
        return ""
    return "trunc" if wide < bits else "sext" if given[0] == "i" else "zext"

"""Functions of generated modules in LLVM's assembly language: their statements."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, ClassVar

from tilejit.compiler.jit.plain_expressions import Expressions, number_of, result_of
from tilejit.compiler.jit.values import FLOATS, LLVM, Array, Pointer, UnknownTextError, Value, typed, unified

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.jit.plain_expressions import Around
    from tilejit.compiler.jit.values import Any_, Result


class PlainFunction(Expressions):
    """One function for the types of its arguments."""

    def __init__(self, module: Around, node: ast.FunctionDef, arguments: Sequence[Any_]) -> None:
        if node.args.defaults or len(arguments) != len(node.args.args):
            raise UnknownTextError(f"{node.name} is called with other arguments")
        super().__init__(module, node, arguments)
        self.parameters = set(self.known)
        self.made_in: dict[str, int] = {}
        """The block in which a variable has its first value of a type."""
        self.blocks, self.begun = [0], 0
        """The blocks that the function is in, by number."""
        self.loops: list[tuple[str, str]] = []
        """Where ``continue`` and ``break`` lead."""
        self.result: Result = None
        self.returns = False
        for name in [name for name in self.known if name in self.counts]:
            self.assign_name(name, self.known.pop(name))
        self.statements(node.body)
        if not self.to.is_over:
            self.returned(None)

    def statements(self, block: Sequence[ast.stmt]) -> None:
        """Writes statements, as far as they are reached."""
        for statement in block:
            if self.to.is_over:
                return
            try:
                self._STATEMENTS.get(type(statement), PlainFunction._unknown)(self, statement)
            except UnknownTextError as error:
                error.statement = error.statement or f"{self.node.name}: {ast.unparse(statement)}"
                raise

    def _bare(self, statement: ast.Expr) -> None:
        if not isinstance(statement.value, ast.Constant):
            self.value(statement.value)

    def _unknown(self, statement: ast.stmt) -> None:
        raise UnknownTextError(type(statement).__name__)

    def _nothing(self, _: ast.Pass) -> None:
        pass

    def _assigned(self, statement: ast.Assign) -> None:
        value = self.value(statement.value)
        for target in statement.targets:
            self.assign(target, value)

    def _changed(self, statement: ast.AugAssign) -> None:
        target: Any = type(statement.target)(**{**vars(statement.target), "ctx": ast.Load()})
        self.assign(statement.target, self.value(ast.BinOp(target, statement.op, statement.value)))

    def assign(self, target: ast.expr, value: Any_) -> None:
        """Gives a variable or an element a value."""
        if isinstance(target, ast.Name):
            self.assign_name(target.id, value)
        elif isinstance(target, ast.Tuple) and isinstance(value, tuple) and not isinstance(value, Value):
            for element, part in zip(target.elts, value, strict=True):
                self.assign(element, part)
        elif isinstance(target, ast.Subscript):
            array = self.value(target.value)
            if not isinstance(array, (Array, Pointer)):
                raise UnknownTextError("an element of no array")
            self.to.write(array, self.indices(target.slice), number_of(value))
        else:
            raise UnknownTextError("an assignment")

    def assign_name(self, name: str, value: Any_) -> None:
        """Gives a variable a value: a place where it changes, or is made in a part of the function."""
        once = self.counts[name] == 1 and name not in self.slots
        if not isinstance(value, Value):
            if not once:
                raise UnknownTextError(f"{name} is several arrays")
            self.known[name] = value
        elif once and len(self.blocks) == 1 and name not in self.parameters:
            self.known[name] = value
        else:
            if name not in self.slots or self._is_another(name, value.type):
                self.slots[name] = Value(value.type, self.to.place(LLVM[value.type]))
                self.made_in[name] = self.blocks[-1]
            slot = self.slots[name]
            self.to.do(f"store {LLVM[slot.type]} {self.to.cast(value, slot.type).text}, ptr {slot.text}")

    def _is_another(self, name: str, type_: str) -> bool:
        """Whether a variable is of another type from here on, which it may be in the block in which it was made."""
        if unified(self.slots[name].type, type_) == self.slots[name].type:
            return False
        if self.made_in[name] != self.blocks[-1]:
            raise UnknownTextError(f"{name} is {self.slots[name].type} and {type_}")
        return True

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Writes the statements of a branch or a loop."""
        self.begun += 1
        self.blocks.append(self.begun)
        self.statements(statements)
        self.blocks.pop()

    def _if(self, statement: ast.If) -> None:
        test = self.to.truth(self.number(statement.test))
        then, other, end = (self.to.name(stem) for stem in ("then", "else", "end"))
        self.to.branch(test, then, other if statement.orelse else end)
        goes_on = not statement.orelse
        for label, block in ((then, statement.body), (other, statement.orelse)):
            if block:
                self.to.start(label)
                self.block(block)
                goes_on |= not self.to.is_over
                self.to.jump(end)
        if goes_on:
            self.to.start(end)

    def _while(self, loop: ast.While) -> None:
        head, body, over, end = (self.to.name(stem) for stem in ("while", "do", "else", "end"))
        self.to.jump(head)
        self.to.start(head)
        self.to.branch(self.to.truth(self.number(loop.test)), body, over)
        self.to.start(body)
        self.loops.append((head, end))
        self.block(loop.body)
        self.loops.pop()
        self.to.jump(head)
        self._ended(loop, over, end)

    def _ended(self, loop: ast.For | ast.While, over: str, end: str) -> None:
        """Writes what follows a loop that nothing broke off; one without an end is followed by nothing."""
        self.to.start(over)
        self.block(loop.orelse)
        is_endless = isinstance(loop, ast.While) and ast.unparse(loop.test) == "True"
        if is_endless and not any(isinstance(node, ast.Break) for node in ast.walk(loop)):
            self.to.do("unreachable")
            self.to.is_over = True
            return
        self.to.jump(end)
        self.to.start(end)

    def _for(self, loop: ast.For) -> None:
        is_range = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func) == "range"
        if not is_range or not isinstance(loop.target, ast.Name):
            raise UnknownTextError("a loop over something else")
        given = [self.number(a) for a in loop.iter.args]  # type: ignore[attr-defined]
        if any(v.type in {"u64", "b1", *FLOATS} for v in given):
            raise UnknownTextError("a loop over other integers")
        given = [self.to.cast(v, "i64") for v in given]
        start, stop, step = (
            (typed("i64", 0), *given, typed("i64", 1)) if len(given) == 1 else (*given, typed("i64", 1))[:3]
        )
        before, head, body, after, over, end = self.to.block, *map(self.to.name, ("for", "do", "next", "else", "end"))
        self.to.jump(head)
        self.to.start(head)
        index, following = f"%{self.to.name('i')}", f"%{self.to.name('n')}"
        self.to.do(f"{index} = phi i64 [{start.text}, %{before}], [{following}, %{after}]")
        here = Value("i64", index)
        self.to.branch(self._goes_on(here, stop, step), body, over)
        self.to.start(body)
        self.begun += 1
        self.blocks.append(self.begun)
        self.assign_name(loop.target.id, here)
        self.loops.append((after, end))
        self.statements(loop.body)
        self.loops.pop()
        self.blocks.pop()
        self.to.jump(after)
        self.to.start(after)
        self.to.do(f"{following} = add nsw i64 {index}, {step.text}")
        self.to.jump(head)
        self._ended(loop, over, end)

    def _goes_on(self, here: Value, stop: Value, step: Value) -> Value:
        up, down = (self.to.compared(how, here, stop) for how in ("Lt", "Gt"))
        if step.literal is not None:
            return up if step.literal > 0 else down
        return self.to.chosen(self.to.compared("Gt", step, typed("i64", 0)), up, down)

    def _break(self, _: ast.Break) -> None:
        self.to.jump(self.loops[-1][1])

    def _continue(self, _: ast.Continue) -> None:
        self.to.jump(self.loops[-1][0])

    def _return(self, statement: ast.Return) -> None:
        self.returned(None if statement.value is None else self.value(statement.value))

    def returned(self, value: Any_ | None) -> None:
        """Returns a number, several, or nothing; as the first return of the function does."""
        if value is None:
            result: Result = None
        elif isinstance(value, Value):
            result = value.type
        else:
            result = tuple(number_of(v).type for v in value)
        if self.returns and result != self.result:
            raise UnknownTextError(f"{self.node.name} returns {self.result} and {result}")
        self.result, self.returns = result, True
        self.to.do(self.return_text(value))
        self.to.is_over = True

    def return_text(self, value: Any_ | None) -> str:
        """The instruction that ends the function."""
        if value is None:
            return "ret void"
        if isinstance(value, Value):
            return f"ret {LLVM[value.type]} {value.text}"
        kind, held = result_of(self.result), "undef"
        for k, part in enumerate(value):
            held = self.to.new(f"insertvalue {kind} {held}, {LLVM[part.type]} {part.text}, {k}")
        return f"ret {kind} {held}"

    _STATEMENTS: ClassVar[dict[type[ast.stmt], Callable[[Any, Any], None]]] = {
        ast.Assign: _assigned,
        ast.AugAssign: _changed,
        ast.Break: _break,
        ast.Continue: _continue,
        ast.Expr: _bare,
        ast.For: _for,
        ast.If: _if,
        ast.Pass: _nothing,
        ast.Return: _return,
        ast.While: _while,
    }

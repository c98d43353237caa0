"""Random bodies in which whole arrays, lists, tuples and dicts meet: their texts, drawn by a seed.

Variables keep their kinds and sizes: ``a0`` is an array of one dimension, ``m0`` one of two, ``l0`` a list, ``g0`` a
list that grows, ``t0`` a tuple, ``d0`` a dict, ``b0`` an array of truth values, ``x0`` a float, ``k0`` an integer.
"""

import random

HELPERS = """
WEIGHTS = (0.5, -2.0, 3.0)
GRID = np.array([[1.0, 2.5, -3.0], [4.0, 0.5, 1.5]])
CODES = {1: 0.25, 2: 4.0, 5: -1.0}

def spread(a):
    return max(a) - min(a)

def weighted(a, by=2.0):
    total = 0.0
    for k, v in enumerate(a):
        total += v * (k + by)
    return total

def put(a, k, v):
    a[k % len(a)] = v

def ends(a):
    return a[0], a[-1]

def corner(m, k):
    return m[0, k % 2] - m[-1, -1] + m[1].sum()

def halved(x):
    return x / 2 if x > 1 else x

"""
SIZES = (2, 3, 4)
SHAPES = ((2, 2), (2, 3), (3, 2))


class WholeWriter:
    """Draws the text of a body of ``z``, ``w`` and ``k``."""

    def __init__(self, seed):
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.arrays, self.matrices, self.lists, self.masks = {}, {}, {}, {}
        self.growing, self.tuples, self.dicts = [], {}, {}
        self.floats, self.integers = ["z", "w"], ["k"]
        self.loops, self.gone_over = [], []
        self.made = 0

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def name(self, stem):
        self.made += 1
        return f"{stem}{self.made}"

    # -- numbers ----------------------------------------------------------------------------------------------------

    def integer(self):
        k = self.pick(*self.integers, *self.loops)
        makers = [lambda: k, lambda: str(self.pick(0, 1, 2, 3)), lambda: f"({k} + {self.pick(1, 2, -1)})", lambda: f"{k} % 3",
                  lambda: f"len({self.pick(*self.sequences())})"]  # fmt: skip
        if self.arrays:
            a = self.pick(*self.arrays)
            makers += [lambda: f"{a}.argmax()", lambda: f"np.argmin({a})", lambda: f"np.count_nonzero({self.test_of(a)})",
                       lambda: f"({self.test_of(a)}).sum()"]  # fmt: skip
        if self.masks:
            makers.append(lambda: f"{self.pick(*self.masks)}.sum()")
        if self.matrices:
            makers.append(lambda: f"{self.pick(*self.matrices)}.shape[{self.pick(0, 1)}]")
        return self.pick(*makers)()

    def index(self, size):
        return self.pick(str(self.random.randrange(size)), f"-{self.random.randrange(size) + 1}", f"{self.integer()} % {size}",
                         f"min({self.integer()}, {size - 1})")  # fmt: skip

    def truth(self):
        makers = [lambda: f"{self.float(0)} > {self.float(0)}", lambda: f"{self.integer()} == {self.pick(0, 1, 2)}",
                  lambda: f"{self.pick(*self.integers)} in ({self.pick(0, 1)}, 3)", lambda: f"{self.float(0)} < 1.5 and z > -1"]  # fmt: skip
        if self.growing:
            makers += [lambda: f"len({self.pick(*self.growing)}) > 1", lambda: self.pick(*self.growing)]
        if self.masks:
            makers.append(lambda: f"{self.pick(*self.masks)}.{self.pick('any', 'all')}()")
        if self.tuples:
            makers.append(lambda: f"({self.float(0)}, {self.float(0)}) < ({self.float(0)}, {self.float(0)})")
        if self.dicts:
            makers.append(lambda: f"{self.pick(*self.integers)} in {self.pick(*self.dicts)}")
        return self.pick(*makers)()

    def float(self, depth=1):
        if depth == 0 or self.chance(0.2):
            return self.pick(*self.floats, "z", "0.5", "-1.25", "2.0")
        if self.chance(0.3):
            x, y = self.float(depth - 1), self.float(depth - 1)
            return self.pick(f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"abs({x})", f"max({x}, {y})",
                             f"({x} if {self.truth()} else {y})", f"halved({x})", f"float({self.integer()})",
                             f"float(np.where({self.float(0)} > {self.float(0)}, {x}, {y}))")  # fmt: skip
        makers = [self.of_sequence, self.of_table, self.of_comprehension]
        makers += [self.of_array] * 2 * bool(self.arrays) + [self.of_matrix] * 2 * bool(self.matrices)
        makers += [self.of_growing] * 2 * bool(self.growing) + [self.of_tuple] * bool(self.tuples)
        makers += [self.of_dict] * bool(self.dicts) + [self.of_list] * bool(self.lists)
        return self.pick(*makers)()

    def sequences(self):
        """What a loop may go over, of floats; never empty."""
        return [*self.arrays, *self.lists, *self.tuples, "WEIGHTS", f"({self.floats[-1]}, z, 2.0)"]

    def over(self):
        some = self.pick(*self.sequences())
        return self.pick(some, some, f"reversed({some})", f"sorted({some})", f"{some}[1:]", f"{some}[::-1]")

    def of_sequence(self):
        a = self.pick(*self.sequences())
        return self.pick(f"sum({a})", f"max({a})", f"min({a})", f"sorted({a})[{self.pick(0, 1, -1)}]", f"np.mean({a})",
                         f"spread({a})", f"weighted({a})", f"weighted({a}, by={self.float(0)})", f"sum({a}[1:])",
                         f"np.median({a})", f"np.max({a})", f"ends({a})[{self.pick(0, 1)}]", f"{a}[-1]", f"{a}[:2][{self.pick(0, 1)}]",
                         f"sum({a}[::-1][:2])")  # fmt: skip

    def of_table(self):
        return self.pick(f"GRID[{self.index(2)}, {self.index(3)}]", f"GRID[:, {self.pick(0, 1)}].sum()", "GRID.mean()",
                         f"WEIGHTS[{self.index(3)}]", f"CODES.get({self.integer()}, {self.float(0)})",
                         f"np.interp({self.float(0)}, (0.0, 1.0, 2.0), WEIGHTS)", f"sum(GRID[{self.pick(0, 1)}])")  # fmt: skip

    def of_comprehension(self):
        over, x = self.over(), self.float(0)
        return self.pick(f"sum(v * {x} for v in {over})", f"sum(v for v in {over} if v > {x})", f"sum([v * v for v in {over}])",
                         f"max([abs(v - {x}) for v in {over}])", f"sum(i * v for i, v in enumerate({over}))",
                         f"sum(u * v for u, v in zip({over}, {self.over()}))", f"float(any(v > {x} for v in {over}))",
                         f"sum([v for v in {over} if v > {x}])", f"float(len([v for v in {over} if v < {x}]))",
                         f"sum([[v * i for i in range(2)] for v in {over}][0])", f"[v + {x} for v in {over}][0]")  # fmt: skip

    def test_of(self, a):
        return self.pick(f"{a} > {self.float(0)}", f"{a} <= {self.float(0)}", f"({a} > {self.float(0)}) & ({a} < 2)",
                         f"~({a} > {self.float(0)})", f"abs({a}) > 0.5")  # fmt: skip

    def of_array(self):
        a = self.pick(*self.arrays)
        size = self.arrays[a]
        b = self.pick(*(n for n, s in self.arrays.items() if s == size))
        return self.pick(
            f"{a}[{self.index(size)}]", f"{a}.{self.pick('sum', 'mean', 'max', 'min', 'std', 'var', 'prod')}()",
            f"({a} * {b}).sum()", f"{a} @ {b}", f"{a}.dot({b})", f"({a} - {a}.mean()).max()", f"np.sqrt(abs({a})).sum()",
            f"{a}[{self.test_of(a)}].sum()", f"{a}[1:].{self.pick('sum', 'mean', 'min')}()", f"np.linalg.norm({a})",
            f"np.where({self.test_of(a)}, {b}, {self.float(0)}).sum()", f"({self.array_of(size)})[{self.index(size)}]",
            f"({self.array_of(size)}).sum()", f"np.percentile({a}, {self.pick(0, 25, 60, 100)})", f"np.sum({a}[:{self.pick('k % 3', 2)}])",
            f"np.diff({a}).sum()", f"{a}[np.argsort({a})[{self.index(size)}]]",
        )  # fmt: skip

    def of_matrix(self):
        m = self.pick(*self.matrices)
        rows, columns = self.matrices[m]
        i, j = self.index(rows), self.index(columns)
        return self.pick(f"{m}[{i}, {j}]", f"{m}[{i}][{j}]", f"{m}.sum()", f"{m}.sum(axis={self.pick(0, 1)})[0]", f"{m}[{i}].max()",
                         f"{m}[:, {self.random.randrange(columns)}].mean()", f"({m} * {m}).sum()", f"{m}.T[{j}, {i}]",
                         f"sum(row[0] for row in {m})", f"{m}.flatten()[{self.index(rows * columns)}]", f"corner({m}, {self.integer()})",
                         f"({m}[0] * {m}[-1]).sum()", f"({m} > {self.float(0)}).sum() * 0.5", f"{m}[1:, :2].sum()", f"weighted({m}[{i}])",
                         f"max([row.sum() for row in {m}])", f"{m}.mean(axis=1)[{i}]", f"{m}[:, {j}].sum()")  # fmt: skip

    def of_growing(self):
        g = self.pick(*self.growing)
        return self.pick(f"sum({g})", f"float(len({g}))", f"sum(v * 2 for v in {g})", f"({g}[0] if {g} else {self.float(0)})",
                         f"({g}[-1] if len({g}) > 0 else z)", f"(max({g}) if len({g}) > 0 else 0.5)", f"sum(sorted({g}))",
                         f"(np.median(np.array({g})) if {g} else w)", f"float({g}.count({self.float(0)}))",
                         f"sum([v for v in {g} if v > 0.5])", f"({g}[len({g}) // 2] if {g} else 1.5)",
                         f"sum(i * v for i, v in enumerate({g}))", f"sum(u * v for u in {g} for v in {self.over()})",
                         f"float(any(v > z for v in {g}))", f"weighted([v for v in {self.over()}])", f"(np.std({g}) if {g} else 0.0)", f"float(np.argmax({g})) if {g} else 1.0",
                         f"(np.mean({g}) if len({g}) > 1 else z)", f"float(sum(1 for v in {g} if v > {self.float(0)}))")  # fmt: skip

    def of_tuple(self):
        t = self.pick(*self.tuples)
        size = self.tuples[t]
        return self.pick(f"{t}[{self.index(size)}]", f"sum({t}[1:])", f"({t} + ({self.float(0)},))[{self.index(size + 1)}]", f"max(*{t})",
                         f"({t} * 2)[{self.index(size * 2)}]", f"{t}[::-1][0]")  # fmt: skip

    def of_list(self):
        some = self.pick(*self.lists)
        size = self.lists[some]
        return self.pick(f"{some}[{self.index(size)}]", f"({some} + [{self.float(0)}])[{self.index(size + 1)}]", f"sum({some}[:-1])",
                         f"max(abs(v) for v in {some})", f"sum(np.array({some}) * 2)", f"float({some}.count(0.5))")  # fmt: skip

    def of_dict(self):
        d = self.pick(*self.dicts)
        key = self.pick(*self.dicts[d])
        return self.pick(f"{d}[{key}]", f"{d}.get({self.integer()}, {self.float(0)})", f"sum({d}.values())",
                         f"sum(v * u for u, v in {d}.items())", f"({d}[k] if k in {d} else {self.float(0)})")  # fmt: skip

    # -- wholes -----------------------------------------------------------------------------------------------------

    def array_of(self, size, depth=1):
        """An array of so many elements, as an expression."""
        same = [n for n, s in self.arrays.items() if s == size]
        values = ", ".join(self.float(0) for _ in range(size))
        makers = [f"np.array([{values}])", f"np.full({size}, {self.float(0)})", f"np.array([v * {self.float(0)} for v in ({values},)])",
                  f"np.linspace(0.0, {size - 1}.0, {size})"]  # fmt: skip
        if same and depth:
            a, b = self.pick(*same), self.pick(*same)
            makers += [f"{a} {self.pick('+', '-', '*')} {b}", f"{a} * {self.float(0)} + 1", f"-{a}", f"{a}[::-1].copy()",
                       f"np.sqrt(np.abs({a}))", f"np.where({self.test_of(a)}, {b}, {self.float(0)})", f"np.sort({a})",
                       f"np.cumsum({a})", f"np.roll({a}, {self.pick(1, -1)})", f"np.clip({a}, -1, {self.float(0)})",
                       f"np.maximum({a}, {self.float(0)})", f"{a}.copy()", f"np.array(sorted({a}))", f"np.array([v + 1 for v in {a}])",
                       f"np.array([{a}[i] * i for i in range({size})])", f"np.concatenate(({a}[:1], {b}[1:]))",
                       f"({self.array_of(size, 0)}) / 2", f"np.round({a}, 1)", f"np.zeros_like({a})"]  # fmt: skip
        makers += [f"{m}[{self.index(r)}].copy()" for m, (r, c) in self.matrices.items() if c == size]
        makers += [f"{m}[:, {self.random.randrange(c)}] * 1.5" for m, (r, c) in self.matrices.items() if r == size]
        makers += [f"{m}.sum(axis=0)" for m, (r, c) in self.matrices.items() if c == size]
        makers += [
            f"{m} @ {a}" for m, (r, c) in self.matrices.items() for a, s in self.arrays.items() if (r, c) == (size, s)
        ]
        makers += [f"np.array({t})" for t, s in (*self.tuples.items(), *self.lists.items()) if s == size]
        return self.pick(*makers)

    def matrix_of(self, rows, columns):
        same = [m for m, shape in self.matrices.items() if shape == (rows, columns)]
        written = ", ".join("[" + ", ".join(self.float(0) for _ in range(columns)) + "]" for _ in range(rows))
        makers = [
            f"np.array([{written}])",
            f"np.zeros(({rows}, {columns}))",
            f"np.array([[i * z + j for j in range({columns})] for i in range({rows})])",
        ]
        makers += [f"{m} * {self.float(0)} - {self.pick(*same)}" for m in same] + [
            f"np.where({m} > z, {m}, 0.5)" for m in same
        ]
        makers += [f"{m}.T.copy()" for m, shape in self.matrices.items() if shape == (columns, rows)]
        a = [n for n, s in self.arrays.items() if s == rows]
        b = [n for n, s in self.arrays.items() if s == columns]
        if a and b:
            makers += [f"np.outer({self.pick(*a)}, {self.pick(*b)})"]
        if b and rows == 2:
            makers += [
                f"np.vstack(({self.pick(*b)}, {self.pick(*b)}))",
                f"np.array([{self.pick(*b)}, {self.pick(*b)}])",
            ]
        makers += [f"{m} + {v}" for m in same for v in b]
        return self.pick(*makers)

    # -- statements -------------------------------------------------------------------------------------------------

    def declared(self):
        """A statement at the top that makes a variable."""
        kind = self.pick(
            "array", "array", "matrix", "list", "grow", "grow", "tuple", "dict", "mask", "float", "integer", "apart"
        )
        return getattr(self, f"new_{kind}")()

    def new_array(self):
        size = self.pick(*SIZES)
        text, name = self.array_of(size), self.name("a")
        self.arrays[name] = size
        return [f"{name} = {text}"]

    def new_matrix(self):
        shape = self.pick(*SHAPES)
        text, name = self.matrix_of(*shape), self.name("m")
        self.matrices[name] = shape
        return [f"{name} = {text}"]

    def new_list(self):
        size = self.pick(*SIZES)
        values = ", ".join(self.float() for _ in range(size))
        same = [n for n, s in (*self.arrays.items(), *self.lists.items(), *self.tuples.items()) if s == size]
        text = self.pick(f"[{values}]", f"[{self.float()}] * {size}", f"[v * {self.float(0)} for v in ({values},)]",
                         *(f"list({n})" for n in same), *(f"sorted({n})" for n in same), *(f"[v - 1 for v in {n}]" for n in same))  # fmt: skip
        name = self.name("l")
        self.lists[name] = size
        return [f"{name} = {text}"]

    def new_grow(self):
        over, test, x = self.over(), self.truth(), self.float(0)
        a = self.pick(*self.arrays, "np.array([z, w, 0.5])")
        mask = self.test_of(a)
        name = self.name("g")
        lines = self.pick(
            [f"{name} = [v for v in {over} if v > {x}]"],
            [f"{name} = []", f"for v in {over}:", f"    if v > {x}:", f"        {name}.append(v * 2)"],
            [f"{name} = [{x}]", f"if {test}:", f"    {name}.append(z)"],
            [f"{name} = [u - v for u in {over} for v in WEIGHTS if u > v]"],
            [f"{name} = list({a}[{mask}])"],
            [f"{name} = []", f"{name}.append({x})", f"{name} += [z, w]", f"{name}.insert({self.pick(0, 1)}, {x})"],
        )  # fmt: skip
        self.growing.append(name)
        return lines

    def new_tuple(self):
        size = self.pick(*SIZES)
        values = ", ".join(self.float() for _ in range(size))
        same = [n for n, s in self.tuples.items() if s == size]
        text = self.pick(
            f"({values})", f"({values})", *(f"{t}[::-1]" for t in same), *(f"{t}[1:] + (z,)" for t in same)
        )
        name = self.name("t")
        self.tuples[name] = size
        return [f"{name} = {text}"]

    def new_dict(self):
        keys = self.random.sample((0, 1, 2, 3, 7), self.pick(2, 3))
        text = ", ".join(f"{k}: {self.float()}" for k in keys)
        name = self.name("d")
        self.dicts[name] = keys
        return [f"{name} = {{{text}}}"]

    def new_mask(self):
        if not self.arrays:
            return self.new_array()
        a = self.pick(*self.arrays)
        text, name = self.test_of(a), self.name("b")
        self.masks[name] = self.arrays[a]
        return [f"{name} = {text}"]

    def new_float(self):
        text, name = self.float(2), self.name("x")
        self.floats.append(name)
        return [f"{name} = {text}"]

    def new_integer(self):
        text, name = self.integer(), self.name("k")
        self.integers.append(name)
        return [f"{name} = {text}"]

    def new_apart(self):
        some = self.pick(
            *(n for n, s in (*self.tuples.items(), *self.lists.items(), *self.arrays.items()) if s > 2), "WEIGHTS"
        )
        one, two, rest = self.name("x"), self.name("x"), self.name("l")
        size = {**self.tuples, **self.lists, **self.arrays, "WEIGHTS": 3}[some]
        lines = self.pick(
            [f"{one}, *{rest} = {some}", f"{two} = {rest}[0]"],
            [f"{one}, *{rest}, {two} = {some}"],
            [f"{one}, {two} = ends({some})", f"{rest} = [z] * {size - 1}"],
            [f"({one}, {two}), {rest} = ends({some}), [z, w]"],
        )
        if f"*{rest}, {two}" in lines[0]:
            size -= 1
        self.lists[rest] = 2 if lines[0].endswith("[z, w]") else size - 1
        self.floats += [one, two]
        return lines

    def block(self, depth):
        lines = [line for _ in range(self.pick(1, 2)) for line in self.changed(depth)]
        return [f"    {line}" for line in lines]

    def changed(self, depth=2):
        """A statement that changes variables."""
        makers = [self.change_float, self.change_integer]
        makers += [self.change_array] * 3 * bool(self.arrays) + [self.change_matrix] * 2 * bool(self.matrices)
        makers += (
            [self.change_list] * bool(self.lists)
            + [self.change_growing] * 2 * bool(self.growing)
            + [self.change_dict] * bool(self.dicts)
        )
        makers += [self.rebound] * bool(self.arrays or self.lists)
        if depth:
            makers += [lambda: self.change_if(depth), lambda: self.change_for(depth)] * 2
        return self.pick(*makers)()

    def change_float(self):
        own = [x for x in self.floats if x not in {"z", "w"}]
        if not own:
            return ["pass"]
        return [f"{self.pick(*own)} {self.pick('', '+', '-')}= {self.float()}"]

    def change_integer(self):
        own = [x for x in self.integers if x != "k"]
        return [f"{self.pick(*own)} = {self.integer()}"] if own else ["pass"]

    def change_array(self):
        a = self.pick(*self.arrays)
        size = self.arrays[a]
        x = self.float()
        return [self.pick(
            f"{a}[{self.index(size)}] = {x}", f"{a}[{self.index(size)}] {self.pick('+', '-', '*')}= {x}", f"{a} {self.pick('+', '-')}= {self.float(0)}",
            f"{a} *= 0.5", f"{a}[:] = {x}", f"{a}[1:] = {self.float(0)}", f"{a}[{self.index(size)}], {a}[0] = {a}[0], {x}", f"{a}.sort()", f"{a}.fill({x})",
            f"put({a}, {self.integer()}, {x})", f"tj.sort({a})", f"{a}[:-1] += {a}[1:]", f"{a}[::-1] = {self.array_of(size)}",
            f"{a} += {self.array_of(size)}",
        )]  # fmt: skip

    def change_matrix(self):
        m = self.pick(*self.matrices)
        rows, columns = self.matrices[m]
        i, j, x = self.index(rows), self.index(columns), self.float()
        c = self.random.randrange(columns)
        return [self.pick(f"{m}[{i}, {j}] = {x}", f"{m}[{i}, {j}] += {x}", f"{m}[{i}][{j}] = {x}", f"{m}[{self.random.randrange(rows)}] = {self.float(0)}",
                          f"{m}[:, {c}] = {self.float(0)}", f"{m} *= 0.5", f"{m}[0] += {self.array_of(columns)}", f"{m}[:, {c}] -= 1.0",
                          f"{m}[1:, {c}] = {self.float(0)}")]  # fmt: skip

    def change_list(self):
        some = self.pick(*self.lists)
        size = self.lists[some]
        x = self.float()
        return [self.pick(f"{some}[{self.index(size)}] = {x}", f"{some}[{self.index(size)}] += {x}", f"{some}.sort()", f"{some}.reverse()",
                          f"put({some}, {self.integer()}, {x})")]  # fmt: skip

    def rebound(self):
        """An array or a list made anew, unless a loop goes over it."""
        name = self.pick(*self.arrays, *self.lists, *self.matrices)
        if name in self.gone_over:
            return ["pass"]
        if name in self.matrices:
            return [f"{name} = {self.matrix_of(*self.matrices[name])}"]
        if name in self.arrays:
            return [f"{name} = {self.array_of(self.arrays[name])}"]
        return [
            f"{name} = "
            + self.pick(f"[v + {self.float(0)} for v in {name}]", f"{name}[::-1]", f"sorted({name}, reverse=True)")
        ]

    def change_growing(self):
        g = self.pick(*self.growing)
        x = self.float()
        return self.pick([f"{g}.append({x})"], [f"if {g}:", f"    {g}.pop()"], [f"if len({g}) > 1:", f"    {g}.pop(0)"], [f"{g}.sort()"], [f"{g}.reverse()"],
                         [f"{g}.insert({self.pick(0, 1, -1)}, {x})"], [f"{g}.extend([{x}, z])"], [f"if len({g}) > 0:", f"    {g}[{self.pick(0, -1)}] = {x}"],
                         [f"if {g}:", f"    del {g}[0]"], [f"{g} = [v for v in {g} if v > {self.float(0)}]"], [f"{g} += [{x}]"], [f"{g}.clear()"],
                         [f"while {g}:", f"    x = {g}.pop()"], [f"while len({g}) > 2:", f"    {g}.pop(0)"], [f"{g} = list({g})"],
                         [f"for j, u in enumerate({g}):", f"    {g}[j] = u * 0.5"], [f"{g} = sorted({g})"],
                         [f"if {self.pick(*self.floats)} in {g}:", f"    {g}.remove({g}[0])"])  # fmt: skip

    def change_dict(self):
        d = self.pick(*self.dicts)
        key = self.pick(*self.dicts[d])
        return [f"{d}[{key}] {self.pick('', '+', '*')}= {self.float()}"]

    def change_if(self, depth):
        lines = [f"if {self.truth()}:", *self.block(depth - 1)]
        return lines + (["else:", *self.block(depth - 1)] if self.chance(0.4) else [])

    def change_for(self, depth):
        name = f"i{len(self.loops)}"
        if self.chance(0.5):
            head = [f"for {name} in {self.pick('range(3)', 'range(2)', 'range(1, 4)', 'range(2, -1, -1)')}:"]
        else:
            over = self.pick("WEIGHTS", "(z, w, 0.5)", *self.sequences())
            head = [f"for {name}, v{name} in enumerate({over}):"]
            self.gone_over.append(over)
        self.loops.append(name)
        is_each = "enumerate" in head[0]
        if is_each:
            self.floats.append(f"v{name}")
        body = self.block(depth - 1)
        if is_each:
            self.floats.remove(f"v{name}")
            self.gone_over.pop()
        if self.chance(0.2):
            body += [f"    if {self.truth()}:", f"        {self.pick('break', 'continue')}"]
        self.loops.pop()
        return head + body

    def results(self):
        found = [
            f"{self.float(2)}",
            f"1.0 if {self.truth()} else 0.0",
            *self.floats[2:],
            *(f"float({k})" for k in self.integers[1:]),
        ]
        found += [f"weighted({n})" for n in (*self.arrays, *self.lists, *self.tuples)]
        found += [f"weighted({m}.flatten())" for m in self.matrices] + [f"float({b}.sum())" for b in self.masks]
        found += [f"float(len({g})) + sum({g}) * 0.5" for g in self.growing]
        return found + [f"sum({d}.values())" for d in self.dicts]


def body_of(seed, size=6):
    """The text of a function ``body(z, w, k)`` of as many results as it has variables."""
    writer = WholeWriter(seed)
    lines = [line for _ in range(size) for line in writer.declared()]
    lines += [line for _ in range(size) for line in writer.changed()]
    lines += [line for _ in range(2) for line in writer.declared()]
    results = writer.results()
    return (
        "\n".join(
            ["def body(z, w, k: np.int16):", *(f"    {line}" for line in lines), f"    return {', '.join(results)}"]
        )
        + "\n"
    )

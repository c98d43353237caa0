"""What the language refuses: every message, with the user's file and line, a caret, and what to write instead."""

import linecache
import re
import sys

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import HEAD, write_module
from tilejit.errors import KernelError, ParameterError

KNOWN = (
    "a body may call abs, min, max, sum, any, all, sorted, int, float, bool, round, len, functions of math and of np that take numbers, "
    "tj.is_valid and plain functions"
)
# Each case is a module, with «» around what the carets stand under; the function at fault; what is wrong; what to do.
CASES = {
    "range float step": (
        """
@tj.local
def f(z):
    s = 0.0
    for k in range(0, 3, «0.5»):
        s += k
    return s
""",
        "f",
        "a bound of range is a float",
        "bounds are integers: annotate the parameter with int, or write int(x)",
    ),
    "shift negative": (
        """
@tj.local
def f(z: np.int16):
    return z << «-1»
""",
        "f",
        "a shift by -1",
        "integers have 64 bits: shift by 0 to 63",
    ),
    "unpack mismatch": (
        """
def g(v):
    return v, v, v
@tj.local
def f(z):
    «a, b = g(z)»
    return a
""",
        "f",
        "3 values for 2 variables",
        "give each value one variable",
    ),
    "unpack nontuple": (
        """
@tj.local
def f(z):
    a, b = «z»
    return a
""",
        "f",
        "no tuple to take apart",
        "write a, b = x, y, or call a helper that returns a tuple",
    ),
    "recursion": (
        """
def g(v):
    return «g(v - 1)» if v > 0 else 0
@tj.local
def f(z):
    return g(z)
""",
        "g",
        "g calls itself",
        "write the recursion as a while loop",
    ),
    "mutual recursion": (
        """
def g(z, v):
    return h(z, v)
def h(z, v):
    return «g(z, v)»
@tj.focal
def f(z):
    return g(z[0, 0], 1) + z[0, 1]
""",
        "h",
        "g calls itself",
        "write the recursion as a while loop",
    ),
    "missing attr": (
        """
@tj.local
def f(z):
    return z * math.tau * «math.nope»
""",
        "f",
        "unknown name math.nope",
        "a body sees numbers, modules and plain functions, and no attributes of objects",
    ),
    "attr of local": (
        """
@tj.local
def f(z):
    return «z.real»
""",
        "f",
        "unknown name z.real",
        "a body sees numbers, modules and plain functions, and no attributes of objects",
    ),
    "method": (
        """
@tj.local
def f(z):
    return «z.sqrt»()
""",
        "f",
        "unknown function z.sqrt",
        KNOWN,
    ),
    "string": (
        """
@tj.local
def f(z):
    return z if z > 0 else «"no"»
""",
        "f",
        "a string in a body",
        "a body has numbers, True and False only; math.nan is no result",
    ),
    "none": (
        """
@tj.local
def f(z):
    return «None»
""",
        "f",
        "None in a body",
        "a body has numbers, True and False only; math.nan is no result",
    ),
    "complex": (
        """
@tj.local
def f(z):
    return z * «2j»
""",
        "f",
        "a complex number in a body",
        "write its real and its imaginary part as two variables",
    ),
    "is none": (
        """
@tj.local
def f(z):
    return 1 if z is «None» else 2
""",
        "f",
        "'is' in a body",
        "compare numbers with ==; ask tj.is_valid(z[dy, dx]) for nodata",
    ),
    "cond def": (
        """
@tj.local
def f(z):
    if z > 0:
        x = 1
    return «x»
""",
        "f",
        "x may be used before it has a value",
        "assign it on every path that leads here",
    ),
    "used before": (
        """
@tj.local
def f(z):
    y = «x» + 1
    x = 2
    return y
""",
        "f",
        "x is used before it has a value",
        "assign it first",
    ),
    "shadow abs call": (
        """
@tj.local
def f(z):
    abs = 3
    return «abs»(z)
""",
        "f",
        "abs is a variable here, and no function",
        "give the variable another name",
    ),
    "local function name call": (
        """
@tj.local
def f(z):
    return «z»(1)
""",
        "f",
        "z is a variable here, and no function",
        "give the variable another name",
    ),
    "del": (
        """
@tj.local
def f(z):
    t = (z, 1)
    del «t[0]»
    return z
""",
        "f",
        "del of what is no element of a list that grows",
        "make it a list: a = [x, y]",
    ),
    "huge int captured": (
        """
BIG = 10**30
@tj.local
def f(z):
    return z + «BIG»
""",
        "f",
        "the integer 1000000000000000000000000000000 does not fit 64 bits",
        "write it as a float: 1e20",
    ),
    "array captured": (
        """
W = np.ones(3)
@tj.local
def f(z):
    return «z + W»
""",
        "f",
        "a list where one value is needed",
        "assign it first: a = [x, y]; a[k]. Or add up: sum(x for x in a)",
    ),
    "dict captured": (
        """
W = {}
@tj.local
def f(z):
    return z + «W»
""",
        "f",
        "W is no number (dict)",
        "a body captures numbers and plain functions; pass values as keyword-only parameters, arrays as rasters",
    ),
    "function as value": (
        """
def g(v):
    return v
@tj.local
def f(z):
    return z + «g»
""",
        "f",
        "g is no number (function)",
        "a body captures numbers and plain functions; pass values as keyword-only parameters, arrays as rasters",
    ),
    "module as value": (
        """
@tj.local
def f(z):
    return z + «math»
""",
        "f",
        "math is no number (module)",
        "a body captures numbers and plain functions; pass values as keyword-only parameters, arrays as rasters",
    ),
    "np call": (
        """
@tj.local
def f(z):
    return «np.cumsum»(z)
""",
        "f",
        "np.cumsum works on arrays",
        "write a loop: for k in range(1, len(a))",
    ),
    "np mean": (
        """
@tj.local
def f(z):
    return «np.mean(z)»
""",
        "f",
        "np.mean of something that is no array",
        "give it an array, a tuple or a table: np.mean([a, b, c])",
    ),
    "np.uint64": (
        """
@tj.local
def f(z):
    return «np.uint64»(z)
""",
        "f",
        "np.uint64 works on arrays",
        "write int(x): integers of a body have 64 bits and a sign",
    ),
    "len": (
        """
@tj.local
def f(z):
    return «len»(z)
""",
        "f",
        "len of something that is no stack",
        "len counts the layers of a parameter that is annotated with tj.Stack",
    ),
    "a stack as a value": (
        """
@tj.local
def f(t: tj.Stack):
    return «t» * 2.0
""",
        "f",
        "t is a stack, and one value is needed",
        "choose a layer: t[0]",
    ),
    "two indices of a stack": (
        """
@tj.focal
def f(t: tj.Stack):
    return «t[0, 1]»
""",
        "f",
        "a cell of a stack has one index or three, and this has 2",
        "write t[k], or t[k, dy, dx]: layer, rows south, columns east",
    ),
    "neighbours of a stack in a local body": (
        """
@tj.local
def f(t: tj.Stack):
    return «t[0, 0, 1]»
""",
        "f",
        "neighbours in a local body",
        "a local body sees one pixel: write t[k], or declare it with @tj.focal",
    ),
    "a float as a layer": (
        """
@tj.local
def f(t: tj.Stack, z):
    return t[«z»]
""",
        "f",
        "the index of a layer is a float",
        "layers are numbered: t[0], t[1], …",
    ),
    "a loop over a stack": (
        """
@tj.local
def f(t: tj.Stack):
    s = 0.0
    for v in «t»:
        s += v
    return s
""",
        "f",
        "iterates over the raster t",
        "loop over its layers: for k in range(len(t)): … t[k]",
    ),
    "a stack that is assigned to": (
        """
@tj.local
def f(t: tj.Stack):
    «t» = 1.0
    return t
""",
        "f",
        "t is a stack, and one value is needed",
        "choose a layer: t[0]",
    ),
    "an annotation of a stack": (
        """
@tj.local
def f(«t: tj.Stack[str]»):
    return t[0]
""",
        "f",
        "t is annotated str",
        "a raster takes bool, int8 to int64 and uint8 to uint64: t: np.uint16",
    ),
    "random module": (
        """
import random
@tj.local
def f(z):
    return z + «random.random»()
""",
        "f",
        "random.random cannot be called from a body",
        KNOWN,
    ),
    "builtin pow": (
        """
@tj.local
def f(z):
    return «pow»(int(z), 2, 5)
""",
        "f",
        "pow cannot be called from a body",
        "write x ** y % z",
    ),
    "round digits": (
        """
@tj.local
def f(z):
    return round(z, «int(z)»)
""",
        "f",
        "round to digits known only while running",
        "give their number as a literal, -15 to 15, or write round(x * scale) / scale",
    ),
    "numpy counts": (
        """
@tj.local
def f(z):
    return «np.where(z > 0)»
""",
        "f",
        "np.where takes 3 arguments in a body, 1 given",
        "write np.where(x, y, z)",
    ),
    "clip counts": (
        """
@tj.local
def f(z):
    return «np.clip(z, 0)»
""",
        "f",
        "np.clip takes 3 arguments in a body, 2 given",
        "write np.clip(x, least, most)",
    ),
    "numpy keyword": (
        """
@tj.local
def f(z):
    return np.clip(z, «min=0», max=1)
""",
        "f",
        "np.clip with a keyword argument",
        "give its arguments by position",
    ),
    "round tens of an integer": (
        """
@tj.local
def f(z: np.int16):
    return «round(z, -1)»
""",
        "f",
        "an integer rounded to tens",
        "make a float of it: float(z)",
    ),
    "complex call": (
        """
@tj.local
def f(z):
    return «complex»(z, 1.0)
""",
        "f",
        "complex cannot be called from a body",
        "write the real and the imaginary part as two variables",
    ),
    "math argcount": (
        """
@tj.local
def f(z):
    return «math.atan2(z)»
""",
        "f",
        "math.atan2 takes 2 arguments, 1 given",
        "write math.atan2(x, y)",
    ),
    "math fsum": (
        """
@tj.local
def f(z):
    return «math.fsum»(z)
""",
        "f",
        "math.fsum is not in the language",
        "write sum(a)",
    ),
    "math kw": (
        """
@tj.local
def f(z):
    return math.sqrt(«x=z»)
""",
        "f",
        "math.sqrt with a keyword argument",
        "give its arguments by position",
    ),
    "is_valid computed int": (
        """
@tj.local(nodata="kernel")
def f(z: np.uint8):
    return 1 if «tj.is_valid(z + 1)» else 0
""",
        "f",
        "tj.is_valid of an integer that was computed",
        "ask it of a raster's cell: tj.is_valid(qa[0, 0])",
    ),
    "is_valid no args": (
        """
@tj.local(nodata="kernel")
def f(z):
    return 1 if «tj.is_valid()» else 0
""",
        "f",
        "tj.is_valid takes one cell",
        "write tj.is_valid(z[dy, dx])",
    ),
    "subscript 1": (
        """
@tj.focal
def f(z):
    return «z[1]»
""",
        "f",
        "a neighbour has two offsets",
        "write z[dy, dx]: rows south, columns east",
    ),
    "subscript slice": (
        """
@tj.focal
def f(z):
    return z[«0:1», 0]
""",
        "f",
        "a slice",
        "read one cell at a time: z[dy, dx]",
    ),
    "subscript float": (
        """
@tj.focal
def f(z):
    return z[«0.5», 0]
""",
        "f",
        "an offset is a float",
        "offsets are integers: z[-1, 1]",
    ),
    "subscript 3": (
        """
@tj.focal
def f(z):
    return «z[0, 0, 1]»
""",
        "f",
        "a neighbour has two offsets",
        "write z[dy, dx]: rows south, columns east",
    ),
    "subscript of local": (
        """
@tj.focal
def f(z):
    a = z[0, 0]
    return «a[0, 1]»
""",
        "f",
        "a is no raster parameter, so it has no cells",
        "pass arrays as positional parameters, and constant weights as a captured tuple",
    ),
    "chained subscript": (
        """
@tj.focal
def f(z):
    return «z[0][1]»
""",
        "f",
        "z[0] is no raster parameter, so it has no cells",
        "pass arrays as positional parameters, and constant weights as a captured tuple",
    ),
    "runtime offset": (
        """
@tj.focal
def f(z, *, k=1):
    return z[0, «k»]
""",
        "f",
        "the offset k is known only while running",
        "declare how far it reaches: @tj.focal(radius=3)",
    ),
    "assign cell": (
        """
@tj.focal
def f(z):
    «z[0, 0]» = 1
    return z[0, 1]
""",
        "f",
        "an assignment to a cell",
        "a body returns its result; rasters are read only",
    ),
    "assign attr": (
        """
@tj.local
def f(z):
    «z.x» = 1
    return z
""",
        "f",
        "an assignment to z.x",
        "assign to plain variables",
    ),
    "aug cell": (
        """
@tj.focal
def f(z):
    «z[0, 0]» += 1
    return z[0, 1]
""",
        "f",
        "an assignment to a cell",
        "a body returns its result; rasters are read only",
    ),
    "float bitop": (
        """
@tj.local
def f(z):
    return «z & 1»
""",
        "f",
        "a bit operator on a float",
        "annotate the raster with its integer dtype: def f(qa: np.uint16)",
    ),
    "invert float": (
        """
@tj.local
def f(z):
    return «~z»
""",
        "f",
        "a bit operator on a float",
        "annotate the raster with its integer dtype: def f(qa: np.uint16)",
    ),
    "matmul": (
        """
@tj.local
def f(z):
    return «z @ z»
""",
        "f",
        "a matrix product of what is no array",
        "give two arrays: np.array([a, b])",
    ),
    "in a dict": (
        """
@tj.local
def f(z):
    return z + «{1: 2}»
""",
        "f",
        "a dict where one value is needed",
        "assign it first: d = {1: a, 2: b}; d[k]",
    ),
    "a text key that is not there": (
        """
GAINS = {"red": 0.5}
@tj.local
def f(z):
    return z * «GAINS["nir"]»
""",
        "f",
        "GAINS is no dict of integers",
        "the keys of a table are integers, one or more",
    ),
    "in range": (
        """
@tj.local
def f(z):
    return z in «range(int(z), 9, 2)»
""",
        "f",
        "'in' over something that is no tuple of numbers",
        "write: c in (3, 8, 9)",
    ),
    "in captured list": (
        """
L = [1, 2]
@tj.local
def f(z):
    return z in «L»
""",
        "f",
        "'in' over something that is no tuple of numbers",
        "write: c in (3, 8, 9)",
    ),
    "return tuple in tuple": (
        """
@tj.local
def f(z):
    return z, «(z, 1)»
""",
        "f",
        "a tuple as a value",
        "tuples are for return, and for assigning several variables at once",
    ),
    "helper tuple in expr": (
        """
def g(v):
    return v, v
@tj.local
def f(z):
    return «g(z)» + 1
""",
        "f",
        "g returns 2 values, where one is needed",
        "take them apart first: a, b = …",
    ),
    "helper missing arg": (
        """
def g(v, w):
    return v + w
@tj.local
def f(z):
    return «g(z)»
""",
        "f",
        "g is called without w",
        "it takes v, w",
    ),
    "helper extra kw": (
        """
def g(v):
    return v
@tj.local
def f(z):
    return g(z, «q=1»)
""",
        "f",
        "g has no parameter q",
        "it takes v",
    ),
    "helper default str": (
        """
def g(v, «mode»="a"):
    return v
@tj.local
def f(z):
    return g(z)
""",
        "g",
        "mode has the default 'a'",
        "a default is a number, True or False",
    ),
    "helper no return": (
        """
def g(v):
    if «v > 0»:
        return v
@tj.local
def f(z):
    return g(z)
""",
        "g",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "helper vararg": (
        """
def g(*«v»):
    return 1
@tj.local
def f(z):
    return g(z)
""",
        "g",
        "a helper with * or ** parameters",
        "name each parameter",
    ),
    "helper starred call": (
        """
def g(v, w):
    return v
@tj.local
def f(z):
    return g(«*z»)
""",
        "f",
        "a starred expression",
        "write the values out",
    ),
    "helper neighbours of value": (
        """
def g(v):
    return v[0, 1]
@tj.focal
def f(z):
    return g(«z[0, 1]») + g(2)
""",
        "f",
        "g reads neighbours of v",
        "pass it a raster parameter, by its name",
    ),
    "helper neighbours local": (
        """
def g(v):
    return v[0, 1]
@tj.local
def f(z):
    return g(«z»)
""",
        "f",
        "g reads neighbours of v, and a local body sees one pixel",
        "declare the kernel with @tj.focal",
    ),
    "helper tuple lengths": (
        """
def g(v):
    if v > 0:
        return v, v
    «return v»
@tj.local
def f(z):
    a, b = g(z)
    return a
""",
        "g",
        "returns 1 value here and 2 values in line 9",
        "return the same number of values on every path",
    ),
    "helper tuple lengths via call": (
        """
def h(v):
    return v, v, v
def g(v):
    if v > 0:
        return v, v
    «return h(v)»
@tj.local
def f(z):
    a, b = g(z)
    return a
""",
        "g",
        "returns 3 values here and 2 values elsewhere",
        "return the same number of values on every path",
    ),
    "loop var float": (
        """
@tj.local
def f(z):
    for «k» in range(3):
        k = k * 0.5
        z = z + k
    return z
""",
        "f",
        "k is both a loop variable and a float",
        "use two names",
    ),
    "iterate raster": (
        """
@tj.focal
def f(z):
    s = 0
    for v in «z»:
        s += v
    return s + z[0, 1]
""",
        "f",
        "iterates over the raster z",
        "loop over offsets: for dy in range(-1, 2): … z[dy, dx]",
    ),
    "iterate enumerate": (
        """
@tj.local
def f(z):
    for i, v in «enumerate(z)»:
        z = z + v
    return z
""",
        "f",
        "loops over enumerate(z)",
        "a for loop goes over range(...), or over a tuple or an array of numbers",
    ),
    "range none": (
        """
@tj.local
def f(z):
    for v in «range()»:
        z = z + v
    return z
""",
        "f",
        "range with 0 arguments",
        "range takes one to three",
    ),
    "range zero step": (
        """
@tj.local
def f(z):
    for v in range(0, 5, «0»):
        z = z + v
    return z
""",
        "f",
        "range with a step of 0",
        "step by 1 or more, or by -1 or less",
    ),
    "star target": (
        """
@tj.local
def f(z):
    a, b = max(«*z», 1), 2
    return z
""",
        "f",
        "a starred expression",
        "write the values out",
    ),
    "walrus in and": (
        """
@tj.local
def f(z):
    if z > 0 and («y := z * 2») > 1:
        return y
    return z
""",
        "f",
        "an assignment inside an expression",
        "assign on a line of its own",
    ),
    "walrus late": (
        """
@tj.local
def f(z):
    y = 1.0
    return y + («y := z * 2»)
""",
        "f",
        "an assignment inside an expression",
        "assign on a line of its own",
    ),
    "multi-line": (
        """
@tj.local
def f(z):
    return (z
            + «unknown»
            + np.sqrt(
                z,
            ))
""",
        "f",
        "unknown name unknown",
        "define it above the kernel, or make it a keyword-only parameter",
    ),
    "multi-line caret": (
        """
@tj.local
def f(z):
    return «np.cumprod»(
        z,
        1,
    )
""",
        "f",
        "np.cumprod works on arrays",
        KNOWN,
    ),
    "tab": (
        """
@tj.local
def f(z):
	x	=	«np.cumsum»(z)
	return	x
""",
        "f",
        "np.cumsum works on arrays",
        "write a loop: for k in range(1, len(a))",
    ),
    "annotated str": (
        """
@tj.local
def f(«z: str»):
    return z
""",
        "f",
        "z is annotated str",
        "a raster takes bool, int8 to int64 and uint8 to uint64: z: np.uint16",
    ),
    "annotation undefined": (
        """
@tj.local
def «f»(z: "nope"):
    return z
""",
        "f",
        "an annotation cannot be evaluated: name 'nope' is not defined",
        "annotate with dtypes, as np.uint16",
    ),
    "annotated complex64": (
        """
@tj.local
def f(«z: np.complex64»):
    return z
""",
        "f",
        "z is annotated complex64",
        "a raster takes bool, int8 to int64 and uint8 to uint64: z: np.uint16",
    ),
    "return annotation": (
        """
@tj.local
def f(z) -> «str»:
    return z
""",
        "f",
        "the result is annotated str",
        "annotate it with a dtype, as -> np.uint8",
    ),
    "return annotation count": (
        """
@tj.local
def f(z) -> «tuple[np.uint8, np.uint8]»:
    return z
""",
        "f",
        "annotated with 2 results, returns 1",
        "annotate each result: -> tuple[np.uint8, np.float32]",
    ),
    "scalar annotation": (
        """
@tj.local
def f(z, *, «k: str» = 1):
    return z
""",
        "f",
        "k is annotated str",
        "annotate a scalar with float, int or bool",
    ),
    "scalar default": (
        """
@tj.local
def f(z, *, «k»="a"):
    return z
""",
        "f",
        "k has the default 'a'",
        "a scalar's default is a number, True, False or tj.CELL_…",
    ),
    "scalar default None": (
        """
@tj.local
def f(z, *, «k»=None):
    return z
""",
        "f",
        "k has the default None",
        "a scalar's default is a number, True, False or tj.CELL_…",
    ),
    "positional default": (
        """
@tj.local
def f(z, k=«2»):
    return z
""",
        "f",
        "a positional parameter with a default",
        "positional parameters are rasters: put a * before the scalars, as in def f(z, *, scale=2.0)",
    ),
    "neighbours and a value": (
        """
@tj.focal
def f(z):
    return z[0, 1] - «z»
""",
        "f",
        "z has neighbours here, and one value is needed",
        "write z[0, 0] for the pixel itself",
    ),
    "any number of rasters as a value": (
        """
@tj.local
def f(*z):
    return «z» + 1
""",
        "f",
        "z is a tuple, and one value is needed",
        "take an element: z[0]",
    ),
    "any number of stacks": (
        """
@tj.local
def f(*«z: tj.Stack»):
    return z[0][0]
""",
        "f",
        "any number of stacks, *z",
        "name each stack: def f(t: tj.Stack, u: tj.Stack)",
    ),
    "more rasters than are given": (
        """
@tj.local
def f(*z):
    return «z[1]»
""",
        "f",
        "element 1 of the tuple z, which has 1 element",
        "elements are numbered 0 to 0, and from the end -1 to -1",
    ),
    "neighbours of any number of rasters in a local body": (
        """
@tj.local
def f(*z):
    return «z[0][0, 1]»
""",
        "f",
        "a subscript in a local body",
        "a local body sees one pixel: write z, or declare it with @tj.focal",
    ),
    "kwargs": (
        """
@tj.local
def f(z, **«k»):
    return z
""",
        "f",
        "**k in a kernel",
        "name each raster and each scalar parameter: def f(red, nir, *, scale=2.0)",
    ),
    "noraster": (
        """
@tj.local
def «f»(*, k=1):
    return k
""",
        "f",
        "no raster parameter",
        "a kernel has at least one positional parameter: def f(z, *, scale=2.0)",
    ),
    "noparam": (
        """
@tj.local
def «f»():
    return 1
""",
        "f",
        "no raster parameter",
        "a kernel has at least one positional parameter: def f(z, *, scale=2.0)",
    ),
    "radius": (
        """
@tj.focal(radius=1)
def f(z):
    return «z[0, 2]»
""",
        "f",
        "reads 2 cells away, beyond the declared radius 1",
        "declare a larger radius= or leave it out",
    ),
    "generator": (
        """
@tj.local
def f(z):
    «yield z»
""",
        "f",
        "yield in a body",
        "return the result",
    ),
    "partial helper": (
        """
import functools
def g(v, w):
    return v + w
h = functools.partial(g, w=1)
@tj.local
def f(z):
    return «h»(z)
""",
        "f",
        "h cannot be called from a body",
        KNOWN,
    ),
    "no return": (
        """
@tj.local
def f(z):
    «x = z»
""",
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "return in loop": (
        """
@tj.local
def f(z):
    for k in «range(3)»:
        if z > k:
            return k
""",
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "walrus in while else": (
        """
@tj.local
def f(z):
    while «(y := z * 2) > 1»:
        z = y / 3
        if z > 7:
            break
    else:
        z = 0.0
    return z
""",
        "f",
        "an assignment in the test of a loop with an else",
        "assign in the loop's body",
    ),
    "bare return": (
        """
@tj.local
def f(z):
    if z > 0:
        «return»
    return z
""",
        "f",
        "a return without a value",
        "return math.nan for a pixel that has no result",
    ),
    "pass only": (
        """
@tj.local
def f(z):
    «pass»
""",
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "docstring only": (
        '''
@tj.local
def f(z):
    «"""Nothing."""»
''',
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "ellipsis": (
        """
@tj.local
def f(z): «...»
""",
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "expression": (
        """
@tj.local
def f(z):
    «z + 1»
    return z
""",
        "f",
        "an expression whose value is not used",
        "assign it to a variable, or leave it out",
    ),
    "global stmt": (
        """
COUNT = 0
@tj.local
def f(z):
    «global COUNT»
    COUNT += 1
    return z
""",
        "f",
        "a global variable that is written to",
        "a body keeps no state: return what it computes",
    ),
    "try": (
        """
@tj.local
def f(z):
    «try:»
        return 1 / z
    except ZeroDivisionError:
        return 0
""",
        "f",
        "try in a body",
        "arithmetic raises nothing in a kernel (1.0 / 0.0 is inf, 0.0 / 0.0 is nan): test with if",
    ),
    "match a class": (
        """
@tj.local
def f(z):
    match z:
        case «float()»:
            return 1
        case _:
            return 2
""",
        "f",
        "a pattern that is no number",
        "match takes numbers, names with a dot, | and _",
    ),
    "match a shorter tuple": (
        """
@tj.local
def f(z, w):
    match (z, w):
        case «(1, 2, 3)»:
            return 1
    return 2
""",
        "f",
        "a pattern that is no tuple of 2",
        "give each value a pattern, or _",
    ),
    "match guard beside as": (
        """
@tj.local
def f(z):
    match z:
        case 1 | 2 as n if «n > z»:
            return 1
    return 2
""",
        "f",
        "a guard beside a name that is given by as",
        "test it in the case's block",
    ),
    "match without an end": (
        """
@tj.local
def f(z):
    match z:
        case 1:
            return 1
        case «2»:
            return 2
""",
        "f",
        "a path through the body returns nothing",
        "end every path with return; math.nan stands for no result",
    ),
    "is of a number": (
        """
@tj.local
def f(z):
    return 1 if «z» is True else 2
""",
        "f",
        "a float compared with 'is'",
        "compare numbers with ==",
    ),
    "with": (
        """
@tj.local
def f(z):
    «with open("x") as g:»
        return z
""",
        "f",
        "with in a body",
        "a body is assignments, if, for over range, while and return",
    ),
    "text compared": (
        """
@tj.local
def f(z):
    return 1 if z == «"horn"» else 2
""",
        "f",
        "a string in a body",
        "a body has numbers, True and False only; a flag that is compared with a text or None is captured, and known when the kernel is compiled",
    ),
    "import": (
        """
@tj.local
def f(z):
    «import os»
    return z
""",
        "f",
        "an import inside a body",
        "import at the top of the file",
    ),
    "nested def in a branch": (
        """
@tj.local
def f(z):
    if z > 0:
        «def g(v): return v»
        return g(z)
    return z
""",
        "f",
        "a function that is made in a branch or a loop",
        "write it at the top of the body, or outside, as a plain function with def",
    ),
    "nested twice": (
        """
@tj.local
def f(z):
    g = lambda v: v
    g = «lambda v: 2 * v»
    return g(z)
""",
        "f",
        "a second function g",
        "define it at the top of the body, once, and call it by its name",
    ),
    "nested default": (
        """
@tj.local
def f(z):
    def g(v, k=«z»):
        return v * k
    return g(z)
""",
        "f",
        "a default that is computed in the body",
        "use the variable inside the function",
    ),
    "nested sees another's variable": (
        """
@tj.local
def f(z, *, a=2.0):
    def g(v):
        return v * a
    def h(v):
        a = 1.0
        return «g(v)» + a
    return h(z)
""",
        "f",
        "g sees a of the body, and h has its own",
        "give that one another name",
    ),
    "nested recursion": (
        """
@tj.local
def f(z):
    def g(v):
        return «g(v - 1)» if v > 0 else v
    return g(z)
""",
        "g",
        "g calls itself",
        "write the recursion as a while loop",
    ),
    "nested refusal": (
        """
@tj.local
def f(z):
    def g(v):
        «yield v»
    return g(z)
""",
        "g",
        "yield in a body",
        "return the result",
    ),
    "nested decorator": (
        """
@tj.local
def f(z):
    @«tj.local»
    def g(v):
        return v
    return g(z)
""",
        "f",
        "a decorator inside a body",
        "leave it out",
    ),
    "fstring": (
        """
@tj.local
def f(z):
    x = «f"{z}"»
    return z
""",
        "f",
        "an f-string",
        "a body has numbers, True and False only",
    ),
    "invert bool": (
        """
@tj.local
def f(z):
    return 1 if «~(z > 0)» else 2
""",
        "f",
        "~ on a truth value, which would be -1 or -2",
        "write not",
    ),
    "object attr": (
        """
class A:
    k = 3
a = A()
@tj.local
def f(z):
    return z * «a.k»
""",
        "f",
        "unknown name a.k",
        "a body sees numbers, modules and plain functions, and no attributes of objects",
    ),
    "enum plain": (
        """
import enum
class E(enum.Enum):
    A = 3
@tj.local
def f(z):
    return z * «E.A»
""",
        "f",
        "E.A is not a number that a body can capture",
        "assign it to a module constant above the kernel, or make it a keyword-only parameter",
    ),
    "method call": (
        """
class A:
    def g(self, v):
        return v
a = A()
@tj.local
def f(z):
    return «a.g»(z)
""",
        "f",
        "unknown function a.g",
        KNOWN,
    ),
    "unicode caret": (
        """
@tj.local
def f(höhe):
    größe = höhe; x = größe + «ünbekannt»
    return x
""",
        "f",
        "unknown name ünbekannt",
        "define it above the kernel, or make it a keyword-only parameter",
    ),
    "infinite": (
        """
@tj.local
def «f»(z):
    while True:
        pass
""",
        "f",
        "the body never returns",
        "leave its endless loop with break, and return the result",
    ),
    "deep": (
        """
@tj.local
def f(z):
    return «z[0, 1]»
""",
        "f",
        "a subscript in a local body",
        "a local body sees one pixel: write z, or declare it with @tj.focal",
    ),
    "dict.get": (
        """
D = {1: 2}
@tj.local
def f(z):
    return «D.get(z)»
""",
        "f",
        "D.get with 1 argument",
        "write D.get(c, 0)",
    ),
    "ternary tuple": (
        """
@tj.local
def f(z):
    a, b = «(z, 1) if z > 0 else (1, z)»
    return a
""",
        "f",
        "no tuple to take apart",
        "write a, b = x, y, or call a helper that returns a tuple",
    ),
    "nested unpack": (
        """
@tj.local
def f(z):
    «(a, b)», c = z, 2
    return a
""",
        "f",
        "an assignment to (a, b)",
        "assign to plain variables",
    ),
    "return helper tuple nested": (
        """
def g(v):
    return v, 1
@tj.local
def f(z):
    return «g(z)», 2
""",
        "f",
        "g returns 2 values, where one is needed",
        "take them apart first: a, b = …",
    ),
    "raise": (
        """
@tj.local
def f(z):
    «raise ValueError»
""",
        "f",
        "raise in a body",
        "return math.nan for a pixel that has no result",
    ),
    "type() call": (
        """
@tj.local
def f(z):
    return «type»(z)
""",
        "f",
        "type cannot be called from a body",
        KNOWN,
    ),
    "isinstance": (
        """
@tj.local
def f(z):
    return 1 if «isinstance»(z, float) else 2
""",
        "f",
        "isinstance cannot be called from a body",
        KNOWN,
    ),
    "float inf str": (
        """
@tj.local
def f(z):
    return z if z > 0 else float(«"1,5"»)
""",
        "f",
        "a string in a body",
        "a body has numbers, True and False only; math.nan is no result",
    ),
    "a tuple as a value": (
        """
@tj.local
def f(z):
    return math.sqrt(«(z, z)»)
""",
        "f",
        "a tuple as a value",
        "tuples are for return, and for assigning several variables at once",
    ),
    "tj quantity as raster": (
        """
@tj.local
def f(z):
    return z * «tj.CELL_WIDTH»
""",
        "f",
        "tj.CELL_WIDTH inside a body",
        "make it the default of a keyword-only parameter: def f(z, *, size=tj.CELL_WIDTH)",
    ),
    "vectorize helper": (
        """
import numba
@numba.vectorize
def g(v):
    return v * 2
@tj.local
def f(z):
    return «g»(z)
""",
        "f",
        "g cannot be called from a body",
        KNOWN,
    ),
    "table of texts": (
        """
W = (1, "two")
@tj.local
def f(z):
    return z + «W[int(z)]»
""",
        "f",
        "W holds 'two', which is no number",
        "a table has numbers, in one or two dimensions",
    ),
    "table of ragged rows": (
        """
W = ((1, 2), (3,))
@tj.local
def f(z):
    return z + «W[int(z)][0]»
""",
        "f",
        "W has rows of unlike lengths",
        "give all rows one length, or index the rows with literals",
    ),
    "table of none": (
        """
W = ()
@tj.local
def f(z):
    return z + «W[int(z)]»
""",
        "f",
        "W is empty",
        "a table has one element or more",
    ),
    "table of three dimensions": (
        """
W = np.zeros((2, 2, 2))
@tj.local
def f(z):
    return z + «W[int(z)][0][0]»
""",
        "f",
        "W is an array of 3 dimensions of float64",
        "a table has integers or floats of up to 64 bits, in one or two dimensions",
    ),
    "table of complex numbers": (
        """
W = np.zeros(3, complex)
@tj.local
def f(z):
    return z + «W[int(z)]»
""",
        "f",
        "W is an array of 1 dimension of complex128",
        "a table has integers or floats of up to 64 bits, in one or two dimensions",
    ),
    "table too large": (
        """
W = np.zeros((600, 600))
@tj.local
def f(z):
    return z + «W[int(z), 0]»
""",
        "f",
        "W has 360000 elements",
        "a table has 125000 at most: pass larger ones as rasters",
    ),
    "table of integers too large": (
        """
W = (1, 2**70)
@tj.local
def f(z):
    return z + «W[int(z)]»
""",
        "f",
        "W holds an integer beyond 64 bits",
        "write it as a float: 1e20",
    ),
    "table row as a number": (
        """
W = ((1, 2), (3, 4))
@tj.local
def f(z):
    return z + «W[int(z)]»
""",
        "f",
        "one row of W, where one number is needed",
        "index W twice",
    ),
    "table number with an index": (
        """
W = (1, 2)
@tj.local
def f(z):
    return z + «W[int(z)][0]»
""",
        "f",
        "a number with an index of W, where one number is needed",
        "index W once",
    ),
    "table literal index outside": (
        """
W = (1, 2)
@tj.local
def f(z):
    return z + «W[2]»
""",
        "f",
        "W[2] is outside W, which has 2 elements",
        "elements are numbered from 0, and from the end -1",
    ),
    "table column unknown": (
        """
W = ((1, 0.5), (3, 4.5))
@tj.local
def f(z):
    return z + W[0 if z > 1 else 1][«int(z)»]
""",
        "f",
        "which column of W is known only while running, and they differ in kind",
        "write all numbers of the table as floats, or index columns with literals",
    ),
    "dict literal key missing": (
        """
D = {1: 2, 5: 3}
@tj.local
def f(z):
    return z + «D[4]»
""",
        "f",
        "D has no key 4",
        "its keys are 1, 5",
    ),
    "dict of far keys": (
        """
D = {1: 2, 100_000: 3}
@tj.local
def f(z):
    return z + «D[z]»
""",
        "f",
        "D has keys from 1 to 100000",
        "keys lie within 65536 numbers: look others up before, and store a class",
    ),
    "dict of texts": (
        """
D = {"a": 2}
@tj.local
def f(z):
    return z + «D[z]»
""",
        "f",
        "D is no dict of integers",
        "the keys of a table are integers, one or more",
    ),
    "table index float": (
        """
W = (1, 2)
@tj.local
def f(z):
    return z + W[«z»]
""",
        "f",
        "the index of W is a float",
        "write int(z), or annotate the raster with its integer dtype",
    ),
    "kernel in kernel": (
        """
@tj.local
def f(z):
    return «other(z)» + 1
@tj.local
def other(z):
    return z
""",
        "f",
        "other is a kernel",
        "call a plain function here, or compose Rasters: f(g(raster))",
    ),
    "option name": (
        """
@tj.local
def f(z, *, «workers»=2):
    return z * workers
""",
        "f",
        "workers is an option of every kernel's call",
        "give the parameter another name",
    ),
    "decorator lines": (
        """
@tj.focal(
    nodata="kernel",
    radius=1,
)
def f(
    z,
    *,
    k=1,
):
    return (
        z[0, 1]
        + «z[0, 2]»
    )
""",
        "f",
        "reads 2 cells away, beyond the declared radius 1",
        "declare a larger radius= or leave it out",
    ),
    "nested in function": (
        '''
def make(weight):
    @tj.local
    def f(z):
        """A text
that spans lines."""
        return z * weight + «[1]»
    return f
kernel = make(2)
''',
        "f",
        "a list where one value is needed",
        "assign it first: a = [x, y]; a[k]. Or add up: sum(x for x in a)",
    ),
    "method in class": (
        """
class Kernels:
    @tj.local
    def f(self, z):
        return «z.value»
f = Kernels.f
""",
        "f",
        "unknown name z.value",
        "a body sees numbers, modules and plain functions, and no attributes of objects",
    ),
    "comment lines": (
        """
@tj.local
def f(z):
    x = 1  # a comment
# at the margin
    return «np.cumsum»(z, 0, x)  # too many
""",
        "f",
        "np.cumsum works on arrays",
        "write a loop: for k in range(1, len(a))",
    ),
    "dict": (
        """
@tj.local
def f(z):
    x = «{z: 2}»
    return z
""",
        "f",
        "a dict whose keys are no literal integers or texts",
        "write them out: {1: a, 2: b}; look other numbers up in an array",
    ),
    "lambda as a value": (
        """
@tj.local
def f(z):
    return max(z, 1, key=«lambda v: -v»)
""",
        "f",
        "a lambda as a value",
        "give it a name at the top of the body, and call it: g = lambda v: …, then g(z)",
    ),
    "keyword star": (
        """
def g(v, w):
    return v + w
@tj.local
def f(z):
    return g(z, **«{}»)
""",
        "f",
        "** in a call",
        "write the arguments out",
    ),
    "twice given": (
        """
def g(v, w):
    return v + w
@tj.local
def f(z):
    return g(z, «v=1»)
""",
        "f",
        "g gets v twice",
        "give each parameter once",
    ),
    "too many": (
        """
def g(v):
    return v
@tj.local
def f(z):
    return «g(z, 1)»
""",
        "f",
        "g takes 1 positional argument, 2 given",
        "it takes v",
    ),
    "loop over raster in helper": (
        """
def g(z):
    s = 0.0
    for v in «z»:
        s += v
    return s + z[0, 1]
@tj.focal
def f(z):
    return g(z)
""",
        "g",
        "iterates over the raster z",
        "loop over offsets: for dy in range(-1, 2): … z[dy, dx]",
    ),
    "shift of 64": (
        """
@tj.local
def f(qa: np.uint8):
    return qa << «64»
""",
        "f",
        "a shift by 64",
        "integers have 64 bits: shift by 0 to 63",
    ),
    "in of float tuple": (
        """
@tj.local
def f(z):
    return z in «"abc"»
""",
        "f",
        "a string in a body",
        "a body has numbers, True and False only; math.nan is no result",
    ),
    "while over raster bits": (
        """
@tj.local
def f(z):
    while «z & 1»:
        z = z / 2
    return z
""",
        "f",
        "a bit operator on a float",
        "annotate the raster with its integer dtype: def f(qa: np.uint16)",
    ),
}


def _message(folder, text):
    """The message that declaring or typing the kernels of a module raises, without the folder's name."""
    with pytest.raises(KernelError) as caught:  # noqa: PT012 - either may raise
        module = write_module(folder, text)
        for value in list(vars(module).values()):
            if isinstance(value, tj.Kernel) and value.name == "f":
                value.form  # noqa: B018 - typed on first use
    return re.sub(rf"{folder}/\w+\.py", "user.py", str(caught.value))


@pytest.mark.parametrize("name", CASES)
def test_refusal(tmp_path, name):
    marked, function, what, instead = CASES[name]
    before, span = marked.split("«")[0], marked.split("«")[1].split("»")[0]
    text = marked.replace("«", "").replace("»", "")
    number = before.count("\n")
    line = text.split("\n")[number]
    start = len(before.rsplit("\n", 1)[-1])
    indent = len(line) - len(line.lstrip())
    blank = re.sub(r"[^\t]", " ", line[indent:start])
    assert _message(tmp_path, text.lstrip("\n")) == "\n".join([
        f"user.py:{number + HEAD.count(chr(10))}: {function}: {what}",
        f"    {line.strip()}",
        f"    {blank}{'^' * len(span)}",
        f"  {instead}",
    ])  # fmt: skip


def test_there_are_as_many_cases_as_promised():
    assert len(CASES) >= 35


DECLARATIONS = {
    "f = tj.local(lambda z: z)": (
        "user.py:7: <lambda> is not written with def\n"
        "    f = tj.local(lambda z: z)\n"
        "  write the body as a plain function: def, then the statements, then return"
    ),
    "sq = (lambda v: v * v, 2)[0]\n\n@tj.local\ndef f(z):\n    return sq(z)": (
        "user.py:7: <lambda> is not written with def\n"
        "    sq = (lambda v: v * v, 2)[0]\n"
        "  write the body as a plain function: def, then the statements, then return"
    ),
    "@tj.local\nasync def f(z):\n    return z": (
        "user.py:8: f is async\n"
        "    async def f(z):\n"
        "  write the body as a plain function: def, then the statements, then return"
    ),
    "@tj.local\nclass F:\n    pass": (
        "F (a class) is no plain Python function; write the body with def, right under the decorator"
    ),
    "f = tj.local(3)": (
        "3 is no plain Python function; write the body with def, right under the decorator"
    ),
    "class A:\n    @tj.local\n    @staticmethod\n    def f(z):\n        return z": (
        "a staticmethod is no plain Python function; write the body with def, right under the decorator"
    ),
    "import functools\ndef g(h):\n    @functools.wraps(h)\n    def w(z):\n        return h(z)\n    return w\n\n"
    "@tj.local\n@g\ndef f(z):\n    return z": (
        "f is wrapped by another decorator; a kernel is compiled from its text, so take that decorator off"
    ),
    "@tj.focal(radius=-1)\ndef f(z):\n    return z[0, 1]": (
        "f: radius=-1; it is a count of cells, or (rows, cols)"
    ),
    "@tj.focal(radius='x')\ndef f(z):\n    return z[0, 1]": (
        "f: radius='x'; it is a count of cells, or (rows, cols)"
    ),
    "@tj.focal(radius=(1, 2, 3))\ndef f(z):\n    return z[0, 1]": (
        "f: radius=(1, 2, 3); it is a count of cells, or (rows, cols)"
    ),
    "@tj.focal(edge=2.5)\ndef f(q: np.uint8):\n    return q[0, 1]": (
        "f: edge=2.5 is no uint8, which q is annotated with"
    ),
    "@tj.focal(edge='mirror')\ndef f(z):\n    return z[0, 1]": (
        "f: edge='mirror'; it is one of nodata, nearest, reflect, wrap, or a number"
    ),
    "@tj.local(nodata='skip')\ndef f(z):\n    return z": (
        "f: nodata='skip'; it is 'propagate' or 'kernel'"
    ),
}  # fmt: skip
"""What cannot be a kernel at all: a module -> the whole message."""


@pytest.mark.parametrize("text", DECLARATIONS)
def test_refusal_of_the_declaration(tmp_path, text):
    assert _message(tmp_path, text + "\n") == DECLARATIONS[text]


def test_a_helpers_error_points_into_the_helpers_file(tmp_path):
    write_module(tmp_path, "\n\ndef helper(v):\n    return v + missing\n", head="", name="helper_module")
    text = "from helper_module import helper\n\n@tj.local\ndef f(z):\n    return helper(z)\n"
    module = write_module(tmp_path, text)
    with pytest.raises(KernelError) as caught:
        module.f(np.ones((2, 2), np.float32))
    assert str(caught.value) == (
        f"{tmp_path}/helper_module.py:4: helper: unknown name missing\n    return v + missing\n"
        "               ^^^^^^^\n  define it above the kernel, or make it a keyword-only parameter"
    )


def test_a_notebook_cell_has_a_line_too():
    text = "@tj.local\ndef f(z):\n    return z + oops\n"
    name = "<ipython-input-1-abc>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"tj": tj, "__name__": "__main__"}
    exec(compile(text, name, "exec"), namespace)  # noqa: S102 - as IPython does
    with pytest.raises(KernelError, match=r"^<ipython-input-1-abc>:3: f: unknown name oops\n    return z \+ oops\n"):
        namespace["f"].form  # noqa: B018 - typed on first use
    del linecache.cache[name]


def test_a_plain_prompt_has_no_text():
    namespace = {"tj": tj, "__name__": "__main__"}
    with pytest.raises(KernelError, match=r"f: its source text cannot be found .*write it in a file or a notebook"):
        exec(compile("@tj.local\ndef f(z):\n    return z\n", "<stdin>", "exec"), namespace)  # noqa: S102


def test_a_frozen_program_is_told_how_to_carry_text(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(KernelError, match=r"f: its source .*frozen program.*collection_mode={'my_kernels': 'pyz\+py'}"):
        exec(compile("@tj.local\ndef f(z):\n    return z\n", "frozen.py", "exec"), {"tj": tj, "__name__": "__main__"})  # noqa: S102


def test_parameters_are_refused_with_their_names(tmp_path):
    text = "@tj.local\ndef f(z, *, a, n=1, on=False):\n    return z * a + n + on\n"
    kernel = write_module(tmp_path, text).f
    z = np.ones((2, 2), np.float32)
    for given, message in [
        ({}, "f needs a: give it as a=…"),
        ({"a": 1, "q": 2}, "f has no parameter q; it takes a, n, on"),
        ({"a": "x"}, "f: a takes one float, not 'x'"),
        ({"a": None}, "f: a takes one float, not None"),
        ({"a": [1, 2]}, r"f: a takes one float, not [1, 2]"),
        ({"a": 1, "n": 2.5}, "f: n takes one integer, not 2.5"),
        ({"a": 1, "n": 2**70}, f"f: n takes an integer of 64 bits, and {2**70} does not fit"),
        ({"a": 1, "on": "yes"}, "f: on takes True or False, not 'yes'"),
        ({"a": 1, "on": 2}, "f: on takes True or False, not 2"),
    ]:
        with pytest.raises(ParameterError, match=f"^{re.escape(message)}$"):
            kernel(z, **given)
    assert kernel(z, a=2, n=np.float32(3), on=np.True_)[0, 0] == 6

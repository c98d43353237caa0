"""What is refused near arrays and tuples: each with its line, a caret, and what to write instead."""

import re

import pytest
from test_refusals import _message

from kernels_for_tests import HEAD

HELPERS = """
SIZE = 4
def made(v):
    h = [v, 1]
    return h[0]
def put(h, v):
    h[0] = v
    return v
def add(h):
    h[0] += 1

@tj.local
def f(z, y, *, n: int = 3):
    h = [z, 1]
"""
# Lines of a body with «» around what the carets stand under; what is wrong; what to do.
CASES = {
    "a second name": (
        "g = [z, 2]\n    g = «h»",
        "g would be a second name of the array h",
        "an array has one; a copy is list(h)",
    ),
    "a part that changes": (
        "g = np.array([z, 1, 2])\n    k = «g[1:]»\n    g[1] = 5",
        "k is a part of g, and one of them is changed in line 22",
        "copy it: k = g[1:].copy()",
    ),
    "a list in an endless loop": (
        "while z > 0:\n        «h.append(z)»",
        "how long this list becomes cannot be seen from the text",
        "append in loops over literal ranges or tables; or count: h = tj.zeros(64); h[n] = v; n += 1",
    ),
    "a slice that runs": (
        "k = h[«int(z):2»]",
        "a slice with ends known only while running",
        "write a loop: for k in range(first, last)",
    ),
    "a row at a running place": (
        "g = np.zeros((2, 3))\n    «g[int(z)]» = 5",
        "a row of which only the run shows the place is assigned",
        "go over its columns: m[i, j] = v",
    ),
    "unlike lengths": (
        "g = «np.array([z, 1]) + np.array([1, 2, 3])»",
        "arrays of unlike shapes: (2,) and (3,)",
        "give them one length",
    ),
    "a key that is not there": ("d = {1: z}\n    return «d[2]»", "d has no key 2", "its keys are 1"),
    "a whole array": (
        "return «h» + 1",
        "h is an array of 2 floats, and one value is needed",
        "take an element: h[k]; a copy is list(h)",
    ),
    "a whole tuple": (
        "t = (z, 1)\n    return «t» + 1",
        "t is a tuple, and one value is needed",
        "take an element: t[0]",
    ),
    "a length that the text does not show": (
        "g = «tj.zeros(n)»",
        "how long this array is cannot be seen from the text",
        "give a literal, or a constant that the body captures: tj.zeros(16)",
    ),
    "no elements": (
        "g = «h[2:]»",
        "an array without elements",
        "an array has one length: [0.0] * 16, and a variable that counts",
    ),
    "too many elements": (
        "g = «tj.zeros(100000)»",
        "an array of 100,000 elements",
        "each pixel has its own, on the stack: 4,096 at most",
    ),
    "two lengths": ("h = «[z, 1, 2]»", "h has 3 elements here and 2 elsewhere", "use two names"),
    "a number of that name": (
        "«h» = 3",
        "h is both an array or a tuple and an integer",
        "use two names",
    ),
    "a float among integers": (
        "g = [0] * 3\n    «g[0]» = z",
        "a float for g, an array of 3 integers",
        "declare it for what it takes, as tj.zeros(n) or [0.0] * n, or convert the value",
    ),
    "a literal outside": (
        "return «h[2]»",
        "element 2 of the array h, which has 2 elements",
        "elements are numbered 0 to 1, and from the end -1 to -2",
    ),
    "an index that is a float": (
        "return h[«z»]",
        "an index of the array h is a float",
        "elements are numbered: write int(x)",
    ),
    "narrow integers": (
        "g = tj.zeros(3, dtype=«np.int32»)",
        "an array of np.int32",
        "integers of a body have 64 bits: dtype=int",
    ),
    "an element of a tuple": (
        "t = (z, 1)\n    «t[0]» = 3",
        "an assignment to an element of the tuple t",
        "make it an array: [a, b, c]",
    ),
    "a method": (
        "«h.resize»(3)",
        "an array has no method h.resize",
        "it has one length: h[n] = v, n += 1; tj.sort(h) sorts it",
    ),
    "a write within an expression": (
        "return z + «put(h, 3.0)»",
        "put writes to an array, within an expression",
        "call it on a line of its own, or assign what it returns: y = …",
    ),
    "the value of a procedure": (
        "y = «add(h)»",
        "add returns nothing",
        "call it on a line of its own, or let it return a value",
    ),
    "sorting as a value": (
        "return «tj.sort(h)»",
        "tj.sort where one value is needed",
        "it sorts in place: call it on a line of its own",
    ),
    "the largest of what may be none": (
        "return max«(v for v in h if v > 1)»",
        "max over what may be empty",
        "start from a value: m = first; for k in range(n): m = max(m, …)",
    ),
    "an index that the line changes": (
        "k = 0\n    k, h[«k»] = 1, 5",
        "an index that the same line changes",
        "write the assignments on lines of their own",
    ),
    "made anew in its loop": (
        "for v in «h»:\n        h = [v, v]",
        "h is made anew in a loop over it",
        "use two names",
    ),
    "a value that may be missing": (
        "if z > 0:\n        g = [z, 1]\n    return «g»[0]",
        "g may be used before it has a value",
        "assign it on every path that leads here",
    ),
    "a window of even size": (
        "v, k = «tj.window(y, 4)»",
        "a window of no odd size that can be seen from the text",
        "write tj.window(z, 5), with a literal or a constant that the body captures",
    ),
    "a window of no raster": (
        "v, k = tj.window(«h», 3)",
        "h is no raster that has a window",
        "give a raster parameter, by its name",
    ),
    "NumPy's cumsum": (
        "return «np.cumsum(h)»",
        "a list where one value is needed",
        "assign it first: a = [x, y]; a[k]. Or add up: sum(x for x in a)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refusal(tmp_path, name):
    marked, what, instead = CASES[name]
    body = f"{HELPERS}    {marked}\n    return z\n".lstrip("\n")
    before, span = body.split("«")[0], re.search("«(.*)»", body).group(1)
    text = body.replace("«", "").replace("»", "")
    number = before.count("\n")
    line = text.split("\n")[number]
    start = len(before.rsplit("\n", 1)[-1]) - (len(line) - len(line.lstrip()))
    assert _message(tmp_path, text) == "\n".join([
        f"user.py:{number + HEAD.count(chr(10)) + 1}: f: {what}",
        f"    {line.strip()}",
        f"    {' ' * start}{'^' * len(span)}",
        f"  {instead}",
    ])  # fmt: skip

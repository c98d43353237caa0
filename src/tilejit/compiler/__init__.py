"""The kernel language: a body becomes a checked, typed, target-neutral form, and that becomes machine code.

The rooms, in the order in which a body goes through them:

- ``form``: where a body's text is, what it captures, and what it becomes: typed functions over a few operations.
- ``syntax``: refuses what the language cannot take, resolves names, folds constants, writes loops out.
- ``arrays``: whole arrays, lists and tuples, written out by their elements.
- ``lowering``: types statements, expressions and calls; its result is a form.
- ``emitter``: passes over a form, and its text as a Python module; ``cpu`` and ``cuda`` are the two spellings.
- ``jit``: that module as machine code, kept on disk, and called without the GIL.
"""

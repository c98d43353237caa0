"""The kernel language: a body becomes a checked, typed, target-neutral form, and that becomes generated source.

``source`` finds a body's text; ``parameters`` reads its signature; ``checks`` refuses what the language cannot take;
``names`` resolves what the body captures; ``unroll`` folds constants and writes literal loops out; ``lower`` types
expressions and statements; ``form`` is the result; ``cpu`` and ``cuda`` write it as a Python module for Numba.
Nothing here imports Numba.
"""

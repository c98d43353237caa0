"""The kernel language: a body becomes a checked, typed, target-neutral form, and that becomes generated source.

The front end: ``source`` finds a body's text, ``parameters`` reads its signature, ``checks`` refuses what the language
cannot take, ``names`` resolves what the body captures, ``folding`` folds constants, ``unrolling`` writes loops out, and
``lowering`` types statements, expressions and calls. ``form`` is the result; ``passes`` goes over it. The ``emitter``
writes it, pixel by pixel (``pixels``), as a Python module for Numba: ``cpu`` and ``cuda`` are its two spellings.
Nothing here imports Numba.
"""

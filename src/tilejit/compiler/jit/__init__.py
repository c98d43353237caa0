"""Generated modules and the machine code that Numba made of them: kept on disk, loaded, called without the GIL."""

"""Generated modules as machine code: made by LLVM, kept on disk, loaded, and called without the GIL."""

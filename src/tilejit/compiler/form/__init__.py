"""What a body is once it is read: typed functions over a few operations, and the kinds of their values."""

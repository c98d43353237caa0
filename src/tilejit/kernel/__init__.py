"""What a kernel is: body and contract, the decorators, the names that it is found by, what it is given of a window."""

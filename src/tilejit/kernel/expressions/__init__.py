"""Expressions: trees of operations on bands, and the local kernel that each becomes when it is asked for."""

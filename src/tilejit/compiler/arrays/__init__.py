"""Whole arrays, lists and tuples in a body's text, written out by their elements before it is typed."""

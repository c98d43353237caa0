"""A body's text, before it is typed: what its names mean, and syntax that is written in other syntax."""

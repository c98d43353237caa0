"""The same job over the same files with what people use today: ``python benchmarks/peers/run.py``."""

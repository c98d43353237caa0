"""A plan on workers in other processes: what leads, what crosses the boundary, what a worker does."""

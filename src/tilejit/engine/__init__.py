"""The engine: a plan of passes over tiles, carried out on threads, processes, MPI ranks or a Dask cluster."""

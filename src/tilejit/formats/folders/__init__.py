"""Outputs of many files, which many machines can write: shards under a VRT, Zarr."""

"""Rasters on another grid: where its cells lie in a source, and what they are made of there."""

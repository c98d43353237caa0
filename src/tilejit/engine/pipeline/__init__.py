"""What one process does with the tiles of a plan: read, compute, write, overlapped and bounded; where its time goes."""

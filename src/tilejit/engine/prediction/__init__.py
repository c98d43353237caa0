"""What was measured of this machine, and how long a run will take on it."""

"""What this process may use of its machine, and how files appear whole."""

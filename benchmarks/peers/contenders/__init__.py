"""One program for each contender: ``python -m peers.contenders.NAME TASK`` runs a task and prints its figures."""

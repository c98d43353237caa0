"""``gdaldem``, one program for each output, at the same time; its hillshade is in whole numbers, a byte each."""

from __future__ import annotations

from peers.jobs import JOBS
from peers.programs import CONFIG, creation, run_all
from peers.task import Task, clocked

PREDICTORS = {"hillshade": {"PREDICTOR": "2"}}
"""A byte takes no floating-point predictor."""

if __name__ == "__main__":
    task = Task.from_arguments()
    modes = [output.name for output in JOBS[task.job].outputs]
    with clocked(task):
        run_all(
            [
                ["gdaldem", mode, task.inputs[0], path, "-q", *creation(task, **PREDICTORS.get(mode, {})), *CONFIG]
                for mode, path in zip(modes, task.outputs, strict=True)
            ]
        )

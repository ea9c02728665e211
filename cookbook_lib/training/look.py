"""A look at what comes next, before `fit` takes it."""

from typing import Any

from cookbook_lib.training.run import Run


def next_forward(run: Run) -> Any | None:
    """This process's first forward of the step that comes next, None where none is left; `fit` finds the batches made.

    It takes an opened run: answers of another start would lie in the first run's folder before anybody refuses it. Collective.
    """
    with run.stop:
        for step in run.steps_left():
            batches = run.micro_batches(step)
            run.inside_step = False  # nothing is computed yet
            return batches[0]
    return None

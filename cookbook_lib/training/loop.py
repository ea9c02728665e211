"""The loop: fetch, forward, backward, step, report. It knows no method and no layout; a `Run` brings both."""

from cookbook_lib.parallel.fsdp import synchronise_gradients
from cookbook_lib.training.run import Run
from cookbook_lib.training.stop import StoppedTraining


def fit(run: Run) -> Run:
    """Train from where `run` stands to its last step. Asked to stop, it ends after a whole step, saves, and can go on."""
    with run.stop:
        run.begin()
        for step in run.steps_left():
            micro_batches = run.micro_batches(step)
            units = run.mesh.sum(sum(map(run.objective.count, micro_batches)))  # the whole step, the whole world, once
            for batch in micro_batches:
                synchronise_gradients(run.model, last=batch is micro_batches[-1])
                loss = run.objective(run.model, batch)
                (loss.total / units).backward()  # gradients add up over ranks; the mean is taken here alone
                run.meter.add(loss, batch.lengths, batch.continues)
            run.update(step)
            run.report()
            if run.stopped():
                raise StoppedTraining(run.stop_sentence())
        run.end()
    return run

"""A run: everything that `fit` needs, in one value, and what happens between two steps.

    begin    validate before the first step (a resumed run already has), or where a stop left a validation undone
    update   clip, refuse what is not finite, step, set the rate
    report   metrics of the step to the trackers; validation, best, early stopping; checkpoints
    end      the last checkpoint and the final model

The rate is a function of the step, the rows of a step are a function of the step and the seed: what is restored on resume is
the weights, the optimizer's moments and these few counters; and, where batches are made of answers, which weights gave them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import Config
from cookbook_lib.data.loader import Batches
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.fsdp import clip_grad_norm, recover, rest
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.tracking.tracker import NullTracker, Tracker
from cookbook_lib.training.checkpoint import Checkpoints, Merge
from cookbook_lib.training.meter import SPEEDS, Meter
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.optim import sample_weights, weights_moved
from cookbook_lib.training.plan import Plan
from cookbook_lib.training.stop import StoppedTraining, StopRequest, WorkLeft, stop_asked


@dataclass
class Progress:
    """What a checkpoint remembers of the run beside weights and moments."""

    step: int = 0  # optimizer steps done
    best: float | None = None  # the best trainer.best_metric so far
    best_loss: float | None = None  # val/loss of that validation: it decides between equals
    best_step: int | None = None
    worse: int = 0  # validations in a row that did not improve
    skipped: int = 0  # steps whose gradient was not finite
    skipped_in_a_row: int = 0
    owed: dict[str, float] | None = None  # a stop left this step's validation undone: what else is to be logged with it


@dataclass(frozen=True)
class Measured:
    """The newest figures of the objective, by their names without `train/` or `val/`, and in words what they are of."""

    figures: dict[str, float] = field(default_factory=dict)
    of: str = "nothing yet: saved before the first report"

    @classmethod
    def among(cls, metrics: dict[str, float], prefix: str, of: str) -> "Measured":
        return cls({name.removeprefix(prefix): x for name, x in metrics.items() if name.startswith(prefix)}, of)


@dataclass
class Run:
    config: Config
    plan: Plan
    mesh: Mesh
    model: PackedModel
    objective: Objective
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]  # learning rate of step s (from 0)
    loader: Batches
    val_loader: Batches | None
    checkpoints: Checkpoints
    meter: Meter
    val_meter: Meter
    export: Callable[[Path, Measured], None]  # writes config, tokenizer and what is known beside the weights
    began: dict[str, str] = field(default_factory=dict)  # recipe and base (beginning.py); empty: nobody asks
    merge: Merge | None = None  # makes plain weights of a checkpoint that holds an adapter
    tracker: Tracker = field(default_factory=NullTracker)
    progress: Progress = field(default_factory=Progress)
    stop: StopRequest = field(default_factory=StopRequest)
    last: dict[str, float] = field(default_factory=dict)  # metrics of the last report
    validated: dict[str, float] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    inside_step: bool = False  # between the first forward and the update

    # -- around the loop ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        if self.inside_step:  # an exception in an earlier cell left it half done
            recover(self.model)
        self.model.train()
        if self.progress.step >= self.plan.total_steps:
            self.checkpoints.say(
                f"{self.checkpoints.folder} holds this run, and it has had all of its {self.progress.step} steps: nothing is trained. "
                "For more, raise trainer.total_epochs; for another run, give it a folder of its own (SAVE_PATH)."
            )
        if self.progress.owed is not None or (self.progress.step == 0 and self.config.trainer.val_at_start):
            self._validate(self.progress.owed or {})
            if self.progress.owed is not None:
                raise self._left()
        self.meter.reset()

    def steps_left(self) -> Iterator[int]:
        while self.progress.step < self.plan.total_steps and not self._exhausted():
            yield self.progress.step

    def end(self) -> None:
        """The last checkpoint, and the final model as a plain Hugging Face folder."""
        if self.checkpoints.last_step != self.progress.step:
            self._save()
        self.checkpoints.wait()
        which = "best" if self._exhausted() and self.progress.best_step else "latest"
        self.checkpoints.publish(self.config.trainer.final_name, self.config.trainer.export_dtype, which, self.merge)
        self.tracker.finish()

    # -- one step ----------------------------------------------------------------------------------------------------------

    def micro_batches(self, step: int) -> list[Any]:
        """Raises StoppedTraining where making them takes long and is left undone: the weights are those of the last step."""
        self.inside_step = True
        try:
            return self.loader.step(step)
        except WorkLeft:
            self.inside_step = False
            raise self._left() from None

    def update(self, step: int) -> None:
        self.inside_step = False
        norm = clip_grad_norm(self.model.parameters(), self.config.optim.clip_grad)
        rate = self.rate(step)
        self.progress.step = step + 1
        self.last = {"train/lr": rate, "train/grad_norm": norm}
        if finite := math.isfinite(norm):
            self._step(rate)
            self.progress.skipped_in_a_row = 0
        self.optimizer.zero_grad(set_to_none=True)
        if not finite:
            self._skip()  # may raise: a NaN must not wait in the gradients for whoever goes on

    def report(self) -> None:
        """Log when due; validation and saving follow a log, so that their time is never counted as training's."""
        step, trainer = self.progress.step, self.config.trainer
        last = step == self.plan.total_steps
        validates = self.val_loader is not None and (last or _due(step, trainer.test_freq))
        saves = _due(step, trainer.save_freq) and not last
        if not (last or validates or saves or _due(step, trainer.log_freq) or "train/skipped_steps" in self.last):
            return
        self.last |= self.meter.reduce()
        self.measured = Measured.among(self.last, "train/", f"training data, up to step {step}")
        if validates:
            self._validate(self.last)
        else:
            self.tracker.log(step, self.last)
        if saves:
            self._save()
        self.meter.reset()

    def stopped(self) -> bool:
        """True on every rank after the same step, once any of them was asked to stop; the state is saved by then."""
        if not self.mesh.any(self.stop.requested):
            return False
        self._keep()
        return True

    def stop_sentence(self) -> str:
        reason, step = self.stop.reason, self.progress.step
        self.stop.clear()
        if not step:
            return f"stopped before the first step ({reason}); there is nothing to save"
        return f"stopped after step {step} of {self.plan.total_steps} ({reason}); saved: run again to go on from there"

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _left(self) -> StoppedTraining:
        """What is known is saved: the work that was left undone changes no weight."""
        if self.progress.step:
            self._keep()
        return StoppedTraining(self.stop_sentence())

    def _keep(self) -> None:
        """A checkpoint of now, on disk when this returns."""
        self._save()
        self.checkpoints.wait()

    def _step(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = sample_weights(self.model)
        self.optimizer.step()
        moved, sampled = self.mesh.sum(torch.tensor(weights_moved(self.model, before), dtype=torch.float64)).tolist()
        self.last["train/weights_moved"] = moved / sampled

    def _exhausted(self) -> bool:
        patience = self.config.trainer.early_stopping_patience
        return patience is not None and self.progress.worse >= patience

    def _skip(self) -> None:
        p, limit = self.progress, self.config.trainer.max_nonfinite_steps
        p.skipped += 1
        p.skipped_in_a_row += 1
        self.last["train/skipped_steps"] = float(p.skipped)
        if p.skipped_in_a_row > limit:
            raise CookbookError(
                f"step {p.step}: the gradient was not finite {p.skipped_in_a_row} times in a row (trainer.max_nonfinite_steps={limit}): "
                f"lower optim.lr or look at rows {self.loader.rows(p.step - 1)[:8].tolist()} ...; the last good checkpoint is kept."
            )

    def _validate(self, metrics: dict[str, float]) -> None:
        p = self.progress
        if self.val_loader is None:
            return
        p.owed = metrics
        try:
            self.validated = validate(self)
        except WorkLeft:
            return
        p.owed = None
        self.measured = Measured.among(self.validated, "val/", f"validation data, at step {p.step}")
        better = self._is_better(self.validated)
        p.worse = 0 if better else p.worse + 1
        self.tracker.log(p.step, metrics | self.validated)
        if better:
            p.best, p.best_loss = self.validated[self.config.trainer.best_metric], self.validated["val/loss"]
            p.best_step = p.step
            if p.step:
                self._save(best=True)

    def _is_better(self, found: dict[str, float]) -> bool:
        """Than every validation before: a lower loss, a higher accuracy (of equal ones, the lower loss), a higher reward.

        The loss of a policy says nothing of how good it is: of equal rewards the first stays.
        """
        metric, loss, p = self.config.trainer.best_metric, found["val/loss"], self.progress
        value = found[metric]
        if not (math.isfinite(value) and math.isfinite(loss)):
            return False
        if p.best is None or metric == "val/loss":
            return p.best is None or value < p.best
        decides = metric != "val/reward" and p.best_loss is not None and loss < p.best_loss
        return value > p.best or (value == p.best and decides)

    def _save(self, best: bool = False) -> None:
        if self.checkpoints.last_step == self.progress.step and not best:
            return
        state: dict[str, Any] = {
            "progress": vars(self.progress).copy(),
            "model": self.model.facts(),
            "loader": self.loader.facts(),
            "began": self.began,
        }
        measured = self.measured  # of now, whenever it is written
        self.checkpoints.save(
            self.progress.step,
            self.model,
            self.optimizer,
            state,
            lambda folder: self.export(folder, measured),
            metric=self.progress.best,
            best=best,
        )


def _due(step: int, every: int | None) -> bool:
    return every is not None and every > 0 and step % every == 0


@torch.no_grad()
def validate(run: Run) -> dict[str, float]:
    """The objective over every validation row, once: sums and counts, one division. Raises WorkLeft, between two forwards."""
    assert run.val_loader is not None
    run.model.eval()
    run.val_meter.reset()
    try:
        for batch in run.val_loader.epoch(run.progress.step):
            if run.mesh.any(stop_asked()):
                raise WorkLeft
            run.val_meter.add(run.objective(run.model, batch), batch.lengths, batch.continues)
    finally:
        run.model.train()
        rest(run.model)
    metrics = run.val_meter.reduce("val/")
    return {name: value for name, value in metrics.items() if name.removeprefix("val/") not in SPEEDS}

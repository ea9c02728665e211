"""Checkpoints: a run's state on disk, complete or invisible, and a Hugging Face folder at the same time.

    step_00000500/
        config.json, tokenizer files, model.safetensors     fp32 master weights: from_pretrained("step_00000500") works
        state/optimizer/optimizer.safetensors               AdamW's moments under the weights' names
        state/random_00000.pt ..., state/trainer.json       each rank's random state; the run's counters
        manifest.json                                       size and sha256 of all of these

    under LoRA      adapter_config.json, adapter_model.safetensors: a folder that peft reads, on the base that it names

    save   training thread:   copy this rank's shards to host memory, return
           background:        write in parallel -> checksums -> manifest -> rename -> links -> prune
    load   newest save whose checksums hold -> every rank reads the slices that it holds, whatever layout wrote them

Weights are stored once: what resumes is what `from_pretrained` reads. Only the random state depends on the number of ranks.
Hyperparameters are not restored: they are the config's. Every method is collective: all ranks call it alike.
"""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training import manifest as sums
from cookbook_lib.training import run_folder
from cookbook_lib.training.adapters import write_weights
from cookbook_lib.training.agreement import Together
from cookbook_lib.training.export import converted, export_model, set_dtype
from cookbook_lib.training.restore import prepare_restore, restore_random, restore_tensors
from cookbook_lib.training.snapshot import MOMENTS, Snapshot, random_file, take_snapshot
from cookbook_lib.training.tensor_files import Tensors, write_tensors

Export = Callable[[Path], None]  # writes config and tokenizer into a folder
Merge = Callable[[Path], Tensors]  # the plain model's weights, in shards, of a checkpoint that holds an adapter


@dataclass(frozen=True)
class Job:
    """One save, with everything that its writing needs."""

    step: int
    snapshot: Snapshot
    state: dict[str, Any]
    export: Export
    metric: float | None
    best: bool

    @property
    def name(self) -> str:
        return run_folder.step_name(self.step)


class Checkpoints:
    """The saves of one run folder.

    keep: newest saves that stay (`latest` and `best` always do); None for all. asynchronous: write while training goes on,
    one save at a time. say: where news for the user goes, on rank 0. Raises CookbookError when the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        keep: int | None,
        mesh: Mesh,
        asynchronous: bool = True,
        say: Callable[[str], None] = print,
    ) -> None:
        if keep is not None and keep < 1:
            raise CookbookError(f"trainer.max_ckpt_to_keep={keep}: keep at least 1, or null for all.")
        self.folder, self.keep, self.mesh, self.asynchronous = Path(folder).absolute(), keep, mesh, asynchronous
        self.say = say if mesh.is_main else lambda news: None
        self.last_step: int | None = None  # of the last save in this folder, made or loaded
        self._together = Together(self.folder)
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._together.first(lambda: run_folder.make_run_folder(self.folder))

    # -- save ------------------------------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        model: PackedModel,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        export: Export,
        metric: float | None = None,
        best: bool = False,
    ) -> None:
        """Save the run as it is after `step`. `state` is what JSON can hold; `metric` is noted, `best` moves the link.

        Returns when all is copied (asynchronous) or on disk. Raises CookbookError for what the previous save ran into.
        """
        self.wait()
        job = Job(step, take_snapshot(model, optimizer), state, export, metric, best)
        self.last_step = step
        if self.asynchronous:
            # No daemon: a process that ends by an exception still finishes the save that it has begun.
            self._writer = threading.Thread(target=self._write_apart, args=(job,), name=job.name)
            self._writer.start()
        else:
            self._write(job)

    def wait(self) -> None:
        """Until the save in progress is on disk. Raises CookbookError if it failed."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _write_apart(self, job: Job) -> None:
        try:
            self._write(job)
        except BaseException as error:  # the training thread raises it, at its next wait
            self._failure = error

    def _write(self, job: Job) -> None:
        together = self._together
        folder = together.first(lambda: self._begin(job))
        try:
            together(lambda: write_weights(job.snapshot.weights, folder, together.group))
            together(lambda: write_tensors(job.snapshot.optimizer, folder / MOMENTS, "optimizer", together.group))
            together(lambda: torch.save(job.snapshot.random, random_file(folder, self.mesh.rank)))
            parts = together(lambda: sums.seal(folder, self._my_share(sums.files_in(folder))))
            together.first(
                lambda: self._publish(job, folder, {name: entry for part in parts for name, entry in part.items()})
            )
        except CookbookError:
            shutil.rmtree(folder, ignore_errors=True)  # its room may be what is missing
            raise

    def _begin(self, job: Job) -> Path:
        """Rank 0: a hidden folder with everything that is not a tensor."""
        folder = run_folder.begin_writing(self.folder, job.name)
        (folder / "state").mkdir()
        job.export(folder)
        set_dtype(folder, "fp32")
        (folder / "state" / "trainer.json").write_text(json.dumps({"step": job.step, "state": job.state}, indent=1))
        return folder

    def _publish(self, job: Job, folder: Path, files: sums.Sums) -> None:
        """Rank 0: from here on the save exists; only then are older ones removed."""
        serial = 1 + max((save.manifest.serial for save in run_folder.complete_saves(self.folder)), default=0)
        manifest = sums.Manifest(
            job.step, serial, job.best, job.metric, self.mesh.world_size, dict(sorted(files.items()))
        )
        manifest.write(folder)
        place = run_folder.put_in_place(folder, job.name)
        run_folder.point(self.folder, "latest", place)
        if job.best:
            run_folder.point(self.folder, "best", place)
        if self.keep is not None:
            run_folder.prune(self.folder, self.keep)

    # -- load ------------------------------------------------------------------------------------------------------------

    def load(
        self, model: PackedModel, optimizer: torch.optim.Optimizer | None, which: str | Path | None = "auto"
    ) -> dict[str, Any] | None:
        """Restore weights, optimizer and random state in place; returns the `state` that was saved.

        which: "auto", the newest intact save of this run folder (damaged ones are named aloud and passed over; None when
        there is no save at all); a checkpoint folder; or None, which loads nothing. `model` is sharded, on its device.
        Raises CookbookError when the folder is damaged, all saves are, or the tensors are not this model's.
        """
        self.wait()
        save = None if which is None else self._newest() if which == "auto" else self._at(Path(which))
        if save is None:
            return None
        self._together(lambda: prepare_restore(save.folder, model, optimizer))
        self._together(lambda: restore_tensors(save.folder, model, optimizer, self._together.group))
        self._together(lambda: restore_random(save, self.mesh, self.say))
        trainer = self._together.first(lambda: json.loads((save.folder / "state" / "trainer.json").read_text()))
        ours = save.folder.parent.resolve() == self.folder.resolve()
        if ours:
            self._together.first(lambda: run_folder.repair_links(self.folder, save))
        self.last_step = trainer["step"] if ours else None  # another run's save is not in this folder yet
        state: dict[str, Any] = trainer["state"]
        return state

    def _at(self, path: Path) -> run_folder.Save:
        folder = path.expanduser().resolve()
        save = run_folder.Save(folder, self._together.first(lambda: sums.read_manifest(folder)))
        if found := self._damage(save):
            raise CookbookError(
                f"checkpoint {folder} is damaged ({found}): give another, or use trainer.resume_mode=auto."
            )
        return save

    def _newest(self) -> run_folder.Save | None:
        candidates = self._together.first(lambda: list(run_folder.saves(self.folder)))
        for save in candidates:
            if isinstance(save, CookbookError):
                self.say(f"passed over: {save}")
            elif found := self._damage(save):
                self.say(f"checkpoint {save.folder} is damaged ({found}): using the one before it.")
            else:
                return save
        if candidates:
            raise CookbookError(f"no checkpoint in {self.folder} is intact: trainer.resume_mode=disable starts anew.")
        return None

    def _damage(self, save: run_folder.Save) -> str:
        """What is wrong with a save, every rank having checked its share; empty when nothing is."""
        mine = self._my_share(list(save.manifest.files))
        found = self._together(lambda: sums.damage(save.folder, save.manifest, mine))
        return "; ".join(phrase for phrases in found for phrase in phrases)

    # -- the final model -------------------------------------------------------------------------------------------------

    def publish(self, name: str, dtype: str = "fp32", which: str = "latest", merge: Merge | None = None) -> Path:
        """Make `name` in the run folder a plain Hugging Face folder of the `latest` or `best` save. dtype: fp32 | bf16.

        merge: what makes plain weights of an adapter; without it an adapter stays one.
        """
        self.wait()
        together, source = self._together, self.folder / which
        together.first(lambda: sums.read_manifest(source))
        folder = together.first(lambda: run_folder.begin_writing(self.folder, name))
        left_out = ("state/",) if merge is None else ("state/", "adapter_")
        files = [file for file in sums.files_in(source) if not file.startswith(left_out)]
        together(lambda: export_model(source, folder, self._my_share(files), dtype))
        if merge is not None:
            together(lambda: write_weights(converted(merge(source), dtype), folder, together.group))
        together.first(lambda: set_dtype(folder, dtype))
        together(lambda: sums.seal(folder, self._my_share(sums.files_in(folder))))
        return together.first(lambda: run_folder.put_in_place(folder, name))

    def _my_share(self, files: list[str]) -> list[str]:
        return files[self.mesh.rank :: self.mesh.world_size]

"""Weights & Biases (https://wandb.ai). Its own setting says where the data go, WANDB_MODE: online, offline, disabled.

Without it and without a login the run is recorded in the run's folder (`wandb sync` uploads it later), and we say so.
"""

import os
from collections.abc import Mapping

from cookbook_lib.tracking.tracker import About, run_id


class Wandb:
    def __init__(self, about: About) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE") or (None if wandb.api.api_key else "offline")
        if mode == "offline" and "WANDB_MODE" not in os.environ:
            place = about.folder / "wandb"
            about.say(
                f"wandb: not logged in, so the run is recorded in {place}; `wandb login` sends runs to the cloud."
            )
        self._run = wandb.init(
            mode=mode,
            project=about.project,
            name=about.experiment,
            config=dict(about.config),
            dir=str(about.folder),
            reinit="finish_previous",
            id=run_id(about, "wandb"),
            resume="allow",
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._run.finish()
